#!/usr/bin/env python3
"""find_key PID KEYFILE: is the private key (PEM; EC or RSA) in the memory of that process? Prints how often; exit 0 yes, 1 no.

Looks for the secret numbers as they are on paper (big-endian) and as OpenSSL's BIGNUMs keep them (little-endian words),
for 16 octets of each, so that a part is enough, and for lines of the file itself.
"""
import re
import subprocess
import sys

pid, path = sys.argv[1:]


def numbers():
    text = subprocess.run(["openssl", "pkey", "-in", path, "-text", "-noout"], capture_output=True, text=True, check=True).stdout
    for name in ("priv", "privateExponent", "prime1", "prime2", "exponent1", "exponent2", "coefficient"):
        m = re.search(rf"^{name}:\n((?: +[0-9a-f:]+\n)+)", text, re.M)
        if m:
            yield bytes.fromhex(re.sub(r"[^0-9a-f]", "", m.group(1))).lstrip(b"\0")


needles = set()
for n in numbers():
    needles |= {n[:16], n[-16:], n[::-1][:16], n[::-1][-16:]}
lines = open(path, "rb").read().split(b"\n")
needles |= {line[:40] for line in lines if len(line) >= 40 and not line.startswith(b"-")}
if len(needles) < 4:
    sys.exit("there is no private key in " + path)

found = read = 0
with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
    for line in maps:
        fields = line.split()
        if "r" not in fields[1] or fields[-1] in ("[vvar]", "[vsyscall]"):
            continue
        start, end = (int(x, 16) for x in fields[0].split("-"))
        try:
            mem.seek(start)
            data = mem.read(end - start)
        except OSError:
            continue
        read += len(data)
        found += sum(data.count(n) for n in needles)
if read < 1 << 20:
    sys.exit(f"only {read} octets of {pid} could be read")
print(found)
sys.exit(0 if found else 1)
