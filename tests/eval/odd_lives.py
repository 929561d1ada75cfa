"""Honest lives that look like an attack: many people with one text, one client or one new network; programs that repeat themselves; bulk by other hands."""
from lives import Account, Line, a_line, poisson
from world import LEARN_DAYS, MS


def crowd_of(w, n, k, kind, **kw):
    out = []
    for i in range(k):
        a = Account(w, kind, n + i, rate=w.r.uniform(.5, 8), contacts=w.r.randrange(10, 60), **kw)
        a.live()
        out.append(a)
    return out


def viral(w, n):
    """A text goes round: each who gets it sends it on, to friends and to whom he never wrote to."""
    out = crowd_of(w, n, w.r.randrange(5, 15), "viral forward")
    for _ in range(w.r.randrange(1, 3)):
        day, body = w.r.randrange(LEARN_DAYS, w.days - 2), w.body()
        for a in out:
            if w.r.random() < .7:
                t = w.at(day + w.r.randrange(2), 14, 3)
                rc = sorted({a.recipient(w.r.choice((.2, .5, .9, 1))) for _ in range(w.r.choice((1, 3, 5, 10, 20)))})
                cl = (w.ip_in(a.line.pool) if w.r.random() < .5 else w.foreign(), w.r.choice(a.devices) if w.r.random() < .7 else w.ehlo()) if w.r.random() < .25 else None
                a.mail(t, day, rc, w.noise(body, 6), client=cl)
    return out


def new_year(w, n):
    """Everybody greets everybody in one night, with the same picture."""
    out = crowd_of(w, n, w.r.randrange(5, 15), "new year")
    day, body = w.r.randrange(LEARN_DAYS, w.days - 2), w.body()
    for a in out:
        t = w.at(day, 20, 4)
        people = sorted({a.recipient(w.r.choice((.3, .6))) for _ in range(w.r.randrange(5, 45))})
        if w.r.random() < .5:
            for p in people:
                a.mail(t, day, [p], w.noise(body, 4) if w.r.random() < .7 else None)
                t += w.r.randrange(20, 200) * MS
        else:
            a.mail(t, day, people, w.noise(body, 4))
    return out


def absent(w, n):
    """Answers everything that comes in, junk too, with the same words as everybody, and no sender."""
    r, out = w.r, []
    words = w.body()
    for i in range(r.randrange(4, 10)):
        a = Account(w, "out of office", n + i, rate=r.uniform(2, 15), contacts=40)
        a.live()
        day = r.randrange(LEARN_DAYS - 3, w.days - 4)
        for d in range(day, min(w.days, day + r.randrange(3, 12))):
            for _ in range(poisson(r, r.uniform(3, 25))):
                rc = [a.recipient(.7)]
                a.mail(w.at(d, r.uniform(6, 23), .1), d, rc, w.noise(words, 5), w.results(rc, .12, .03),
                       sender=r.choice(("", a.sender)))
        out.append(a)
    return out


def signature(w, n):
    """Mail without text but the company's signature, and invitations the calendar makes."""
    line, body = Line(w, w.r.choice(("fixed", "rare", "daily"))), w.body()
    out = []
    for i in range(w.r.randrange(4, 10)):
        a = Account(w, "common signature", n + i, line if w.r.random() < .7 else None, rate=w.r.uniform(1, 8), contacts=30, new=.15)
        phone = w.ehlo()
        at_home = a.client
        a.client = lambda day, p=phone, h=at_home: (w.ip_in(w.cgnat) if w.r.random() < .7 else w.foreign(), p) if w.r.random() < .2 else h(day)
        for d in range(w.days):
            for _ in range(poisson(w.r, a.rate)):
                a.mail(w.at(d, w.r.uniform(8, 19), .2), d, None, w.noise(body, 6) if w.r.random() < .6 else None)
        out.append(a)
    return out


