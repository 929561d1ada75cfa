#!/usr/bin/env python3
"""Random packets to port 25, in every disguise: does any get through?

  enforce_random.py SUB NET GATEWAY-MAC SOURCE4 DESTINATION4 SOURCE6 DESTINATION6 SETS SEED

Sends SETS sets of packets out of eth0 of namespace SUB: TCP to port 25 with odd flags, options and lengths, behind
random header chains, in fragments that come in any order, overlap, or are missing. Two judges watch eth0 of namespace
NET, neither of which shares code with Sekisho: the TCP of that kernel (does it answer from port 25?), and a second
reading of what arrived (a first fragment or whole packet that is TCP to port 25 and not a mere reset).
Prints the numbers of answers and of readable packets, and an example of each in hexadecimal on standard error.
"""
import random
import socket
import struct
import sys
import time

from enforce_send import checksum, enter

SUB, NET, MAC, S4, D4, S6, D6, SETS, SEED = sys.argv[1:]
S4, D4 = socket.inet_aton(S4), socket.inet_aton(D4)
S6, D6 = (socket.inet_pton(socket.AF_INET6, a) for a in (S6, D6))
rnd = random.Random(int(SEED))
AH = b"\4\0\0\0\0\0\1\0\0\0\1" + bytes(12)


def ethernet(namespace):
    enter(namespace)
    s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
    s.bind(("eth0", 3))
    s.setsockopt(socket.SOL_SOCKET, 33, 32 << 20)  # SO_RCVBUFFORCE
    s.setblocking(False)
    return s


def tcp(src, dst, sport):
    flags = rnd.choice((2, 2, 2, 2, 2, 0x12, 0x10, 0x18, 0x03, 0x06, 0x0A, 0, 0x29, 0x3F, 0xC2, 0x42, 0x20, 0x07, 0x16))
    options = rnd.choice((b"", b"", b"\2\4\5\xb4", b"\x22\x0a" + b"\7" * 8 + b"\1\1", b"\1" * 40))
    data = rnd.choice((b"", b"", b"EHLO x\r\n", b"A" * 64))
    s = struct.pack("!HHIIBBHHH", sport, 25, rnd.getrandbits(32), 0, 0x50 + len(options) * 4, flags, 65535, 0,
                    rnd.choice((0, 0, 5))) + options + data
    pseudo = src + dst + struct.pack("!IHBB" if len(src) == 16 else "!HBB", *((len(s), 0, 0, 6) if len(src) == 16 else (len(s), 0, 6)))
    return s[:16] + struct.pack("!H", checksum(pseudo + s + bytes(len(s) & 1))) + s[18:]


def cut(payload):
    """Pieces (offset in eights, more follows, bytes), with overlaps and in any order."""
    n = (len(payload) + 7) // 8
    if n < 2:
        return [(0, rnd.random() < 0.3, payload)]
    at = sorted({0, n, *(rnd.randrange(1, n) for _ in range(rnd.randint(1, 3)))})
    out = [(a, b != n, payload[a * 8:b * 8]) for a, b in zip(at, at[1:])]
    if rnd.random() < 0.25:
        i = rnd.randrange(len(out))
        junk = bytearray(out[i][2])
        if out[i][0] == 0:
            junk[2:4] = struct.pack("!H", 26)
        else:
            junk[:] = rnd.randbytes(len(junk))
        out.insert(rnd.randrange(len(out) + 1), (out[i][0], out[i][1], bytes(junk)))
    if rnd.random() < 0.6:
        rnd.shuffle(out)
    return out


def chain(proto, payload):
    """Random IPv6 headers in front."""
    for _ in range(rnd.choice((0, 0, 1, 1, 2, 3, 5, 12))):
        kind = rnd.choice((0, 60, 60, 43, 51, 44, 135, 139, 140, 253, 50))
        if kind in (0, 60):
            n = rnd.choice((0, 0, 0, 1, 4, 20))
            payload = bytes([proto, n, 1, n * 8 + 4]) + bytes(n * 8 + 4) + payload
        elif kind == 43:
            payload = bytes([proto, 0, rnd.choice((0, 3, 4, 253)), rnd.choice((0, 0, 0, 1)), 0, 0, 0, 0]) + payload
        elif kind == 51:
            payload = bytes([proto]) + AH + payload
        elif kind == 44:
            payload = bytes([proto, 0, 0, 0]) + rnd.randbytes(4) + payload
        elif kind == 50:
            payload = bytes(8) + payload
        else:
            payload = bytes([proto]) + bytes(7) + payload
        proto = kind
    return proto, payload


