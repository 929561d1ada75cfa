#!/usr/bin/env python3
"""A steady stream of SYNs to port 25 for nfqd.bats, and what must not be lost or leak.

  stream RATE FILE DST4 DST6    RATE a second, in turn from 10.0.0.0/8 and 2001:db8:9::/96, each from another
                                address, until FILE is gone; prints how many of each were sent
  line RATE FILE SRC DST        RATE a second from one address, or from N of them with SRC+N, until FILE is gone
"""
import os
import socket
import struct
import sys
import time

from enforce_send import checksum, raw, send, syn

EXEMPT6 = socket.inet_pton(socket.AF_INET6, "2001:db8:9::")


def syn6(n, dst):
    src = EXEMPT6[:12] + struct.pack("!I", n + 1)
    tcp = struct.pack("!HHIIBBHHH", 1024 + n % 60000, 25, n, 0, 0x50, 2, 65535, 0, 0)
    tcp = tcp[:16] + struct.pack("!H", checksum(src + dst + struct.pack("!IBBBB", 20, 0, 0, 0, 6) + tcp)) + tcp[18:]
    return struct.pack("!IHBB", 6 << 28, 20, 6, 64) + src + dst + tcp


def raw6():
    s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
    return s


def stream(rate, path, dst4, dst6):
    out, out6, n, begin = raw(), raw6(), 0, time.monotonic()
    d4, d6 = socket.inet_aton(dst4), socket.inet_pton(socket.AF_INET6, dst6)
    while os.path.exists(path):
        while n < (time.monotonic() - begin) * int(rate):
            send(out, syn(struct.pack("!I", 10 << 24 | n % 0xFFFF00 + 1), d4, 1024 + n % 60000, n), dst4)
            send(out6, syn6(n, d6), dst6)
            n += 1
        time.sleep(0.001)
    print(n)


def line(rate, path, src, dst):
    """SRC is an address, or ADDRESS+N: that one and the N - 1 after it in turn."""
    src, _, many = src.partition("+")
    six = ":" in src
    family = socket.AF_INET6 if six else socket.AF_INET
    first, to = int.from_bytes(socket.inet_pton(family, src), "big"), socket.inet_pton(family, dst)
    out, n, begin = raw6() if six else raw(), 0, time.monotonic()
    while os.path.exists(path):
        while n < (time.monotonic() - begin) * int(rate):
            send(out, syn((first + n % int(many or 1)).to_bytes(16 if six else 4, "big"), to, 1024 + n % 60000, n), dst)
            n += 1
        time.sleep(0.001)
    print(n)


if __name__ == "__main__":
    {"stream": stream, "line": line}[sys.argv[1]](*sys.argv[2:])
