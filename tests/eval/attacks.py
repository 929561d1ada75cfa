"""Stolen accounts and infected machines. Each attack is one function; where from, how fast, how many, how it varies: all at random."""
from world import DAY, HOUR, LEARN_DAYS, MINUTE, MS


class Source:
    """Where the mail of an attack comes from."""

    def __init__(self, w, victim, kind=None):
        r = w.r
        self.w, self.victim = w, victim
        self.kind = kind or r.choices(("foreign", "own", "many", "isp", "hosting"), (35, 15, 20, 15, 15))[0]
        self.one = w.foreign()
        self.net = (w.prefix(24))
        self.isp = w.ip_in(r.choice(w.pools))
        self.name = victim.devices[0] if self.kind == "own" and r.random() < .5 else w.bot_ehlo()
        self.every_name = r.random() < .3

    def client(self, day):
        w = self.w
        ehlo = w.bot_ehlo() if self.every_name else self.name
        if self.kind == "own":
            return self.victim.line.ip(day) if day not in self.victim.moved else self.victim.moved[day]()[0], self.name
        if self.kind == "many":
            return w.foreign(), ehlo
        return {"foreign": self.one, "isp": self.isp, "hosting": w.ip_in(self.net)}[self.kind], ehlo


class Campaign:
    """What is sent: a text with noise, to strangers, so many of them unknown, so much of it called spam."""

    def __init__(self, w, kind):
        r = w.r
        self.w = w
        self.id = "%s-%d" % (kind, r.getrandbits(40))
        self.text = w.body()
        self.noise = r.choice((0, 2, 4, 6, 64))  # 64: another text each time
        self.bad = r.choice((.03, .08, .15, .25, .4))
        self.spam = r.choice((0, .02, .1, .3))
        self.style = r.choice((0, 1, 2, 3, None))
        self.sender = r.choice(("own", "own", "own", "random", "fixed"))
        self.fake = w.address()
        self.list = r.choice(("any", "any", "domain", "sorted"))
        self.where = w.r.choice(w.domains)
        self.sent = 0

    def recipients(self, n):
        w, r = self.w, self.w.r
        out = [w.address() for _ in range(n)]
        if self.list == "domain":
            out = [a.split("@")[0] + "@" + self.where for a in out]
        return sorted(out) if self.list == "sorted" else out

    def send(self, t, victim, source, n, rcpts=None, text=None, size=None, clean=False):
        w = self.w
        day = int((t - w.start + w.tz) // DAY)
        ip, ehlo = source.client(day)
        rcpts = rcpts or self.recipients(n)
        sender = {"own": victim.sender, "random": w.address() if self.sender == "random" else "", "fixed": self.fake}[self.sender]
        body = text if text is not None else w.body() if self.noise == 64 else w.noise(self.text, self.noise)
        res = w.results(rcpts) if clean else w.results(rcpts, self.bad, self.spam, .03, self.style)
        w.attempt(t, victim.name, ip, ehlo, sender, rcpts, body, size, res, attack=self.id)
        self.sent += len(rcpts)
        for x in res:
            if clean or x[0] == "5":
                continue
            if w.r.random() < .02:
                w.other(t + w.r.randrange(1, 30) * MINUTE, account=victim.name, bounce=w.r.choice(("5.1.1", "5.7.1", "5.1.10")), attack=self.id)


def begin(w):
    return w.start + LEARN_DAYS * DAY + int(w.r.random() * (w.days - LEARN_DAYS - .5) * DAY)


def syns(w, victim, source, t):
    """An infected machine tries port 25 itself first, as often as not."""
    if source.kind in ("own", "isp") and w.r.random() < .6:
        ip, _ = source.client(int((t - w.start + w.tz) // DAY))
        for i in range(w.r.randrange(1, 8)):
            w.other(t - w.r.randrange(1, 12 * HOUR) + i, ip=ip, syn25=w.r.randrange(10, 400), dst=w.r.randrange(5, 120), attack="syn")


def guesses(w, victim, source, t):
    """Passwords are tried before one fits, some of the time."""
    if source.kind != "own" and w.r.random() < .35:
        for _ in range(w.r.randrange(3, 60)):
            ip = w.foreign() if w.r.random() < .5 else source.client(0)[0]
            w.other(t - w.r.randrange(1, 6 * HOUR), account=victim.name, ip=ip, auth="fail", attack="guess")
        w.other(t - w.r.randrange(MS, HOUR), account=victim.name, ip=source.client(0)[0], auth="ok", attack="guess")


def blast(w, victims, kind="blast"):
    r, v = w.r, victims()
    c, s, t = Campaign(w, kind), Source(w, v), begin(w)
    per, gap, total = r.choice((1, 1, 2, 5, 10, 20, 50, 100)), r.choice((200, 1000, 3000, 10_000, 30_000)), r.choice((200, 600, 1500))
    syns(w, v, s, t), guesses(w, v, s, t)
    while c.sent < total:
        c.send(t, v, s, max(1, int(per * r.uniform(.5, 1.2))))
        t += int(r.expovariate(1 / gap)) + 20


def dictionary(w, victims):
    r, v = w.r, victims()
    c, s, t = Campaign(w, "dictionary"), Source(w, v), begin(w)
    c.bad, per, where = r.uniform(.4, .95), r.choice((1, 1, 5, 20, 50)), r.choice(w.domains)
    from world import NAMES
    names = sorted({r.choice(NAMES) + r.choice(("", str(r.randrange(100)), "." + r.choice(NAMES))) for _ in range(400)})
    syns(w, v, s, t)
    for i in range(0, len(names), per):
        c.send(t, v, s, per, [x + "@" + where for x in names[i:i + per]])
        t += int(r.expovariate(1 / r.choice((300, 2000, 10_000)))) + 20


def drip(w, victims):
    r, v = w.r, victims()
    c, s, t = Campaign(w, "slow drip"), Source(w, v), begin(w)
    gap, per = r.choice((5, 15, 30, 60, 120)) * MINUTE, r.choice((1, 1, 2, 5))
    syns(w, v, s, t), guesses(w, v, s, t)
    while c.sent < 600 and t < w.end:
        c.send(t, v, s, per)
        t += int(r.expovariate(1 / gap)) + MS


def snowshoe(w, victims):
    """Many accounts, little from each, one text or one nest of addresses."""
    r = w.r
    c, t0 = Campaign(w, "snowshoe"), begin(w)
    if r.random() < .8:
        c.noise = min(c.noise, 6)
    shared = r.choice(("none", "few", "net"))
    nest, net = [w.foreign() for _ in range(r.randrange(2, 5))], w.prefix(24)
    span, rounds = r.choice((20, 60, 300)) * MINUTE, r.choice((1, 2, 6))
    for _ in range(r.randrange(6, 26)):
        v = victims()
        s = Source(w, v)
        if shared != "none":
            s.kind, s.one = "foreign", r.choice(nest) if shared == "few" else w.ip_in(net)
        per = r.choice((1, 2, 5, 10))
        for k in range(rounds):
            c.send(int(t0 + r.random() * span + k * span), v, s, per)


def distributed(w, victims):
    """One account from a new address each time."""
    r, v = w.r, victims()
    c, s, t = Campaign(w, "distributed logins"), Source(w, v, "many"), begin(w)
    s.every_name = r.random() < .6
    per, gap = r.choice((1, 1, 3, 10)), r.choice((2000, 20_000, 120_000, 600_000))
    guesses(w, v, s, t)
    while c.sent < 500 and t < w.end:
        if r.random() < .3:
            w.other(t - 50, account=v.name, ip=w.foreign(), auth="ok", attack=c.id)
        c.send(t, v, s, per)
        t += int(r.expovariate(1 / gap)) + 50


def mimicry(w, victims):
    """In the owner's hours, at about the owner's pace, some of it to the owner's friends."""
    r, v = w.r, victims()
    c, s, t0 = Campaign(w, "mimicry"), Source(w, v), begin(w)
    day0, friends = int((t0 - w.start) // DAY), r.choice((0, 0, .2, .4))
    c.noise = r.choice((2, 6, 64))
    for day in range(day0, w.days):
        for _ in range(max(4, int(v.rate * r.uniform(1, 3)))):
            t = w.day(day) + int(r.uniform(*v.hours) * HOUR)
            if t >= t0 and c.sent < 500:
                c.send(t, v, s, 1, [v.friend()] if r.random() < friends else None, clean=False)


def hijacked(w, victims):
    """An account that is allowed to send bulk, and does: another's list, another's text."""
    r = w.r
    v = victims(("newsletter", "school", "list owner", "invoices"))
    c, s, t = Campaign(w, "hijacked newsletter"), Source(w, v), begin(w)
    per, gap = r.choice((1, 1, 10, 50, 100)), r.choice((100, 1000, 5000))
    syns(w, v, s, t)
    while c.sent < 1500:
        c.send(t, v, s, per)
        t += int(r.expovariate(1 / gap)) + 20


def probe(w, victims):
    """A try at one address, hours or days later the rest."""
    r, v = w.r, victims()
    c, s, t = Campaign(w, "two-stage probe"), Source(w, v), begin(w)
    for _ in range(r.choice((1, 1, 2))):
        c.send(t, v, s, 1, [w.address()], w.body(), r.randrange(300, 2000), clean=True)
        t += int(r.choice((.2, 2, 8, 30)) * HOUR * r.uniform(.5, 1.5))
    if r.random() < .5:
        s = Source(w, v)
    per, gap = r.choice((1, 1, 5, 20, 50)), r.choice((500, 3000, 20_000))
    syns(w, v, s, t)
    while c.sent < 600:
        c.send(t, v, s, per)
        t += int(r.expovariate(1 / gap)) + 20


def usual(w, victims):
    """In the owner's hours with the owner's program name, from elsewhere."""
    v = victims()
    c, s, t = Campaign(w, "usual hour and name"), Source(w, v, w.r.choice(("foreign", "isp", "hosting"))), begin(w)
    s.name, s.every_name = v.devices[0], False
    t = w.day(int((t - w.start) // DAY)) + int(v.hours[0] * HOUR)
    while c.sent < 500:
        c.send(t, v, s, w.r.choice((1, 1, 2, 5)))
        t += w.r.randrange(5, 120) * MS


def hourly(w, victims):
    v = victims()
    c, s, t = Campaign(w, "one an hour"), Source(w, v), w.start + LEARN_DAYS * DAY + int(w.r.random() * 8 * DAY)
    while t < w.end:
        c.send(t, v, s, 1)
        t += int(w.r.uniform(.8, 1.2) * HOUR)


def net24(w, victims):
    v = victims()
    c, s, t = Campaign(w, "300 of one net"), Source(w, v), begin(w)
    net = w.prefix(23)
    while c.sent < 400:
        s.kind, s.one = "foreign", w.ip_in(net)
        c.send(t, v, s, 1)
        t += w.r.randrange(2, 120) * MS


def chain(w, victims):
    """Answers to the victim's own correspondence, and then the rest of the world."""
    v = victims()
    c, s, t = Campaign(w, "reply chain"), Source(w, v, w.r.choice(("foreign", "many", "hosting"))), begin(w)
    part = w.r.choice((.3, .5, .7))
    c.bad = .02
    while c.sent < 300:
        c.send(t, v, s, 1, [v.friend()] if w.r.random() < part else None, text=w.body())
        t += w.r.randrange(10, 300) * MS


def breach(w, victims):
    """The web mailer was broken into: many accounts, its address and its name."""
    c, t0 = Campaign(w, "webmail breach"), begin(w)
    c.sender, c.noise = "own", w.r.choice((0, 4, 6))
    lot = [v for v in w.webmail if v.name not in w.robbed][:12]
    w.robbed.update(v.name for v in lot)
    if not lot:
        return blast(w, victims)
    for v in lot:
        s = Source(w, v, "foreign")
        s.one, s.name, s.every_name = v.client(0)[0], "webmail.example", False
        t = t0 + w.r.randrange(0, 40) * MINUTE
        for _ in range(40):
            c.send(t, v, s, 1)
            t += w.r.randrange(5, 60) * MS


def thin(w, victims):
    """Thirty accounts, four recipients each."""
    c, t0 = Campaign(w, "thin snowshoe"), begin(w)
    c.noise = w.r.choice((0, 4, 6))
    for _ in range(30):
        v = victims()
        s = Source(w, v, w.r.choice(("foreign", "hosting", "isp")))
        for k in range(4):
            c.send(t0 + int(w.r.random() * 3 * HOUR), v, s, 1)


def warming(w, victims):
    """Twice as many each day."""
    v = victims()
    c, s, n = Campaign(w, "warming up"), Source(w, v, w.r.choice(("foreign", "isp", "hosting"))), 1
    c.bad, c.spam = .03, .01
    for d in range(LEARN_DAYS + w.r.randrange(1, 10), w.days):
        for _ in range(n):
            c.send(w.at(d, w.r.uniform(8, 20), .1), v, s, 1)
        n = min(2 * n, 128)


def one_big(w, victims):
    v = victims()
    c, s, t = Campaign(w, "one to hundred"), Source(w, v), begin(w)
    for _ in range(5):
        c.send(t, v, s, 100)
        t += 30 * MS


ATTACKS = ((blast, 5), (dictionary, 3), (drip, 4), (snowshoe, 3), (distributed, 3), (mimicry, 4), (hijacked, 3), (probe, 4), (usual, 2),
           (hourly, 1), (net24, 1), (chain, 1), (breach, 1), (thin, 1), (warming, 1), (one_big, 1))
