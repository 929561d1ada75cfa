"""The ground that lives and attacks stand on: time, addresses, names, bodies, replies. All of it from one seed."""
import random

MS = 1000
MINUTE, HOUR, DAY = 60 * MS, 3600 * MS, 86400 * MS
LEARN_DAYS = 14

NAMES = ("akira ben chloe dan emi frank gina haruto ivy jun kenji lena mio nora omar paul quinn rina sora tom uma "
         "vera will xena yuki zoe sato suzuki tanaka ito mori kato abe ono hara smith jones lee khan silva").split()
WORDS = "post mail hub net web corp shop lab cloud data home info works city media group trade studio health law".split()
UNKNOWN = ("550 5.1.1 user unknown", "550 5.1.1 <x> recipient address rejected: no such user", "550 No such user here",
           "550 5.1.10 RESOLVER.ADR.RecipientNotFound", "553 5.1.2 we do not relay to this mailbox",
           "550-5.1.1 The email account that you tried to reach does not exist")
SPAM = ("554 5.7.1 message rejected as spam", "550 5.7.1 blocked, your message looks like spam", "550 5.7.350 bulk mail rejected",
        "554 spam content detected", "550 5.7.1 listed at a block list", "421 4.7.28 unusual rate of unsolicited mail")
TROUBLE = ("451 4.7.1 greylisted, try again later", "452 4.2.2 mailbox full", "550 5.2.2 over quota", "421 4.3.2 try later",
           "450 4.1.8 sender domain not found")


