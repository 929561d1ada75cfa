"""Packets that no ordinary program sends: builders and random disguises. No judgement here.

Every function that chooses takes a random.Random, so that a seed names its packets.
"""
import socket
import struct

AH = b"\4\0\0\0\0\0\1\0\0\0\1" + bytes(12)  # behind the byte that names the next header: 24 bytes
FLAGS = (2, 2, 2, 2, 2, 0x12, 0x10, 0x18, 0x03, 0x06, 0x0A, 0, 0x29, 0x3F, 0xC2, 0x42, 0x20, 0x07, 0x16, 4, 0x14)


def address(text):
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def checksum(data):
    s = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while s >> 16:
        s = (s & 0xFFFF) + (s >> 16)
    return ~s & 0xFFFF


def tcp(rnd, src, dst, sport, dport, flags=None):
    """A TCP segment with a right checksum, odd flags, options and data."""
    if flags is None:
        flags = rnd.choice(FLAGS)
    options = rnd.choice((b"", b"", b"\2\4\5\xb4", b"\x22\x0a" + b"\7" * 8 + b"\1\1", b"\1" * 40))
    data = rnd.choice((b"", b"", b"EHLO x\r\n", b"A" * 64))
    s = struct.pack("!HHIIBBHHH", sport, dport, rnd.getrandbits(32), 0, 0x50 + len(options) * 4, flags, 65535, 0,
                    rnd.choice((0, 0, 5))) + options + data
    if len(src) == 16:
        pseudo = src + dst + struct.pack("!IHBB", len(s), 0, 0, 6)
    else:
        pseudo = src + dst + struct.pack("!HBB", len(s), 0, 6)
    return s[:16] + struct.pack("!H", checksum(pseudo + s + bytes(len(s) & 1))) + s[18:]


def cut(rnd, payload):
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


def chain(rnd, proto, payload):
    """Random IPv6 headers in front: (the first one's number, bytes)."""
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


def ah_chain(rnd, payload, proto=6, weights=(0, 0, 0, 0, 1, 2)):
    """Random authentication headers in front, for IPv4."""
    for _ in range(rnd.choice(weights)):
        proto, payload = 51, bytes([proto]) + AH + payload
    return proto, payload


def ip6(src, dst, proto, payload, label=0, length=None):
    return struct.pack("!IHBB", 6 << 28 | label, len(payload) if length is None else length, proto, 64) + src + dst + payload


def ip4(src, dst, proto, payload, ident, field, options=b"", length=None):
    n = 20 + len(options)
    h = struct.pack("!BBHHHBBH", 0x40 | n // 4, 0, n + len(payload) if length is None else length, ident, field, 64,
                    proto, 0) + src + dst + options
    return h[:10] + struct.pack("!H", checksum(h)) + h[12:] + payload


def options4(rnd, dst):
    return rnd.choice((b"", b"", b"", b"\1" * 4, b"\x83\x07\4" + dst + b"\0", b"\x94\4\0\0", b"\1" * 40))


def fragment6(rnd, proto, piece, ident):
    """(first header's number, bytes) of one piece of cut(), sometimes with a header before."""
    offset, more, data = piece
    before = rnd.choice((None, None, 0, 60, 43))
    p = bytes([proto, 0]) + struct.pack("!H", offset << 3 | more) + ident + data
    if before is None:
        return 44, p
    return before, bytes([44, 0, 4 if before == 43 else 1, 0 if before == 43 else 4, 0, 0, 0, 0]) + p


def transport(rnd, src, dst, sport, dport):
    """(protocol, bytes): TCP mostly, sometimes cut or bent, sometimes nothing that mail travels in."""
    pick = rnd.random()
    if pick < 0.82:
        return 6, tcp(rnd, src, dst, sport, dport)
    if pick < 0.88:
        return 6, tcp(rnd, src, dst, sport, dport)[:rnd.choice((0, 1, 3, 4, 8, 13, 16, 19))]
    if pick < 0.91:
        s = bytearray(tcp(rnd, src, dst, sport, dport))
        s[12] = rnd.choice((0, 0x10, 0x40, 0xF0))
        return 6, bytes(s)
    return rnd.choice(((17, struct.pack("!HHHH", sport, dport, 8, 0)), (132, struct.pack("!HHII", sport, dport, 0, 0)),
                       (47, b"\0\0\x08\0"), (50, bytes(8)), (41, bytes(40)), (4, bytes(20)),
                       (253, struct.pack("!HH", sport, dport) + bytes(16)), (89, bytes(24))))


def disguised(rnd, src, dst, sport, dport, ident):
    """One packet from src to dst that carries ident (IPv4 identification, IPv6 flow label)."""
    proto, payload = transport(rnd, src, dst, sport, dport)
    shape = rnd.random()
    if len(src) == 4:
        options = options4(rnd, dst) if shape < 0.5 else b""
        if shape < 0.25:
            proto, payload = ah_chain(rnd, payload, proto)
        if 0.3 < shape < 0.5:
            offset, more, data = rnd.choice(cut(rnd, payload))
            return ip4(src, dst, proto, data, ident, more << 13 | offset, options)
        return ip4(src, dst, proto, payload, ident, rnd.choice((0x4000, 0, 0x8000)) if shape < 0.3 else 0x4000, options,
                   rnd.choice((None,) * 15 + (21 + len(options),)) if shape < 0.1 else None)
    if shape < 0.4:
        proto, payload = chain(rnd, proto, payload)
    if 0.3 < shape < 0.55:
        proto, payload = fragment6(rnd, proto, rnd.choice(cut(rnd, payload)), rnd.randbytes(4))
    n = len(payload)
    return ip6(src, dst, proto, payload, ident, rnd.choice((None,) * 12 + (0, n + 1, max(0, n - 3))) if shape < 0.1 else None)