def ip6(proto, payload, length=None):
    return struct.pack("!IHBB", 6 << 28, len(payload) if length is None else length, proto, 64) + S6 + D6 + payload


def ip4(proto, payload, ident, field, options, length=None):
    n = 20 + len(options)
    h = struct.pack("!BBHHHBBH", 0x40 | n // 4, 0, n + len(payload) if length is None else length, ident, field, 64,
                    proto, 0) + S4 + D4 + options
    return h[:10] + struct.pack("!H", checksum(h)) + h[12:] + payload


def packets6(sport):
    proto, payload = chain(6, tcp(S6, D6, sport))
    if rnd.random() > 0.45:
        n = len(payload)
        return [ip6(proto, payload, rnd.choice((None,) * 12 + (0, n + 1, max(0, n - 3))))]
    ident, before = rnd.randbytes(4), rnd.choice((None, None, 0, 60, 43))
    out = []
    for offset, more, data in cut(payload):
        p = bytes([proto, 0]) + struct.pack("!H", offset << 3 | more) + ident + data
        if before is not None:
            p = bytes([44, 0, 4 if before == 43 else 1, 0 if before == 43 else 4, 0, 0, 0, 0]) + p
        out.append(ip6(44 if before is None else before, p))
    return out


def packets4(sport):
    proto, payload = 6, tcp(S4, D4, sport)
    for _ in range(rnd.choice((0, 0, 0, 0, 1, 2))):
        proto, payload = 51, bytes([proto]) + AH + payload
    options = rnd.choice((b"", b"", b"", b"\1" * 4, b"\x83\x07\4" + D4 + b"\0", b"\x94\4\0\0", b"\1" * 40))
    ident = rnd.randrange(65536)
    if rnd.random() > 0.45:
        return [ip4(proto, payload, ident, rnd.choice((0x4000, 0, 0x8000)), options, rnd.choice((None,) * 15 + (0, 21)))]
    return [ip4(proto, data, ident, more << 13 | offset, options) for offset, more, data in cut(payload)]


def to_25(p):
    """The second reading: strict where a host might be generous."""
    if p[0] >> 4 == 4:
        if struct.unpack("!H", p[6:8])[0] & 0x1FFF:
            return False
        proto, p = p[9], p[(p[0] & 15) * 4:]
    else:
        proto, p = p[6], p[40:]
    while proto in (0, 43, 44, 51, 60) and len(p) >= 8:
        if proto == 44 and struct.unpack("!H", p[2:4])[0] >> 3:
            return False
        size = {44: 8, 51: (p[1] + 2) * 4}.get(proto, (p[1] + 1) * 8)
        proto, p = p[0], p[size:]
    return proto == 6 and p[2:4] == b"\0\x19" and (len(p) < 14 or p[13] & 0x17 not in (4, 0x14))


def watch(net, sent, answered, readable):
    while True:
        try:
            p, where = net.recvfrom(65535)
        except BlockingIOError:
            return
        v = p[0] >> 4
        if where[2] != 4:  # not of this host's own
            if (p[12:16] == S4 if v == 4 else p[8:24] == S6) and to_25(p):
                readable.append(p)
        elif p[9 if v == 4 else 6] == 6:
            t = p[(p[0] & 15) * 4:] if v == 4 else p[40:]
            port = struct.unpack("!H", t[2:4])[0]
            if t[:2] == b"\0\x19" and port in sent:
                answered.append(sent[port])


def main():
    net, sub = ethernet(NET), ethernet(SUB)
    mac = bytes.fromhex(MAC.replace(":", ""))
    sent, answered, readable = {}, [], []
    # One port names one set.
    for n, sport in enumerate(rnd.sample(range(20000, 60000), int(SETS))):
        sent[sport] = (packets6 if rnd.random() < 0.55 else packets4)(sport)
        for p in sent[sport]:
            sub.sendto(p, ("eth0", 0x86DD if p[0] >> 4 == 6 else 0x800, 0, 1, mac))
        if n % 100 == 99:
            watch(net, sent, answered, readable)
            time.sleep(0.01)
    time.sleep(0.7)
    watch(net, sent, answered, readable)
    print(len(answered), len(readable))
    for example in (answered[:1], [readable[:1]]):
        for p in example[0] if example else []:
            print(p.hex(), file=sys.stderr)


main()
