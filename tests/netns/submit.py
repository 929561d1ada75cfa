#!/usr/bin/env python3
"""submit roundtrip LAB MAIL-FOLDER N SEED | mime LAB MAIL-FOLDER N SEED | load LAB N TAG | fill LAB SIZE TAG | turns LAB N USER,USER... DOMAIN,DOMAIN...: what curl and swaks cannot do, against port 465 of a lab.

roundtrip: N messages with random bodies (dots, 8 bit, long lines, empty lines), cut at random places; each must be
in MAIL-FOLDER (hostile_smtp.py) as it was sent, but for the header fields msad documents. Silent when it is so.

mime: N messages of random parts, 8 bit in some of them; each must be in MAIL-FOLDER in ASCII, and hold the same when Python's
email package has decoded it.

load: N messages over eight users, pipelined, the session opened again when it breaks; prints the tag of each that
got its 250, TAG-1-end and so on.

fill: messages of SIZE octets until one is refused with 452; prints the same.

turns: N messages of each of the users, who take turns, each to the next of the domains; the recipient is USER-1 and so on.
"""
import base64
import email
import os
import random
import re
import socket
import ssl
import sys
import threading
import time

lab = dict(line.rstrip("\n").split("=", 1) for line in open(f"{sys.argv[2]}/env"))
users = {u: (p, a) for u, p, a in (line.split() for line in open(lab["LAB_USERS"]))}
context = ssl.create_default_context(cafile=lab["LAB_CA_FILE"])


class Refused(Exception):
    pass


class Session:
    def __init__(self, user):
        self.address = users[user][1]
        plain = socket.create_connection((lab["LAB_MSA_IP4"], 465), 20)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.s = context.wrap_socket(plain, server_hostname=lab["LAB_MSA_HOST"])
        self.f = self.s.makefile("rb")
        self.expect("220")
        auth = base64.b64encode(f"\0{user}\0{users[user][0]}".encode()).decode()
        self.s.sendall(f"EHLO client.example\r\nAUTH PLAIN {auth}\r\n".encode())
        self.expect("250")
        self.expect("235")

    def expect(self, code):
        while True:
            line = self.f.readline().decode("latin-1")
            if line[3:4] != "-":
                break
        if not line.startswith(code):
            raise Refused(line.strip() or "closed")

    def mail(self, message, cut=None, rcpt="r@far.example"):
        self.s.sendall(f"MAIL FROM:<{self.address}>\r\nRCPT TO:<{rcpt}>\r\nDATA\r\n".encode())
        for code in ("250", "250", "354"):
            self.expect(code)
        data = re.sub(rb"(?m)^\.", b"..", message) + b".\r\n"
        while data:
            n = cut() if cut else len(data)
            self.s.sendall(data[:n])
            data = data[n:]
        self.expect("250")


def line(r):
    kind = r.randrange(8)
    if kind < 3:
        return (b".", b"..", b"")[kind]
    if kind == 3:
        return b"." * r.randrange(1, 5) + b" MAIL FROM:<x@y>"
    n = r.choice((1, 40, 998, 3000))
    text = r.randbytes(n).translate(bytes(c if c not in (0, 10, 13) else 46 for c in range(256)))
    return text if kind < 6 else text.translate(bytes(c & 0x7F if c & 0x7F > 31 else 46 for c in range(256)))


def roundtrip(folder, n, seed):
    r = random.Random(seed)
    sent = {}
    session = Session("user11")
    for i in range(n):
        size, body = r.choice((0, 10, 1000, 20000, 200000)), b""
        while len(body) < size:
            body += line(r) + b"\r\n"
        head = f"From: {session.address}\r\nMessage-ID: <{i}@x>\r\nDate: {seed}\r\nSubject: roundtrip-{seed}-{i}-end\r\n\r\n"
        sent[i] = head.encode() + body
        session.mail(sent[i], lambda: r.choice((1, 2, 3, 1000, 16384, 100000)) if size < 1000 else r.choice((999, 16384, 100000)))
    top = re.compile(
        rb"Received: from client\.example \(\[192\.0\.2\.10\]\)\r\n\t\(using TLSv1\.3 with cipher [A-Z0-9_]+\)\r\n"
        rb"\tby smtp\.isp\.example \(Sekisho\) with ESMTPSA id [0-9a-z]{16}\r\n\tfor <r@far\.example>;\r\n\t[^\r\n]+\r\n"
        rb"Authentication-Results: smtp\.isp\.example;\r\n\tauth=pass \(PLAIN\)\r\n\tsmtp\.auth=user11@isp\.example\r\n"
        rb"X-Sekisho-Trace: [0-9a-f]{24}\r\n"
    )
    deadline = time.monotonic() + 30
    while sent and time.monotonic() < deadline:
        for name in os.listdir(folder):
            data = open(f"{folder}/{name}", "rb").read() if name.endswith(".eml") else b""
            found = re.search(rb"\nSubject: roundtrip-%d-(\d+)-end\r\n" % seed, data[:2000])
            if not found or int(found[1]) not in sent:
                continue
            begin = top.match(data)
            if not begin or data[begin.end() :] != sent.pop(int(found[1])):
                sys.exit(f"message {int(found[1])} of seed {seed} is not what was sent: {folder}/{name}")
        time.sleep(0.05)
    if sent:
        sys.exit(f"not there: {sorted(sent)}")


