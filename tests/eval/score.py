#!/usr/bin/env python3
"""score.py [--worst N] TRACE CHANGES [TRACE CHANGES ...]: what got out, and who was held by mistake.

For each attack: the recipients of its attempts that came while the account was not held, refused ones too. For honest accounts: those
that were held although nothing hostile had come from them yet, a thousand account-days. With --peers the rules of others instead of CHANGES,
which are then not given."""
import argparse
import json
import statistics
import sys
from collections import defaultdict

from peers import PEERS

HELD = ("hold", "suspend")


class Tally:
    def __init__(self):
        self.leak = defaultdict(int)      # (trace, attack) -> recipients
        self.held = defaultdict(int)      # life -> accounts
        self.days = defaultdict(float)    # life -> account-days
        self.names = []                   # (trace, account, life, change)

    def attack(self, key, n):
        self.leak[key] += n

    def summary(self):
        leaks = sorted(self.leak.values()) or [0]
        days = sum(self.days.values()) or 1
        return (statistics.median(leaks), leaks[min(len(leaks) - 1, int(len(leaks) * .95))], 1000 * sum(self.held.values()) / days)


def percentile(values, p):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * p))] if values else 0


def load_changes(path):
    out = []
    with open(path) as f:
        for line in f:
            out.append(json.loads(line))
    return out


def score_changes(tally, trace, truth, attempts, changes):
    """attempts: the lines with recipients, in order."""
    attacked = {}
    for a in attempts:
        if a.get("hostile"):
            attacked.setdefault(a["account"], a["t"])
    held, i, wrong = {}, 0, {}
    for a in attempts:
        while i < len(changes) and changes[i]["t"] <= a["t"]:
            c = changes[i]
            held[c["account"]] = c["stage"] in HELD
            if held[c["account"]] and c["t"] < attacked.get(c["account"], 1 << 60):
                wrong.setdefault(c["account"], c)
            i += 1
        if a.get("hostile"):
            tally.attack((trace, a["attack"]), 0 if held.get(a["account"]) else len(a["rcpt"]))
    for account, c in wrong.items():
        tally.held[truth["life"][account]] += 1
        tally.names.append((trace, account, truth["life"][account], c))


def score_peer(tally, trace, truth, attempts, rule):
    """A rule says of each attempt whether it is refused; an honest account counts for each day with a refusal."""
    refused = set()
    state = {}
    attacked = set()
    for a in attempts:
        no = rule(state, a)
        if a.get("hostile"):
            attacked.add(a["account"])
            tally.attack((trace, a["attack"]), 0 if no else len(a["rcpt"]))
        elif no and a["account"] not in attacked:
            refused.add(a["account"])
    for account in refused:
        tally.held[truth["life"][account]] += 1


def days_of(tally, truth):
    for account, life in truth["life"].items():
        tally.days[life] += truth["days"] - truth["born"][account]


def by_kind(tally):
    kinds = defaultdict(list)
    for (_, attack), n in tally.leak.items():
        kinds[attack.rsplit("-", 1)[0]].append(n)
    return kinds


def report(tally, worst):
    median, p95, held = tally.summary()
    print("attacks %d  median %g  95 %% %g  honest holds per 1000 account-days %.3f (%d in %d)" % (
        len(tally.leak), median, p95, held, sum(tally.held.values()), sum(tally.days.values())))
    print("| attack | number | median | 95 % | worst |\n|---|---|---|---|---|")
    for kind, leaks in sorted(by_kind(tally).items()):
        print("| %s | %d | %g | %g | %d |" % (kind, len(leaks), statistics.median(leaks), percentile(leaks, .95), max(leaks)))
    print("| life | account-days | held |\n|---|---|---|")
    for life, days in sorted(tally.days.items()):
        print("| %s | %d | %d |" % (life, days, tally.held[life]))
    if worst:
        for n, key in sorted(((n, k) for k, n in tally.leak.items()), reverse=True)[:worst]:
            print("leak", n, *key)
        for x in tally.names:
            print("held", x[0], x[1], x[2], json.dumps(x[3]))


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--worst", type=int, default=0)
    p.add_argument("--peers", action="store_true")
    p.add_argument("files", nargs="+")
    o = p.parse_args()
    step = 1 if o.peers else 2
    mine, peers = Tally(), {name: Tally() for name in PEERS}
    for i in range(0, len(o.files), step):
        path = o.files[i]
        with open(path) as f:
            attempts = [x for x in map(json.loads, f) if "rcpt" in x]
        with open(path + ".truth") as f:
            truth = json.load(f)
        if o.peers:
            for name, rule in PEERS.items():
                score_peer(peers[name], path, truth, attempts, rule)
                days_of(peers[name], truth)
        else:
            score_changes(mine, path, truth, attempts, load_changes(o.files[i + 1]))
            days_of(mine, truth)
    if o.peers:
        print("| rule | median | 95 % | honest accounts refused per 1000 account-days |\n|---|---|---|---|")
        for name, t in peers.items():
            print("| %s | %g | %g | %.2f |" % ((name,) + t.summary()))
    else:
        report(mine, o.worst)
    return 0


if __name__ == "__main__":
    sys.exit(main())
