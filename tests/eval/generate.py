#!/usr/bin/env python3
"""generate.py SEED OUT [--accounts N] [--days N] [--attacks N]: one trace of honest lives and attacks, in the format of sekishoctl replay.

OUT gets the trace, OUT.truth what each account is. The same seed makes the same bytes. Lines of an attack carry "hostile": true and
"attack", which the detector never reads."""
import argparse
import json

from attacks import ATTACKS
from lives import LIVES
from odd_lives import MORE_LIVES
from world import World


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("seed", type=int)
    p.add_argument("out")
    p.add_argument("--accounts", type=int, default=300)
    p.add_argument("--days", type=int, default=42)
    p.add_argument("--attacks", type=int, default=32)
    a = p.parse_args()
    w = World(a.seed, a.days)
    people, n, kinds = [], 0, LIVES + MORE_LIVES
    while len(people) < a.accounts:
        life = w.r.choices([x[0] for x in kinds], [x[1] for x in kinds])[0]
        people += life(w, n)
        n = len(people) + 1
    free = [x for x in people if x.born == 0]
    w.r.shuffle(free)

    def victims(kinds=None):
        """Somebody nobody has robbed yet."""
        for i, x in enumerate(free):
            if not kinds or x.kind in kinds:
                return free.pop(i)
        return free.pop() if free else w.r.choice(people)

    for i in range(a.attacks):
        # Each kind at least once, the rest by share; the ones that need a certain victim first.
        kind = ATTACKS[-1 - i][0] if i < len(ATTACKS) else w.r.choices([x[0] for x in ATTACKS], [x[1] for x in ATTACKS])[0]
        kind(w, victims)
    w.lines.sort(key=lambda x: x["t"])
    with open(a.out, "w") as f:
        for line in w.lines:
            f.write(json.dumps(line, separators=(",", ":")) + "\n")
    with open(a.out + ".truth", "w") as f:
        json.dump({"days": a.days, "life": w.life, "born": {x.name: x.born for x in people}}, f)


main()
