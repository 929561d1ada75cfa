#!/usr/bin/env python3
"""sasl_client PORT CA-FILE MECHANISM [USER PASSWORD] [--tls12] [--flag n|y|p] [--binding NAME] [--wrong] [--late]
[--cert FILE --key FILE] [--authzid NAME] [--challenge]

One login on 127.0.0.1, and the final reply on standard output: SCRAM with every digest, with what gsasl cannot do
(tls-server-end-point, a client that was lied to, a wrong binding), EXTERNAL, PLAIN, LOGIN and CRAM-MD5. --challenge prints the server's first
SCRAM message instead. For SCRAM the server's signature is checked.
"""
import argparse
import base64
import hashlib
import hmac
import os
import socket
import ssl

p = argparse.ArgumentParser()
p.add_argument("port", type=int)
p.add_argument("ca")
p.add_argument("mechanism")
p.add_argument("user", nargs="?", default="")
p.add_argument("password", nargs="?", default="")
p.add_argument("--tls12", action="store_true")
p.add_argument("--flag", default="n")
p.add_argument("--binding", default="tls-server-end-point")
p.add_argument("--wrong", action="store_true")
p.add_argument("--late", action="store_true", help="the first message after AUTH, not with it")
p.add_argument("--cert")
p.add_argument("--key")
p.add_argument("--authzid", default="")
p.add_argument("--challenge", action="store_true")
a = p.parse_args()

context = ssl.create_default_context(cafile=a.ca)
if a.tls12:
    context.maximum_version = ssl.TLSVersion.TLSv1_2
if a.cert:
    context.load_cert_chain(a.cert, a.key)
s = context.wrap_socket(socket.create_connection(("127.0.0.1", a.port), 20), server_hostname="smtp.isp.example")
f = s.makefile("rb")


def say(line):
    s.sendall(line.encode() + b"\r\n")
    while True:
        got = f.readline().decode()
        if got[3:4] != "-":
            return got.strip()


def b64(data):
    return base64.b64encode(data).decode() or "="


def auth(first):
    if a.late:
        reply = say(f"AUTH {a.mechanism}")
        return say(b64(first).replace("=", "", first == b"")) if reply.startswith("334") else reply
    return say(f"AUTH {a.mechanism} {b64(first)}")


def scram():
    name = a.mechanism.replace("-PLUS", "").removeprefix("SCRAM-").replace("-", "").lower()
    digest = lambda data: hashlib.new(name, data).digest()
    mac = lambda key, data: hmac.new(key, data, name).digest()
    gs2 = (f"p={a.binding}" if a.flag == "p" else a.flag) + ",,"
    bound = hashlib.sha256(s.getpeercert(True)).digest() if a.flag == "p" else b""
    if a.wrong:
        bound = bytes([bound[0] ^ 1]) + bound[1:]
    bare = f"n={a.user},r={base64.b64encode(os.urandom(18)).decode()}"
    reply = auth((gs2 + bare).encode())
    if not reply.startswith("334 "):
        return reply
    challenge = base64.b64decode(reply[4:]).decode()
    if a.challenge:
        return challenge
    fields = dict(x.split("=", 1) for x in challenge.split(","))
    salted = hashlib.pbkdf2_hmac(name, a.password.encode(), base64.b64decode(fields["s"]), int(fields["i"]))
    final = f"c={base64.b64encode(gs2.encode() + bound).decode()},r={fields['r']}"
    message = f"{bare},{challenge},{final}".encode()
    key = mac(salted, b"Client Key")
    proof = bytes(x ^ y for x, y in zip(key, mac(digest(key), message)))
    reply = say(b64(f"{final},p={base64.b64encode(proof).decode()}".encode()))
    if not reply.startswith("334 "):
        return reply
    signature = base64.b64decode(base64.b64decode(reply[4:]).decode().split(",")[0][2:])
    assert signature == mac(mac(salted, b"Server Key"), message), "the server does not know the password"
    return say("")


f.readline()
say("EHLO client.example")
if a.mechanism.startswith("SCRAM"):
    print(scram())
elif a.mechanism == "EXTERNAL":
    print(auth(a.authzid.encode()))
elif a.mechanism == "LOGIN":
    reply = auth(a.user.encode())
    print(say(b64(a.password.encode())) if reply.startswith("334") else reply)
elif a.mechanism == "CRAM-MD5":
    reply = say("AUTH CRAM-MD5")
    digest = hmac.new(a.password.encode(), base64.b64decode(reply[4:]), "md5").hexdigest()
    print(say(b64(f"{a.user} {digest}".encode())))
else:
    print(auth(f"{a.authzid}\0{a.user}\0{a.password}".encode()))
