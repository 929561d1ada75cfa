#!/usr/bin/env python3
"""Packets that no ordinary program sends, for enforce*.bats.

  sources FIRST COUNT DESTINATION        a SYN to port 25 from each of COUNT addresses, from this namespace
  window SUB NET SOURCE DESTINATION MS   a SYN every two milliseconds out of namespace SUB until the UTC time MS;
                                         prints when the first and the last that arrived in NET were sent
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
    # The kernel fills in length and checksum of the IP header.
    return struct.pack("!BBHHHBBH", 0x45, 0, 40, 0, 0x4000, 64, 6, 0) + src + dst + tcp


def raw():
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
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
    seen = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x800))
    seen.bind(("eth0", 0x800))
    seen.setblocking(False)
    enter(sub)
    out, sent, arrived = raw(), {}, []
    s, d = socket.inet_aton(src), socket.inet_aton(dst)
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
            if where[2] != 4 and packet[9] == 6 and packet[12:16] == s and packet[33] == 2:
                arrived.append(struct.unpack("!I", packet[24:28])[0])
    print(sent[arrived[0]] if arrived else 0, sent[arrived[-1]] if arrived else 0)


if __name__ == "__main__":
    {"sources": sources, "window": window}[sys.argv[1]](*sys.argv[2:])
