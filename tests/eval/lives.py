"""Honest lives: who they write to, from where, when; and the odd days that make a detector err."""
from world import DAY, HOUR, LEARN_DAYS, MINUTE, MS


class Line:
    """An access line: what address it has on a day."""

    def __init__(self, w, kind):
        self.w, self.kind, self.pool = w, kind, w.r.choice(w.pools)
        self.every = {"fixed": 10 ** 6, "rare": w.r.randrange(15, 60), "daily": 1, "weekly": 7, "v6": 10 ** 6}[kind]
        self.phase = w.r.randrange(self.every)
        self.v6 = w.v6_line()
        self.ips = {}

    def ip(self, day):
        if self.kind == "v6":  # privacy addresses: another host part each day
            return self.ips.setdefault(day, self.w.v6_host(self.v6))
        k = (day + self.phase) // self.every
        if k not in self.ips:
            self.ips[k] = self.w.ip_in(self.w.fixed if self.kind == "fixed" else self.pool)
        return self.ips[k]

    def change(self, day):
        """The router was restarted: from this day on another address."""
        self.every, self.phase = 10 ** 6, 0
        self.ips = {0: self.w.ip_in(self.pool)}


def a_line(w):
    return Line(w, w.r.choices(("rare", "fixed", "daily", "weekly", "v6"), (45, 15, 12, 13, 15))[0])


class Account:
    def __init__(self, w, kind, n, line=None, contacts=30, new=.08, rate=4.0, born=0):
        r = w.r
        self.w, self.kind, self.born, self.rate, self.new = w, kind, born, rate, new
        self.name = "%s%d@%s" % (r.choice(NAMES_SHORT), n, w.own)
        self.sender = self.name
        self.line = line or a_line(w)
        self.devices = [w.ehlo() for _ in range(r.choice((1, 1, 1, 2, 3)))]
        self.contacts = [w.address() for _ in range(contacts)]
        self.moved = {}  # day -> (ip, ehlo) of a day away
        self.silent = set()
        self.hours = r.choice(((9, 17), (8, 22), (19, 23), (6, 12)))
        w.life[self.name] = kind

    def friend(self):
        k = min(int(self.w.r.paretovariate(.6)) - 1, len(self.contacts) - 1)
        return self.contacts[k] if self.w.r.random() < .8 else self.w.r.choice(self.contacts)

    def recipient(self, new=None):
        if self.w.r.random() < (self.new if new is None else new):
            a = self.w.address()
            if self.w.r.random() < .6:
                self.contacts.append(a)
            return a
        return self.friend()

    def client(self, day):
        """(ip, ehlo) of one message."""
        if day in self.moved:
            return self.moved[day]()
        return self.line.ip(day), self.w.r.choice(self.devices)

    def mail(self, t, day, rcpts=None, body=None, results=None, size=None, client=None, sender=None):
        ip, ehlo = client or self.client(day)
        r = self.w.r
        if rcpts is None:
            rcpts = sorted({self.recipient() for _ in range(r.choice((1, 1, 1, 1, 1, 2, 2, 3, 5)))}, key=lambda _: r.random())
        self.w.attempt(t, self.name, ip, ehlo, sender or self.sender, rcpts, self.w.body() if body is None else body, size, results)

    def ordinary(self, day, factor=1.0):
        w, r = self.w, self.w.r
        weekend = w.weekday(day) in (0, 6)
        mean = self.rate * factor * ((.2 if self.hours == (9, 17) else .8) if weekend else 1)
        for _ in range(poisson(r, mean)):
            self.mail(w.day(day) + int(r.uniform(*self.hours) * HOUR), day)

    def live(self):
        for day in range(self.born, self.w.days):
            if day not in self.silent:
                self.ordinary(day)

    def bulk(self, t, day, rcpts, bad=.02, body=None, per=None, gap=None, noise=0, spam=0.0, client=None):
        """One text to many: in few messages with many recipients each, or one message each."""
        w, r = self.w, self.w.r
        body = w.body() if body is None else body
        per = per or r.choice((1, 1, 10, 25, 50, 100))
        gap = gap or r.choice((300, 2000, 10_000, 60_000))
        client = client or self.client(day)
        for i in range(0, len(rcpts), per):
            part = rcpts[i:i + per]
            self.mail(t, day, part, w.noise(body, noise), w.results(part, bad, spam), client=client)
            t += int(r.expovariate(1 / gap)) + 50
        return t