class World:
    """One trace: a list of lines; lines of an attack carry hostile and attack, and the account's life is kept aside."""

    def __init__(self, seed, days):
        self.r = r = random.Random(seed)
        self.days = days
        self.start = 1_700_000_000_000 + r.randrange(400 * DAY)
        self.start -= self.start % DAY
        self.end = self.start + days * DAY
        self.tz = r.randrange(-8, 10) * HOUR
        self.lines = []
        self.life = {}
        self.webmail = []     # accounts of a web mailer
        self.robbed = set()   # of these, who was
        self.domains = [self.domain() for _ in range(400)]
        self.own = r.choice(("isp.example", "net.example", "provider.test"))
        # The ISP's own pools: few large ones or many small ones, sometimes scattered.
        self.pools = [self.prefix(r.choice((12, 14, 16, 16, 18, 20, 22, 24))) for _ in range(r.choice((1, 2, 3, 6)))]
        self.fixed = self.prefix(20)
        self.cgnat = self.prefix(r.choice((24, 26, 22)))
        self.v6 = "2001:%x" % r.randrange(0x200, 0xdff)
        self.hosting = [self.prefix(r.choice((16, 20, 22))) for _ in range(25)]
        self.abroad = [self.prefix(r.choice((16, 19))) for _ in range(60)]
        # Where things say little: addresses from everywhere, everybody's EHLO the same or none, no similarity hash.
        self.scattered = r.random() < .12
        self.ehlo_says = r.choices(("much", "nothing", None), (80, 10, 10))[0]
        self.body_says = r.random() < .9
        self.ehlo_common = r.random()  # how often clients say something that says nothing

    # --- names and addresses ---
    def domain(self):
        return "%s%s%d.%s" % (self.r.choice(WORDS), self.r.choice(WORDS), self.r.randrange(100), self.r.choice(("com", "net", "org", "jp", "de", "io")))

    def address(self):
        r = self.r
        d = self.domains[min(int(r.paretovariate(0.7)) - 1, len(self.domains) - 1)] if r.random() < .7 else r.choice(self.domains)
        return "%s%s%s@%s" % (r.choice(NAMES), r.choice((".", "", "_")), r.choice(NAMES) + str(r.randrange(1000)), d)

    def prefix(self, length):
        r = self.r
        while True:
            base = r.randrange(1 << 32) >> (32 - length) << (32 - length)
            if base >> 24 not in (0, 10, 127, 224, 255) and base >> 24 < 224:
                return (base, length)

    def ip_in(self, prefix):
        if self.scattered and prefix in self.pools:
            prefix = self.prefix(24)
        n = prefix[0] + self.r.randrange(1, (1 << (32 - prefix[1])) - 1)
        return "%d.%d.%d.%d" % (n >> 24, n >> 16 & 255, n >> 8 & 255, n & 255)

    def v6_line(self):
        return "%s:%x:%x" % (self.v6, self.r.randrange(1, 0xffff), self.r.randrange(1, 0xffff))

    def v6_host(self, line):
        return "%s:%x:%x:%x:%x" % ((line,) + tuple(self.r.randrange(1, 0xffff) for _ in range(4)))

    def ehlo(self):
        r = self.r
        if self.ehlo_says != "much":
            return self.ehlo_says and "localhost"
        if r.random() < self.ehlo_common * .5:
            return r.choice(("localhost", "[127.0.0.1]", "localhost.localdomain", "[192.168.1.2]", "smtpclient.apple"))
        return r.choice((
            lambda: "[192.168.%d.%d]" % (r.randrange(3), r.randrange(2, 250)),
            lambda: "%s-PC" % r.choice(NAMES).upper(),
            lambda: "DESKTOP-%06X" % r.randrange(1 << 24),
            lambda: "%s-laptop.local" % r.choice(NAMES),
            lambda: "mail.%s" % self.domain(),
        ))()

    def bot_ehlo(self):
        r = self.r
        if self.ehlo_says is None:
            return None
        return r.choice((self.ehlo, lambda: "WIN-%08X" % r.randrange(1 << 32), lambda: "ylmf-pc", lambda: "User",
                         lambda: "[%s]" % self.ip_in(r.choice(self.hosting)), lambda: "localhost"))()

    def foreign(self):
        """An address outside: a rented server's, or somebody's abroad."""
        return self.ip_in(self.r.choice(self.hosting if self.r.random() < .5 else self.abroad))

    # --- bodies ---
    def body(self):
        return self.r.getrandbits(64)

    def noise(self, body, bits):
        for _ in range(self.r.randrange(bits + 1)):
            body ^= 1 << self.r.randrange(64)
        return body

    # --- time ---
    def day(self, n):
        return self.start + n * DAY - self.tz

    def weekday(self, n):
        return (self.start // DAY + n + 4) % 7  # 0 is Sunday

    def at(self, n, hour, spread=1.0):
        """A moment on day n at about that hour, local time."""
        return int(self.day(n) + (hour + self.r.gauss(0, spread)) * HOUR)

    # --- replies ---
    def results(self, rcpts, bad=0.0, spam=0.0, trouble=.01, style=0):
        out = []
        for _ in rcpts:
            x = self.r.random()
            if x < bad:
                out.append(self.r.choice(UNKNOWN) if style is None else UNKNOWN[style % len(UNKNOWN)])
            elif x < bad + spam:
                out.append(self.r.choice(SPAM))
            elif x < bad + spam + trouble:
                out.append(self.r.choice(TROUBLE))
            else:
                out.append("250 2.1.5 ok" if self.r.random() < .8 else "250 ok")
        return out

    # --- lines ---
    def attempt(self, t, account, ip, ehlo, sender, rcpts, body, size=None, results=None, attack=None):
        if not self.start <= t < self.end or not rcpts:
            return
        line = {"t": int(t), "account": account, "ip": ip, "ehlo": ehlo, "from": sender, "rcpt": list(rcpts),
                "bytes": size or int(self.r.lognormvariate(9, 1.3)), "body": "%016x" % body,
                "result": results if results is not None else self.results(rcpts, .006, 0)}
        if not self.body_says:
            del line["body"]
        if ehlo is None:
            del line["ehlo"]
        self.lines.append(self.mark(line, attack))

    def other(self, t, attack=None, **fields):
        if self.start <= t < self.end:
            self.lines.append(self.mark({"t": int(t), **fields}, attack))

    @staticmethod
    def mark(line, attack):
        if attack:
            line["hostile"], line["attack"] = True, attack
        return line
