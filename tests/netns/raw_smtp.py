#!/usr/bin/env python3
"""raw_smtp ADDRESS PORT NAME CA USER PASSWORD: TLS from the first byte, EHLO and AUTH, then standard input as it is, byte for byte.

Prints what the server says until it closes or has been silent for three seconds.
"""
import base64
import socket
import ssl
import sys

address, port, name, ca, user, password = sys.argv[1:7]
context = ssl.create_default_context(cafile=ca)
s = context.wrap_socket(socket.create_connection((address, int(port)), 10), server_hostname=name)
f = s.makefile("rb")


def reply():
    while True:
        line = f.readline()
        sys.stdout.write(line.decode("latin-1"))
        if line[3:4] != b"-":
            return


reply()
for command in ("EHLO client.example", "AUTH PLAIN " + base64.b64encode(f"\0{user}\0{password}".encode()).decode()):
    s.sendall(command.encode() + b"\r\n")
    reply()
s.sendall(sys.stdin.buffer.read())
s.settimeout(3)
try:
    while data := s.recv(4096):
        sys.stdout.write(data.decode("latin-1"))
except TimeoutError:
    pass