def webshop(w, n):
    """Order confirmations: a stranger each, one form, from one machine; some days ten times as many. It may open late."""
    r, out = w.r, []
    form = w.body()   # the makers of shops' software ship one form
    for i in range(r.randrange(1, 4)):
        a = Account(w, "webshop", n + i, Line(w, "fixed"), rate=0, born=r.choice((0, 0, r.randrange(10, w.days - 4))))
        a.devices = ["shop.%s" % w.domain() if w.ehlo_says == "much" else w.ehlo_says and "localhost"]
        if r.random() < .3:
            ip = w.foreign()
            a.line.ip = lambda d, ip=ip: ip
        rate = r.choice((2, 8, 30, 80))
        for d in range(a.born, w.days):
            rush = 8 if r.random() < .04 else 1
            for _ in range(poisson(r, rate * rush)):
                rc = [w.address()]
                a.mail(w.at(d, r.uniform(7, 24), .1), d, rc, w.noise(form, 8), w.results(rc, .03))
        out.append(a)
    return out


def secretary(w, n):
    """A club's account passes to another member: another line, another program, the same people and some more."""
    r = w.r
    a = Account(w, "club secretary", n, rate=r.uniform(.5, 3), contacts=20)
    members = [w.address() for _ in range(r.randrange(20, 120))]
    day, line, dev = r.randrange(LEARN_DAYS + 1, w.days - 3), a_line(w), w.ehlo()
    at_home = a.client
    a.client = lambda d: at_home(d) if d < day else (line.ip(d), dev)
    a.live()
    for d in list(range(r.randrange(7), day, 7)) + list(range(day, w.days, 5)):
        members += [w.address() for _ in range(r.randrange(3) if d != day else r.randrange(8))]
        a.bulk(w.at(d, 20, 1), d, members, r.uniform(0, .05), per=r.choice((1, 25, 100)))
    return [a]


def renumbered(w, n):
    """In one night all addresses of a provider become others."""
    r = w.r
    old, new, day = w.prefix(18), w.prefix(18), r.randrange(LEARN_DAYS + 1, w.days - 3)
    out = []
    for i in range(r.randrange(6, 15)):
        a = Account(w, "renumbered", n + i, rate=r.uniform(.5, 10), contacts=40)
        was, now, dev = w.ip_in(old), w.ip_in(new), a.devices
        a.client = lambda d, was=was, now=now, dev=dev: (was if d < day else now, r.choice(dev))
        a.live()
        if r.random() < .15:
            d = min(w.days - 1, day + r.randrange(0, 3))
            a.bulk(w.at(d, 15, 2), d, [a.recipient(.5) for _ in range(r.randrange(20, 60))], .03)
        out.append(a)
    return out


def shared_nat(w, n):
    """Hundreds behind one address; some come new."""
    ip = w.foreign()
    out = []
    for i in range(w.r.randrange(8, 16)):
        a = Account(w, "shared nat", n + i, rate=w.r.uniform(.3, 4), contacts=25, new=.12)
        day = w.r.choice((0, 0, w.r.randrange(LEARN_DAYS, w.days)))
        at_home = a.client
        a.client = lambda d, day=day, h=at_home, dev=a.devices: (ip, w.r.choice(dev)) if d >= day and w.r.random() < .7 else h(d)
        a.live()
        out.append(a)
    return out


def retrier(w, n):
    """A program that tries again each minute what was refused for good."""
    r = w.r
    a = Account(w, "retrier", n, rate=r.uniform(.5, 6), contacts=30)
    a.live()
    for _ in range(3):
        d, rc, body = r.randrange(LEARN_DAYS, w.days), [w.address() for _ in range(r.choice((1, 1, 2, 4)))], w.body()
        t, res = w.at(d, 12, 3), r.choice(("550 5.1.1 user unknown", "550 5.1.1 user unknown", "554 5.7.1 message rejected as spam", "451 4.7.1 greylisted, try again later"))
        for _ in range(r.randrange(10, 200)):
            a.mail(t, d, rc, body, [res] * len(rc))
            t += r.choice((20, 60, 300)) * MS
    return [a]