def part(r, depth):
    """A header and a body."""
    kind = r.randrange(7 if depth else 4)
    eol = r.choice((b"", b"\r\n", b"\r\n\r\n"))
    if kind == 0:
        return b"", b"plain\r\n--x\r\n" + eol
    if kind == 1:
        words = ("grün ", "mot ", "漢字 ", "x" * 90, "=", "--", ".", "\t", "From ")
        text = "\r\n".join("".join(r.choice(words) for _ in range(r.randrange(20))) for _ in range(r.randrange(1, 30)))
        return b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n", text.encode() + eol
    if kind == 2:
        data = r.randbytes(r.choice((1, 56, 57, 58, 5000, 70000))).translate(bytes(c if c not in (0, 10, 13) else 200 for c in range(256)))
        return b"Content-Type: application/x-test\r\nContent-Transfer-Encoding: 8bit\r\n", data + eol
    if kind == 3:
        return b"Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n", base64.encodebytes(r.randbytes(200)).replace(b"\n", b"\r\n")
    if kind == 4:
        head, body = part(r, depth - 1)
        return b"Content-Type: message/rfc822\r\n", b"Subject: inner\r\nMIME-Version: 1.0\r\n" + head + b"\r\n" + body
    mark = b"b%d-%d" % (depth, r.randrange(10**6))
    parts = [part(r, depth - 1) for _ in range(r.randrange(1, 5))]
    body = r.choice((b"", b"before\r\n")) + b"".join(b"--%s\r\n%s\r\n%s\r\n" % (mark, h, b) for h, b in parts) + b"--%s--\r\n" % mark
    return b'Content-Type: multipart/mixed;\r\n\tboundary="%s"\r\nContent-Transfer-Encoding: 8bit\r\n' % mark, body


def leaves(data):
    m = email.message_from_bytes(data)
    return [(p.get_content_type(), p.get_payload(decode=True)) for p in m.walk() if not p.is_multipart()]


def mime(folder, n, seed):
    r = random.Random(seed)
    sent = {}
    session = Session("user11")
    for i in range(n):
        head, body = part(r, 4)
        body += b"" if body.endswith(b"\r\n") else b"\r\n"
        data = b"From: %s\r\nSubject: mime-%d-%d-end\r\nMIME-Version: 1.0\r\n%s\r\n%s" % (session.address.encode(), seed, i, head, body)
        sent[i] = leaves(data)
        session.mail(data)
    deadline = time.monotonic() + 30
    while sent and time.monotonic() < deadline:
        for name in os.listdir(folder):
            data = open(f"{folder}/{name}", "rb").read() if name.endswith(".eml") else b""
            found = re.search(rb"\nSubject: mime-%d-(\d+)-end\r\n" % seed, data[:3000])
            if not found or int(found[1]) not in sent:
                continue
            if not data.isascii() or leaves(data) != sent.pop(int(found[1])):
                sys.exit(f"message {int(found[1])} of seed {seed} is not what was sent: {folder}/{name}")
        time.sleep(0.05)
    if sent:
        sys.exit(f"not there: {sorted(sent)}")


def fill(size, tag):
    body = b"x" * 70 + b"\r\n"
    try:
        for i in range(10**6):
            if i % 20 == 0:
                session = Session(f"user{12 + i // 20 % 8}")
            session.mail(f"From: {session.address}\r\nSubject: {tag}-{i}-end\r\n\r\n".encode() + body * (size // len(body)))
            print(f"{tag}-{i}-end\n", end="", flush=True)
    except Refused as e:
        if not str(e).startswith("452 4.3.1"):
            raise


def load(n, tag):
    todo, lock = list(range(n)), threading.Lock()

    def work(user):
        session = None
        while True:
            with lock:
                if not todo:
                    return
                i = todo.pop()
            try:
                session = session or Session(user)
                session.mail(f"From: {session.address}\r\nSubject: {tag}-{i}-end\r\n\r\nx\r\n".encode())
                print(f"{tag}-{i}-end\n", end="", flush=True)
            except (OSError, Refused):
                session = None
                time.sleep(0.02)

    threads = [threading.Thread(target=work, args=(f"user{u}",)) for u in range(12, 20)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


def turns(n, names, domains):
    sessions = {name: Session(name) for name in names}
    for i in range(n):
        for name, session in sessions.items():
            message = f"From: {session.address}\r\nSubject: {name}-{i}-end\r\n\r\nx\r\n".encode()
            session.mail(message, rcpt=f"{name}-{i}@{domains[i % len(domains)]}")


if sys.argv[1] in ("roundtrip", "mime"):
    {"roundtrip": roundtrip, "mime": mime}[sys.argv[1]](sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
elif sys.argv[1] == "turns":
    turns(int(sys.argv[3]), sys.argv[4].split(","), sys.argv[5].split(","))
elif sys.argv[1] == "fill":
    fill(int(sys.argv[3]), sys.argv[4])
else:
    load(int(sys.argv[3]), sys.argv[4])
