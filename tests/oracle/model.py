"""The policy as a slow and obvious program: what must leave the gateway, what must not.

An independent oracle: written from the policy in words (kernel-rules/README.md, docs/threat-model.md, the RFCs), sharing
no line with nfqd or the ruleset, with lists and loops where those have hash tables. It is asked for each packet:

  OUT   must leave the gateway     IN   must not     ANY   both are right (the reason says why)

Subject is what comes in by a subscriber's interface. TCP to port 25 of a subject leaves when its destination is one of
the provider's mail servers, or an exemption in force covers its source; the longest prefix decides which class.
"""
import ipaddress
import struct

OUT, IN, ANY = "out", "in", "any"
CAPTURED = 128  # bytes that nfqd sees of a packet (man 5 sekisho.conf)
EXTENSIONS = (0, 43, 60)
KNOWN = (1, 4, 17, 41, 47, 50, 58, 59, 132, 136)
EXPAND = 65536  # an exemption of more elements is not in the kernel's sets


class Facts:
    """What a packet is, as the strictest reader has it."""

    def __init__(self, packet):
        self.kind = "broken"  # tcp, other, fragment, broken
        self.port = self.flags = None
        self.whole = True  # TCP: its 20 bytes are there, and its options are
        self.behind_ah = self.first_fragment = self.nested = False
        self.reach = 0  # bytes up to the end of what had to be read
        self.hop_by_hop = False
        self.hides_tcp = True  # broken: what is cut off may lead to TCP
        p = packet
        self.version = p[0] >> 4
        if self.version == 4:
            self.src, self.dst = (ipaddress.ip_address(p[i:i + 4]) for i in (12, 16))
            claimed = struct.unpack("!H", p[2:4])[0]
            self.lies = claimed > len(p)
            p = p[:claimed]
            self.offset = struct.unpack("!H", p[6:8])[0] & 0x1FFF
            self.at, self.proto = (p[0] & 15) * 4, p[9]
            self.later = self.offset != 0
            self.first_fragment = bool(p[6] & 0x20)
        else:
            self.src, self.dst = (ipaddress.ip_address(p[i:i + 16]) for i in (8, 24))
            claimed = struct.unpack("!H", p[4:6])[0]
            self.lies = claimed > len(p) - 40
            # 0 before hop-by-hop options is a jumbogram: all of it.
            p = p if claimed == 0 and p[6] == 0 else p[:40 + claimed]
            self.at, self.proto, self.later, self.offset = 40, p[6], False, 0
            self.hop_by_hop = self.proto == 0
        self.p = p
        if self.later:
            self.kind = "fragment"
        else:
            self.walk()

    def walk(self):
        headers = (51,) if self.version == 4 else EXTENSIONS + (44, 51)
        while self.proto in headers:
            rest = self.p[self.at:]
            if len(rest) < 8:
                return
            size = {44: 8, 51: (rest[1] + 2) * 4}.get(self.proto, (rest[1] + 1) * 8)
            if len(rest) < size or (self.proto == 51 and size < 12):
                self.hides_tcp = rest[0] in headers + (6,) or self.behind_ah or self.proto == 51
                return
            self.nested |= self.proto == 44 and self.first_fragment
            if self.proto == 44 and struct.unpack("!H", rest[2:4])[0] >> 3:
                self.kind, self.reach = "fragment", self.at + size
                return
            self.behind_ah |= self.proto == 51
            self.first_fragment |= self.proto == 44
            self.proto, self.at = rest[0], self.at + size
        if self.proto != 6:
            self.kind, self.reach = "other", self.at
            return
        t = self.p[self.at:]
        self.reach = self.at + 20
        if len(t) < 4:
            return
        self.kind = "tcp"
        self.port = struct.unpack("!H", t[2:4])[0]
        self.whole = len(t) >= 20 and 20 <= (t[12] >> 4) * 4 <= len(t)
        self.flags = t[13] if len(t) >= 14 else None

    def mere_reset(self):
        """It ends a session on the far side; a fragment might become something else."""
        return not self.first_fragment and self.flags is not None and self.flags & 0x07 == 4

    def syn(self):
        return self.flags is not None and self.flags & 0x12 == 2