def printer(w, n):
    """A new printer that sends each page to one person."""
    r = w.r
    a = Account(w, "printer", n, rate=r.uniform(.5, 3), contacts=8)
    a.live()
    day, ehlo, body = r.randrange(LEARN_DAYS, w.days), "MFP%04d" % r.randrange(9999) if w.ehlo_says == "much" else w.ehlo_says and "localhost", w.body()
    to = a.friend() if r.random() < .5 else w.address()
    t = w.at(day, 9, 1)
    for _ in range(500):
        a.mail(t, day, [to], w.noise(body, 3), client=(a.line.ip(day), ehlo))
        t += r.randrange(2, 30) * MS
    return [a]


def tool(w, n):
    """Bulk to the customers of always, now by a service: a machine elsewhere, a message each."""
    r = w.r
    a = Account(w, "marketing tool", n, rate=r.uniform(1, 6), contacts=60)
    people = [w.address() for _ in range(r.randrange(60, 300))]
    a.live()
    day, out, dev = r.randrange(LEARN_DAYS + 5, w.days), w.foreign(), "out%d.tool.example" % r.randrange(9) if w.ehlo_says == "much" else w.ehlo_says and "localhost"
    for d in range(r.randrange(6), w.days, 6):
        people += [w.address() for _ in range(r.randrange(8))]
        order = list(people)
        r.shuffle(order)
        body, t = w.body(), w.at(d, 10, 1)
        for p in order:
            a.mail(t, d, [p], w.noise(body, 4), w.results([p], .01), client=(out, dev) if d >= day else None)
            t += r.randrange(200, 4000)
    return [a]


def moving_invoices(w, n):
    """Once a month, on another day each time, and the text is the month's."""
    r = w.r
    a = Account(w, "moving invoices", n, Line(w, r.choice(("fixed", "rare", "weekly", "daily"))), rate=r.uniform(2, 8), contacts=30)
    cust = [w.address() for _ in range(r.randrange(20, 200))]
    a.live()
    for m in range(2):
        d = min(w.days - 1, m * 28 + r.randrange(0, 14))
        form, t = w.body(), w.at(d, 11, 3)
        for c in cust:
            a.mail(t, d, [c], w.noise(form, 10), w.results([c], .02))
            t += r.randrange(200, 30_000)
        cust += [w.address() for _ in range(r.randrange(25))]
    return [a]


def vpn(w, n):
    """From one day on the mail of some goes through one service abroad, another exit each day."""
    r, out = w.r, []
    exits = [w.ip_in(w.prefix(24)) for _ in range(6)]
    for i in range(r.randrange(4, 12)):
        a = Account(w, "vpn", n + i, rate=r.uniform(1, 8), contacts=40)
        day, at_home = r.randrange(LEARN_DAYS, w.days), a.client
        a.client = lambda d, day=day, h=at_home, dev=a.devices: (r.choice(exits), r.choice(dev)) if d >= day else h(d)
        a.live()
        out.append(a)
    return out


def webmail(w, n):
    """A domain whose people write by one web mailer."""
    ip, out = w.ip_in(w.fixed), []
    for i in range(w.r.randrange(8, 16)):
        a = Account(w, "webmail", n + i, rate=w.r.uniform(.5, 8), contacts=40, new=.1)
        a.client = lambda d: (ip, "webmail.example")
        a.live()
        out.append(a)
    w.webmail += out
    return out


def migration(w, n):
    """Hundreds of new customers in one week, who tell their friends the new address with the words of the provider's form."""
    r, out = w.r, []
    day, form = r.randrange(LEARN_DAYS, w.days - 5), w.body()
    for i in range(r.randrange(6, 15)):
        a = Account(w, "migration", n + i, rate=r.uniform(.5, 6), contacts=r.randrange(10, 60), born=day + r.randrange(3))
        a.live()
        d = min(w.days - 1, a.born + r.randrange(2))
        people = a.contacts[:r.randrange(5, 50)]
        a.bulk(w.at(d, 18, 3), d, people, r.uniform(0, .08), w.noise(form, 4), noise=4)
        out.append(a)
    return out


MORE_LIVES = (  # (function, share)
    (viral, 1), (new_year, 1), (absent, 1), (signature, 1), (webshop, 2), (secretary, 2), (renumbered, 1), (shared_nat, 1), (retrier, 2),
    (printer, 2), (tool, 2), (moving_invoices, 2), (vpn, 1), (webmail, 1), (migration, 1),
)
