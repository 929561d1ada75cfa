#!/usr/bin/env python3
"""docs_tests: prints the tests that docs/submission.md names in its last column and that are not there."""
import glob
import os
import re

SUITES = {"S": "submission", "A": "submission-auth", "T": "submission-tls", "K": "submission-key", "P": "submission-proxy",
          "H": "submission-handover", "E": "extensions", "I": "identity-mail", "M": "milter", "C": "clients", "D": "delivery",
          "L": "appliance"}


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


titles = {k: re.findall(r'@test "([^"]*)"', read(f"tests/netns/{v}.bats")) for k, v in SUITES.items()}
unit = "".join(read(f) for f in glob.glob("tests/unit/msa/*.c"))


def is_there(kind, name):
    if kind in titles:
        return any(t.startswith(name.rstrip("…")) for t in titles[kind])
    if kind == "F":
        return os.path.exists(f"tests/fuzz/msa/{name}.c")
    if name.startswith(("test_", "_")):
        return name.rstrip("*") in unit
    return os.path.exists(f"tests/unit/msa/test_{name}.c")


for line in read("docs/submission.md").splitlines():
    kind = None
    for letter, name in re.findall(r"(?:(?<=[\s|(;,])([A-Z]) )?`([^`]+)`", line.split("|")[-2] if line.startswith("|") else ""):
        kind = letter or kind
        if kind and not is_there(kind, name):
            print(kind, name)