class Exemption:
    def __init__(self, prefix, cls="full", starts=0.0, expires=None, destinations=()):
        self.prefix, self.cls, self.starts, self.expires = prefix, cls, starts, expires
        self.destinations, self.suspended = tuple(destinations), False

    def __repr__(self):
        return f"{self.prefix} {self.cls} {self.starts}-{self.expires}{' suspended' if self.suspended else ''} {self.destinations}"

    def near_edge(self, begin, end, late):
        return any(e is not None and begin - late < e < end + late for e in (self.starts, self.expires))

    def in_force(self, now):
        return not self.suspended and self.starts <= now and (self.expires is None or now < self.expires)

    def in_sets(self):
        """Is it in the kernel's sets, or judged packet by packet?"""
        bits = self.prefix.prefixlen
        if self.prefix.version == 4:
            return bits >= 8
        return bits >= 112 or 32 <= bits <= 64


class Bucket:
    """A meter of which only bounds are known: how many more new connections go."""

    def __init__(self, per_second, burst, now):
        self.rate, self.burst, self.at = per_second, burst, now
        self.low = self.high = float(burst)

    def pass_time(self, now):
        for name in ("low", "high"):
            setattr(self, name, min(float(self.burst), getattr(self, name) + (now - self.at) * self.rate))
        self.at = now

    def forget(self):
        self.high = float(self.burst)  # the kernel may have begun a new one

    def judge(self, went, now):
        """Was that right? And take note of it."""
        self.pass_time(now)
        if went:
            right = self.high >= 0.95
            self.low, self.high = max(0.0, self.low - 1), max(0.0, self.high - 1)
        else:
            right = self.low < 1.05
            self.high = min(self.high, 1.0)
        return right


class Class:
    """Limits of exempt lines: new connections a minute with burst, distinct destinations an hour, listed destinations."""

    def __init__(self, rate=0, burst=0, destinations=0, listed=False):
        self.rate, self.burst, self.destinations, self.listed = rate, burst or 2 * rate, destinations, listed

    def limits(self):
        return bool(self.rate or self.destinations or self.listed)


class Pool:
    def __init__(self, interfaces=(), prefixes=(), fail="closed"):
        self.interfaces, self.prefixes, self.fail = interfaces, prefixes, fail


