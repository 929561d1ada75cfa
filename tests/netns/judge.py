#!/usr/bin/env python3
"""judge.py FIRST COUNT allow|reject|hold [MASK]: the least that judges as nfqd does.

Binds netfilter queues FIRST and the COUNT - 1 behind it, says "ready", and answers each packet with NF_REPEAT and the
mark for ALLOW or REJECT in MASK (default 0x00ff0000), or not at all (hold; a line "held" for each). On SIGUSR1 it
lets go of what it holds, as allowed. For tests in network namespaces of one's own.
"""
import select
import signal
import socket
import struct
import sys

first, count, verdict = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
mask = int(sys.argv[4], 16) if len(sys.argv) > 4 else 0x00FF0000
unit = mask & -mask
NF_REPEAT = 4
held = []


def message(kind, queue, *attributes):
    body = struct.pack(">BBH", 0, 0, queue)
    for number, data in attributes:
        body += struct.pack("=HH", 4 + len(data), number) + data + b"\0" * (-len(data) % 4)
    return struct.pack("=IHHII", 16 + len(body), 3 << 8 | kind, 1, 0, 0) + body


def attributes(data):
    while len(data) >= 4:
        length, number = struct.unpack("=HH", data[:4])
        yield number & 0x7FFF, data[4:length]
        data = data[length + 3 & ~3:]


def answer(sock, queue, ident, mark, value):
    sock.send(message(1, queue, (2, struct.pack(">II", NF_REPEAT, ident)),
                      (3, struct.pack(">I", mark & ~mask | value * unit))))


def release(*_):
    for sock, queue, ident, mark in held:
        answer(sock, queue, ident, mark, 2)
    held.clear()


sockets = {}
for n in range(first, first + count):
    s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
    s.bind((0, 0))
    s.send(message(2, n, (1, struct.pack(">BBH", 1, 0, 0))))
    s.send(message(2, n, (2, struct.pack(">IB", 128, 2)), (3, struct.pack(">I", 1024))))
    sockets[s] = n
signal.signal(signal.SIGUSR1, release)
print("ready", flush=True)
while True:
    for s in select.select(list(sockets), [], [])[0]:
        data = s.recv(65536)
        length, kind = struct.unpack("=IH", data[:6])
        if kind != 3 << 8 | 0:
            continue
        found = dict(attributes(data[20:length]))
        packet, mark = struct.unpack(">I", found[1][:4])[0], struct.unpack(">I", found.get(3, bytes(4)))[0]
        if verdict == "hold":
            held.append((s, sockets[s], packet, mark))
            print("held", flush=True)
        else:
            answer(s, sockets[s], packet, mark, 2 if verdict == "allow" else 3)
