"""What others use, on the same traces. Each is a function (state, attempt) -> refused; state is a dict of its own for each trace."""
from collections import deque

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


def window(state, key, t, span, n, limit):
    """Add n to a sliding window unless it would exceed the limit; true: refused."""
    q, total = state.get(key) or (deque(), 0)
    while q and q[0][0] <= t - span:
        total -= q.popleft()[1]
    refused = total + n > limit
    if not refused:
        q.append((t, n))
        total += n
    state[key] = (q, total)
    return refused


def policyd_rate_limit(state, a):
    """policyd-rate-limit.yaml: 10 messages a minute, 150 a day."""
    k = a["account"]
    return window(state, (k, "m"), a["t"], MINUTE, 1, 10) | window(state, (k, "d"), a["t"], DAY, 1, 150)


def five_hundred(state, a):
    """500 recipients a day (Gmail, mailstrom)."""
    return window(state, a["account"], a["t"], DAY, len(a["rcpt"]), 500)


def rspamd_bucket(state, a):
    """rspamd's example for an authenticated user: a burst of 20 messages, then one a minute; as a leaky bucket."""
    level, last = state.get(a["account"], (0.0, a["t"]))
    level = max(0.0, level - (a["t"] - last) / MINUTE)
    refused = level + 1 > 20
    state[a["account"]] = (level if refused else level + 1, a["t"])
    return refused


def exim_unknown(state, a):
    """Exim's wiki, BlockCracking: 100 unknown recipients in an hour, then the account is blocked."""
    k = a["account"]
    if state.get((k, "blocked")):
        return True
    bad = sum(1 for r in a["result"] if r[:1] == "5" and ("5.1." in r or "such" in r or "exist" in r or "unknown" in r))
    if bad and window(state, k, a["t"], HOUR, bad, 100):
        state[(k, "blocked")] = True
    return False


PEERS = {
    "policyd-rate-limit: 10/min, 150/day": policyd_rate_limit,
    "500 recipients a day": five_hundred,
    "rspamd: bucket of 20, 1/min": rspamd_bucket,
    "Exim: 100 unknown users an hour": exim_unknown,
}