class Model:
    def __init__(self, interfaces, fail, routes, own_mta, classes, subject=(), pools=(), antispoof=True, tunnels="pass"):
        """interfaces: subscribers'; subject: their prefixes, all when empty; routes: {interface: prefixes routed there}."""
        self.interfaces = set(interfaces) | {i for p in pools for i in p.interfaces}
        self.fail, self.pools, self.routes, self.own_mta = fail, pools, routes, own_mta
        self.classes, self.antispoof, self.tunnels = classes, antispoof, tunnels
        self.subject = tuple(subject) + tuple(x for p in pools for x in p.prefixes)
        self.exemptions = {}  # prefix -> Exemption
        self.nfqd, self.nfqd_left = True, 0.0
        self.late = 0.15  # seconds from the moment that an exemption begins or ends until it is in force
        self.buckets = {}
        self.perhaps_known = {}
        self.known = {}  # (class, line, destination) -> when the connection was counted

    def spoofed(self, facts, interface):
        """The longest route back to the source does not lead out where the packet came in."""
        best, where = -1, None
        for name, prefixes in self.routes.items():
            for p in prefixes:
                if p.version == facts.version and facts.src in p and p.prefixlen > best:
                    best, where = p.prefixlen, name
        return where != interface

    def exemption(self, src, now):
        best = None
        for e in self.exemptions.values():
            if e.prefix.version == src.version and src in e.prefix and e.in_force(now):
                if best is None or e.prefix.prefixlen > best.prefix.prefixlen:
                    best = e
        return best

    def other_in_sets(self, src, now):
        return any(e.prefix.version == src.version and src in e.prefix and e.in_force(now) and e.in_sets() for e in self.exemptions.values())

    def edge(self, src, begin, end):
        return any(e.prefix.version == src.version and src in e.prefix and not e.suspended and e.near_edge(begin, end, self.late)
                   for e in self.exemptions.values())

    def is_subject(self, facts, interface):
        return not self.subject or any(p.version == facts.version and facts.src in p for p in self.subject) or \
            any(interface in p.interfaces for p in self.pools)

    def failing(self, src, interface):
        """closed or open: of the pool with the longest prefix, else of the interface's, else of nobody's."""
        best, found = -1, None
        for pool in self.pools:
            for p in pool.prefixes:
                if p.version == src.version and src in p and p.prefixlen > best:
                    best, found = p.prefixlen, pool
        if found is None:
            found = next((p for p in self.pools if interface in p.interfaces), None)
        return found.fail if found else self.fail

    def judge(self, packet, interface, begin, end):
        """(OUT, IN or ANY, why, meter or None): the packet came in between begin and end."""
        f = Facts(packet)
        # Before any rule: what the kernel does not forward.
        if f.lies:
            return IN, "longer than the packet is", None
        if f.version == 4 and b"\x83" in packet[20:(packet[0] & 15) * 4]:
            return IN, "a source route, which this kernel does not serve", None
        if f.hop_by_hop and (len(f.p) < 48 or len(f.p) < 40 + (f.p[41] + 1) * 8):
            return IN, "hop-by-hop options that are cut, which the kernel drops", None
        if f.hop_by_hop:
            at, size = 42, (packet[41] + 1) * 8 - 2
            if size > 7:
                return ANY, "the kernel minds long padding in hop-by-hop options (RFC 4942)", None
        if interface not in self.interfaces:
            return OUT, "not a subscriber's interface", None
        if f.version == 4 and f.offset == 1 and f.proto == 6:
            return IN, "a fragment at offset 1 (RFC 3128)", None
        if not self.is_subject(f, interface) and not (self.antispoof and self.spoofed(f, interface)):
            if any(self.classes[e.cls].limits() for e in self.exemptions.values() if e.prefix.version == f.version and f.src in e.prefix):
                return ANY, "a limit for somebody who is not subject", None
            return OUT, "not a subscriber's address", None
        if f.kind == "fragment":
            return ANY if f.nested else OUT, "a later fragment", None
        unseen = f.behind_ah and f.reach > CAPTURED
        if f.kind == "other":
            if f.proto in (4, 41, 47) and not f.behind_ah:
                return (OUT, "a tunnel", None) if self.tunnels == "pass" else (IN, "a tunnel", None)
            if not f.behind_ah:
                return OUT, "neither TCP nor a header chain that hides it", None
            if not self.nfqd:
                return self.nobody(f, interface, "behind an authentication header, and nobody to look")
            if self.antispoof and self.spoofed(f, interface):
                return ANY, "a forged source, behind an authentication header", None
            if unseen or f.proto not in KNOWN:
                return IN, "an unknown or unseen header behind an authentication header", None
            return OUT, "not TCP, behind an authentication header", None
        if f.kind == "broken":
            if (f.behind_ah or f.proto == 51) and not self.nfqd:
                return self.nobody(f, interface, "broken, behind an authentication header")
            if not f.hides_tcp:
                return ANY, "cut in the last header, and what would follow is not TCP", None
            return IN, "TCP without ports, or a header chain that does not parse (RFC 7112)", None
        return self.judge_tcp(f, interface, begin, end, unseen)

    def judge_tcp(self, f, interface, begin, end, unseen):
        own = any(p.version == f.version and f.dst in p for p in self.own_mta)
        if f.behind_ah:
            if self.antispoof and self.spoofed(f, interface):
                return ANY if f.port != 25 or own else IN, "a forged source", None
            if not self.nfqd:
                return self.nobody(f, interface, "behind an authentication header, and nobody to look")
            if not unseen and not f.whole and f.flags is not None and self.exemption(f.src, begin) is not None:
                return ANY, "TCP options past what nfqd sees, of an exempt line", None
            if unseen or not f.whole:
                return IN, "not to be read behind an authentication header", None
        if f.port != 25:
            return OUT, "another port", None
        if self.antispoof and self.spoofed(f, interface):
            if own:
                return ANY, "a forged source, to a mail server of the provider", None
            e = self.exemption(f.src, begin)
            if e is not None and not f.behind_ah and not f.syn():
                return ANY, "whoever forges an exempt source gets no session", None
            return IN, "a forged source", None
        if own:
            return ANY if f.behind_ah else OUT, "a mail server of the provider", None
        if self.edge(f.src, begin, end):
            return ANY, "an exemption begins or ends just now", None
        e = self.exemption(f.src, begin)
        if e is not None:
            return self.judge_exempt(e, f, interface, begin)
        if f.mere_reset() and not f.behind_ah:
            return OUT if f.whole else ANY, "a mere reset", None
        if not self.nfqd and self.failing(f.src, interface) == "open":
            # What the kernel has learned to refuse stays refused for a while.
            return ANY, "nobody judges, and fail is open", None
        return IN, "closed", None

    def judge_exempt(self, e, f, interface, now):
        c = self.classes[e.cls]
        direct = e.in_sets() and not f.behind_ah
        if not self.nfqd and e.starts > self.nfqd_left - 0.2:
            return ANY, "it began while nobody was there", None
        if not self.nfqd and any(x.expires is not None and self.nfqd_left < x.expires < now and x.prefix.version == f.version and
                                 f.src in x.prefix for x in self.exemptions.values()):
            return ANY, "another one ended while nobody was there: what is behind it in the sets counts", None
        if not e.in_sets() and not f.behind_ah and self.other_in_sets(f.src, now):
            return ANY, "a wider exemption is in the kernel's sets", None
        if not direct and not self.nfqd:
            return self.nobody(f, interface, f"nobody to judge {e}")
        if not e.in_sets() and f.reach > CAPTURED:
            return ANY, "nfqd does not see so far", None
        if not f.whole:
            return ANY, "a broken segment of an exempt line", None
        if c.listed:
            if not any(d.version == f.version and f.dst in d for d in e.destinations):
                if not self.nfqd:
                    return self.nobody(f, interface, f"not a listed destination of {e}, and nobody to look")
                return ANY if f.mere_reset() else IN, f"not a listed destination of {e}", None
            if not self.nfqd and any(d.prefixlen != d.max_prefixlen for d in e.destinations):
                return ANY, "only nfqd knows listed networks", None
            # Two listed ones that begin with the same address are judged by nfqd.
            shared = any(x is not e and x.prefix.network_address == e.prefix.network_address and self.classes[x.cls].listed
                         for x in self.exemptions.values())
            if shared and not self.nfqd:
                return ANY, "only nfqd tells them apart", None
            direct = direct and not shared
            direct = direct and any(d.prefixlen == d.max_prefixlen and f.dst in d for d in e.destinations if d.version == f.version)
            if not direct and f.reach > CAPTURED:
                return ANY, "nfqd does not see so far", None
        if (c.rate or c.destinations) and f.syn():
            if not direct:
                return ANY, "only the kernel's sets are metered", None
            return None, f"metered: {e}", (c, e, f.dst)
        return OUT, f"exempt: {e}", None

    def nobody(self, f, interface, why):
        return (IN if self.failing(f.src, interface) == "closed" else ANY), why, None

    # --- meters: the observation says which of both it was, the bounds whether it may be ---

    def metered(self, meter, went, now):
        c, e, dst = meter
        meters = self.meters_of(e, now)
        if c.rate and c.destinations:
            return True  # not modelled together
        if c.rate:
            return meters["rate"].judge(went, now)
        key = (e.cls, e.prefix.network_address, dst)
        if key in self.known:
            return went
        if went and key in self.perhaps_known:
            # With or without a new count: the kernel may have kept the pair.
            b = meters["destinations"]
            b.low, self.known[key] = max(0.0, b.low - 1), now
            return True
        right = meters["destinations"].judge(went, now)
        if went:
            self.known[key] = now
        return right

    def perhaps_metered(self, packet, went, now):
        """Nobody knows whether a meter saw that packet, and noted its destination."""
        f = Facts(packet)
        for e in self.exemptions.values():
            if e.prefix.version == f.version and f.src in e.prefix:
                if went and f.syn() and self.classes[e.cls].destinations:
                    self.perhaps_known[(e.cls, e.prefix.network_address, f.dst)] = now
                for b in self.meters_of(e, now).values():
                    b.pass_time(now)
                    b.low = max(0.0, b.low - 1)

    def meters_of(self, e, now):
        # Two of one class that begin with the same address share a meter (kernel-rules/README.md).
        c, key, out = self.classes[e.cls], (e.cls, e.prefix.network_address), {}
        if c.rate:
            out["rate"] = self.buckets.setdefault(key + ("rate",), Bucket(c.rate / 60, c.burst, now))
        if c.destinations:
            out["destinations"] = self.buckets.setdefault(key + ("destinations",), Bucket(c.destinations / 3600, c.destinations, now))
        return out

    def meters_forgotten(self):
        self.perhaps_known.update(self.known)
        self.known.clear()
        for b in self.buckets.values():
            b.forget()