NAMES_SHORT = "aki ben cleo dai eve fay gus hana ian joy ken liv max nao oto pia ryo sam tae uta val wes yui zed".split()


def poisson(r, mean):
    n, t = 0, r.expovariate(1)
    while t < mean:
        n, t = n + 1, t + r.expovariate(1)
    return n


# --- one function a life; each adds its accounts to the world and returns them ---

def office(w, n):
    a = Account(w, "office", n, rate=w.r.uniform(4, 25), contacts=w.r.randrange(20, 120), new=w.r.uniform(.02, .12))
    a.hours = (9, 17)
    a.live()
    return [a]


def home(w, n):
    a = Account(w, "home", n, rate=w.r.uniform(.2, 4), contacts=w.r.randrange(5, 40), new=w.r.uniform(.05, .25))
    a.live()
    return [a]


def newsletter(w, n):
    """A list of its own, weekly or so, a little growth, now and then an import of many."""
    r = w.r
    a = Account(w, "newsletter", n, Line(w, r.choice(("fixed", "rare", "v6"))), rate=r.uniform(0, 3))
    subs = [w.address() for _ in range(r.choice((80, 200, 500, 1200)))]
    period, hour, per, template = r.choice((1, 3, 7, 7, 14)), r.uniform(6, 20), r.choice((1, 1, 50, 100)), w.body()
    a.ordinary_days = [a.ordinary(d) for d in range(w.days)]
    for day in range(r.randrange(period), w.days, period):
        subs += [w.address() for _ in range(r.randrange(0, 2 + len(subs) // 80))]
        if r.random() < .03:
            subs += [w.address() for _ in range(len(subs) // 5)]
        subs = [s for s in subs if r.random() > .003]
        body = w.noise(template, 10) if r.random() < .5 else w.body()
        end = a.bulk(w.at(day, hour, .3), day, subs, r.uniform(0, .02), body, per, r.choice((100, 500, 3000)), 4, .003)
        if r.random() < .15:
            w.other(end + r.randrange(DAY), account=a.name, report="abuse")
        for _ in range(poisson(r, len(subs) * .003)):
            w.other(end + r.randrange(2 * HOUR), account=a.name, bounce=r.choice(("5.1.1", "5.2.2", "4.4.7")))
    return [a]


def school(w, n):
    """Parents, known, a few times a month; the first time may come late, and with a new class in it."""
    r = w.r
    a = Account(w, "school", n, Line(w, r.choice(("fixed", "rare", "daily"))), rate=r.uniform(2, 10))
    parents = [w.address() for _ in range(r.randrange(60, 350))]
    a.live()
    for day in sorted(r.sample(range(r.choice((1, 5, 20)), w.days), r.randrange(2, 6))):
        parents += [w.address() for _ in range(r.choice((0, 0, 2, 5, 30)))]
        a.bulk(w.at(day, 11, 2), day, parents, r.uniform(.005, .05), per=r.choice((1, 30, 50, 100)))
    return [a]


def invoices(w, n):
    """Once a month, each its own text; the trace may begin just after the last run."""
    r = w.r
    a = Account(w, "invoices", n, Line(w, r.choice(("fixed", "rare", "rare", "daily"))), rate=r.uniform(3, 12), contacts=60)
    customers = [w.address() for _ in range(r.randrange(20, 250))] + a.contacts
    template = w.body()
    a.live()
    for day in range(r.randrange(31), w.days, 30):
        t = w.at(day, 10, 1)
        for c in customers:
            if r.random() < .9:
                a.mail(t, day, [c], w.noise(template, 8), w.results([c], .01))
                t += r.randrange(500, 20_000)
        customers += [w.address() for _ in range(r.randrange(12))]
    return [a]


def scanner(w, n):
    r = w.r
    a = Account(w, "scanner", n, Line(w, r.choice(("fixed", "rare", "daily"))), rate=r.uniform(3, 20), contacts=r.randrange(2, 12), new=.005)
    a.devices, a.hours = [r.choice(("KMBT%04X" % r.randrange(1 << 16), "scanner", "MFP-%d" % r.randrange(10), "localhost"))], (8, 18)
    body = 0x5ca9_0000_5ca9_1111 if r.random() < .5 else w.body()  # every scanner of a make sends the same text
    for day in range(w.days):
        for _ in range(poisson(r, a.rate)):
            a.mail(w.at(day, r.uniform(8, 18), .1), day, [a.recipient()], w.noise(body, 3), size=r.randrange(50_000, 3_000_000))
    return [a]


def shared_office(w, n):
    line = Line(w, w.r.choice(("fixed", "rare", "daily")))
    out = []
    everybody = [w.address() for _ in range(60)]
    for i in range(w.r.randrange(3, 12)):
        a = Account(w, "shared office", n + i, line, rate=w.r.uniform(3, 12), contacts=25)
        a.contacts += everybody
        out.append(a)
        a.live()
    # A notice all of them forward.
    for day in w.r.sample(range(w.days), 3):
        body = w.body()
        for a in out:
            if w.r.random() < .5:
                a.mail(w.at(day, 14, 1), day, [a.recipient(.3) for _ in range(4)], w.noise(body, 5))
    if w.r.random() < .3:  # a device inside knocks on port 25 now and then
        for day in range(w.days):
            w.other(w.at(day, 12, 3), ip=line.ip(day), syn25=w.r.randrange(1, 6), dst=1)
    return out


def list_owner(w, n):
    """Runs mailing lists: many recipients, the sender another each time (VERP), members come and go."""
    r = w.r
    a = Account(w, "list owner", n, Line(w, r.choice(("fixed", "fixed", "rare"))), rate=1)
    members, verp = [w.address() for _ in range(r.randrange(30, 200))], r.random() < .6
    for day in range(w.days):
        members += [w.address() for _ in range(poisson(r, .7))]
        for _ in range(poisson(r, 1.2)):
            t, body = w.at(day, r.uniform(7, 23), .3), w.body()
            if verp:
                for m in members:
                    a.mail(t, day, [m], w.noise(body, 4), w.results([m], .01), sender="list-bounces+%s@%s" % (m.replace("@", "="), w.own))
                    t += 200
            else:
                for i in range(0, len(members), 50):
                    a.mail(t + i * 20, day, members[i:i + 50], w.noise(body, 4))
    return [a]


def traveller(w, n):
    r = w.r
    a = Account(w, "traveller", n, rate=r.uniform(1, 10), contacts=50, new=r.uniform(.04, .2))
    day = r.randrange(3, 20)
    while day < w.days:
        hotel = [w.foreign() for _ in range(3)]
        for d in range(day, day + r.randrange(2, 12)):
            if r.random() < .3:
                hotel = [w.foreign() for _ in range(3)]
            a.moved[d] = lambda h=hotel: (r.choice(h), r.choice(a.devices) if r.random() < .8 else w.ehlo())
        day += r.randrange(12, 30)
    a.live()
    return [a]


def fair(w, n):
    """Days at a trade fair: many new people, from the hall's network, and the office goes on."""
    r = w.r
    a = Account(w, "trade fair", n, rate=r.uniform(3, 15), contacts=50)
    day = r.randrange(LEARN_DAYS, w.days)
    hall = w.foreign()
    for d in range(day, day + 3):
        a.moved[d] = lambda: (hall, a.devices[0])
    a.live()
    for d in range(day, day + 3):
        for _ in range(r.randrange(2, 7)):
            a.mail(w.at(d, 18, 2), d, [w.address()])
    return [a]


def mobile(w, n):
    """At home and on the way: the carrier's shared addresses."""
    a = Account(w, "mobile and home", n, rate=w.r.uniform(1, 8), contacts=40)
    phone = w.ehlo()
    at_home = a.client
    a.client = lambda day: (w.ip_in(w.cgnat), phone) if w.r.random() < .5 else at_home(day)
    a.live()
    return [a]


def new_customer(w, n):
    """Appears late; tells everybody the new address in the first days."""
    r = w.r
    a = Account(w, "new customer", n, rate=r.uniform(1, 10), contacts=r.randrange(10, 80), born=r.randrange(10, w.days - 2), new=.15)
    a.live()
    if r.random() < .6:
        d = a.born + r.randrange(3)
        a.bulk(w.at(d, 15, 3), d, a.contacts[:r.randrange(8, 80)], r.uniform(0, .12))
    return [a]


def new_devices(w, n):
    """A password change: every device fails for a day, then new ones come up."""
    r = w.r
    a = Account(w, "new devices", n, rate=r.uniform(2, 10), contacts=40)
    day = r.randrange(LEARN_DAYS + 1, w.days)
    for d in range(day, day + 2):
        for _ in range(r.randrange(10, 200)):
            w.other(w.at(d, r.uniform(7, 22), .2), account=a.name, ip=r.choice((a.line.ip(d), w.ip_in(w.cgnat))), auth="fail")
    fresh = [w.ehlo() for _ in range(5)]
    at_home = a.client

    def client(d):
        if d < day:
            return at_home(d)
        ip = a.line.ip(d) if r.random() < .6 else w.ip_in(w.cgnat) if r.random() < .7 else w.foreign()
        return ip, r.choice(fresh)
    a.client = client
    a.live()
    return [a]


def holiday(w, n):
    """Weeks of silence, then everything at once, sometimes from a new address."""
    r = w.r
    a = Account(w, "holiday return", n, rate=r.uniform(2, 10), contacts=50)
    start = r.randrange(5, w.days - 10)
    back = start + r.randrange(7, 25)
    a.silent = set(range(start, back))
    if r.random() < .5:
        a.moved = {d: (lambda ip=w.ip_in(a.line.pool): (ip, r.choice(a.devices))) for d in range(back, w.days)}
    a.live()
    if back < w.days:
        a.ordinary(back, 5)
    return [a]


def first_bulk(w, n):
    """A wedding, a club secretary's first mailing: bulk from who never sent any, from the line at home; some addresses are old,
    and the router got another address that day as often as not."""
    r = w.r
    a = Account(w, "first bulk", n, rate=r.uniform(.3, 6), contacts=r.randrange(10, 60))
    day = r.randrange(LEARN_DAYS, w.days)
    if r.random() < .5:
        ip, ehlo = w.ip_in(a.line.pool), a.devices[0] if r.random() < .9 else w.ehlo()
        a.moved = {d: (lambda: (ip, ehlo)) for d in range(day, min(day + r.choice((1, 10)), w.days))}
    a.live()
    guests = [a.friend() if r.random() < .4 else w.address() for _ in range(r.choice((30, 60, 60, 100, 100, 150, 250)))]
    a.bulk(w.at(day, 20, 2), day, sorted(set(guests)), r.choice((0, .02, .05, .1, .18)), per=r.choice((1, 20, 50, 100)),
           gap=r.choice((4000, 20_000, 90_000)), noise=r.choice((0, 4)))
    return [a]


def bad_list(w, n):
    """Sends to the same old list for months, and a tenth or fifth of it has gone."""
    r = w.r
    a = Account(w, "bad list", n, rate=r.uniform(1, 4))
    people = [w.address() for _ in range(r.randrange(20, 80))]
    gone = {p for p in people if r.random() < r.uniform(.1, .2)}
    a.live()
    for day in range(r.randrange(10), w.days, r.choice((7, 10))):
        people += [w.address() for _ in range(2)]
        t, body = w.at(day, 18, 1), w.body()
        for i in range(0, len(people), 20):
            part = people[i:i + 20]
            a.mail(t + i * 500, day, part, body, ["550 5.1.1 user unknown" if p in gone else "250 2.1.5 ok" for p in part])
    return [a]


def merger(w, n):
    """The company gets another name: a new sender domain, new EHLO, and everybody is told."""
    r = w.r
    a = Account(w, "merger", n, Line(w, "fixed"), rate=r.uniform(5, 20), contacts=80)
    day = r.randrange(LEARN_DAYS, w.days)
    for d in range(w.days):
        if d == day:
            a.sender, a.devices = "%s@%s" % (a.name.split("@")[0], w.domain()), [w.ehlo()]
            a.bulk(w.at(d, 9, .5), d, sorted(set(a.contacts)) + [w.address() for _ in range(r.randrange(15))], .03, per=r.choice((1, 25)))
        a.ordinary(d)
    return [a]


def forwarder(w, n):
    """Forwards everything that comes in, spam too: foreign senders, and the other side calls some of it spam."""
    r = w.r
    a = Account(w, "forwarder", n, Line(w, "fixed"), rate=0)
    to = a.contacts[:2]
    for day in range(w.days):
        for _ in range(poisson(r, 12)):
            rc = [r.choice(to)]
            a.mail(w.at(day, r.uniform(0, 24), .1), day, rc, None, w.results(rc, 0, .06), sender=w.address())
    return [a]


LIVES = (  # (function, share)
    (office, 22), (home, 28), (newsletter, 4), (school, 4), (invoices, 5), (scanner, 4), (shared_office, 2), (list_owner, 2),
    (traveller, 6), (fair, 2), (mobile, 6), (new_customer, 6), (new_devices, 5), (holiday, 5), (first_bulk, 6), (bad_list, 2),
    (merger, 2), (forwarder, 2),
)
