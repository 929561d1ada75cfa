#!/usr/bin/env python3
"""Packets that no ordinary program sends, for enforce*.bats.

  sources FIRST COUNT DESTINATION        a SYN to port 25 from each of COUNT addresses, from this namespace
  window SUB NET SOURCE DESTINATION MS   a SYN every two milliseconds out of namespace SUB until the UTC time MS;
                                         prints when the first arrived in NET, and when the last that arrived was sent
"""
import ctypes
import os
import socket
import struct
import sys
import time

libc = ctypes.CDLL(None, use_errno=True)


def enter(namespace):
    fd = os.open("/run/netns/" + namespace, os.O_RDONLY)
    if libc.setns(fd, 0x40000000):
        raise OSError(ctypes.get_errno(), namespace)
    os.close(fd)


def checksum(data):
    s = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while s >> 16:
        s = (s & 0xFFFF) + (s >> 16)
    return ~s & 0xFFFF


def syn(src, dst, sport, seq):
    tcp = struct.pack("!HHIIBBHHH", sport, 25, seq, 0, 0x50, 2, 65535, 0, 0)
    tcp = tcp[:16] + struct.pack("!H", checksum(src + dst + struct.pack("!BBH", 0, 6, 20) + tcp)) + tcp[18:]
    # The kernel fills in length and checksum of an IPv4 header.
    if len(src) == 16:
        return struct.pack("!IHBB", 6 << 28, 20, 6, 64) + src + dst + tcp
    return struct.pack("!BBHHHBBH", 0x45, 0, 40, 0, 0x4000, 64, 6, 0) + src + dst + tcp


def raw(v6=False):
    s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
    return s


def send(s, packet, to):
    while True:
        try:
            s.sendto(packet, (to, 0))
            return
        except OSError:
            time.sleep(0.001)


def sources(first, count, dst):
    s, base, d = raw(), struct.unpack("!I", socket.inet_aton(first))[0], socket.inet_aton(dst)
    for i in range(int(count)):
        send(s, syn(struct.pack("!I", base + i), d, 1024 + i % 60000, i), dst)


def window(sub, net, src, dst, until):
    enter(net)
    kind = 0x86DD if ":" in src else 0x800
    seen = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(kind))
    seen.bind(("eth0", kind))
    seen.setblocking(False)
    enter(sub)
    out, sent, first, last = raw(":" in src), {}, 0, 0
    family, at = (socket.AF_INET6, 40) if ":" in src else (socket.AF_INET, 20)
    s, d = socket.inet_pton(family, src), socket.inet_pton(family, dst)
    while time.time() * 1000 < int(until):
        n = len(sent) + 1
        sent[n] = int(time.time() * 1000)
        send(out, syn(s, d, 1024 + n % 60000, n), dst)
        time.sleep(0.002)
        while True:
            try:
                packet, where = seen.recvfrom(100)
            except BlockingIOError:
                break
            # Not what this namespace answers.
            if where[2] != 4 and packet[at - 2 * len(s):at - len(s)] == s and packet[at + 13:at + 14] == b"\2":
                first = first or int(time.time() * 1000)
                last = sent[struct.unpack("!I", packet[at + 4:at + 8])[0]]
    print(first, last)


if __name__ == "__main__":
    {"sources": sources, "window": window}[sys.argv[1]](*sys.argv[2:])
