#!/usr/bin/env python3
"""responder.py PORT: what listens where connections are handed to with tproxy; says who came and where to, and closes."""
import select
import socket
import sys

IP_TRANSPARENT, IPV6_TRANSPARENT = 19, 75
listeners = []
for family, address, level, option in ((socket.AF_INET, "127.0.0.1", socket.SOL_IP, IP_TRANSPARENT),
                                       (socket.AF_INET6, "::1", socket.IPPROTO_IPV6, IPV6_TRANSPARENT)):
    s = socket.socket(family, socket.SOCK_STREAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.setsockopt(level, option, 1)
    s.bind((address, int(sys.argv[1])))
    s.listen(16)
    listeners.append(s)
print("ready", flush=True)
while True:
    for s in select.select(listeners, [], [])[0]:
        c, peer = s.accept()
        print(peer[0], c.getsockname()[0], c.getsockname()[1], flush=True)
        c.sendall(b"554 5.7.1 closed\r\n")
        c.close()
