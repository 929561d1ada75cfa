#!/usr/bin/env python3
"""Random packets to port 25, in every disguise: does any get through?

  enforce_random.py SUB NET GATEWAY-MAC SOURCE4 DESTINATION4 SOURCE6 DESTINATION6 SETS SEED

Sends SETS sets of packets out of eth0 of namespace SUB: TCP to port 25 with odd flags, options and lengths, behind
random header chains, in fragments that come in any order, overlap, or are missing. Two judges watch eth0 of namespace
NET, neither of which shares code with Sekisho: the TCP of that kernel (does it answer from port 25?), and a second
reading of what arrived (a first fragment or whole packet that is TCP to port 25 and not a mere reset).
Prints the numbers of answers and of readable packets, and an example of each in hexadecimal on standard error.
"""
import os
import random
import socket
import struct
import sys
import time

sys.dont_write_bytecode = True
from enforce_send import enter  # noqa: E402

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../oracle"))
import packets as make  # noqa: E402

SUB, NET, MAC, S4, D4, S6, D6, SETS, SEED = sys.argv[1:]
S4, D4, S6, D6 = (make.address(a) for a in (S4, D4, S6, D6))
rnd = random.Random(int(SEED))


def ethernet(namespace):
    enter(namespace)
    s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
    s.bind(("eth0", 3))
    s.setsockopt(socket.SOL_SOCKET, 33, 32 << 20)  # SO_RCVBUFFORCE
    s.setblocking(False)
    return s


def packets6(sport):
    proto, payload = make.chain(rnd, 6, make.tcp(rnd, S6, D6, sport, 25))
    if rnd.random() > 0.45:
        n = len(payload)
        return [make.ip6(S6, D6, proto, payload, 0, rnd.choice((None,) * 12 + (0, n + 1, max(0, n - 3))))]
    ident = rnd.randbytes(4)
    return [make.ip6(S6, D6, *make.fragment6(rnd, proto, piece, ident)) for piece in make.cut(rnd, payload)]


def packets4(sport):
    proto, payload = make.ah_chain(rnd, make.tcp(rnd, S4, D4, sport, 25))
    options, ident = make.options4(rnd, D4), rnd.randrange(65536)
    if rnd.random() > 0.45:
        return [make.ip4(S4, D4, proto, payload, ident, rnd.choice((0x4000, 0, 0x8000)), options, rnd.choice((None,) * 15 + (21,)))]
    return [make.ip4(S4, D4, proto, data, ident, more << 13 | offset, options) for offset, more, data in make.cut(rnd, payload)]


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
