#!/usr/bin/env python3
"""hostile_smtp ADDRESS PORT FOLDER: a smart host that keeps what it takes and misbehaves as told.

FOLDER/behaviour is read before each step. A line is `STAGE [xN] ACTION`: the first one that fits is
done; xN lines are done N times, over all connections, counted since the file was written.

  stages    greeting ehlo starttls auth mail rcpt data body dot rset quit
            bdat: that is answered, and what follows BDAT is taken for commands, as by a server that does not know it
            pipelined: instead of any command that came before the one before it was answered
            now: as soon as it is read, whatever the action, every connection that is open is closed
            (body: in the middle of the message; rcpt=WORD, dot=WORD: only when WORD is in the command, in the message)
  actions   reply CODE TEXT   say that instead of what is usual ("\\n" in TEXT: a further line)
            close, reset      go away without an answer: orderly, or with a RST
            last CODE TEXT    say that, then close
            garbage           the usual reply, octets that are no TLS, then close
            lost              dot only: the message is kept, then close without a reply
            stall             never answer
            dribble           the usual reply, a byte every 20 ms
            slow SECONDS      the usual reply, later
            raw TEXT          TEXT as it is, with escapes as in C: \\r \\n \\x00
            endless           lines of a reply that never ends; endless-line: octets of one; trickle: the same, an octet every half second
            keywords A,B,...  ehlo only: offer these

What it took is in FOLDER/mail: N.eml, the bytes between DATA and the dot, dots unstuffed, and N.env,
a JSON object {from, rcpts, tls}. FOLDER/log has a line for each step; FOLDER/times too, as it begins: CLOCK_MONOTONIC,
the number of the connection, the stage, and the command but for the message. It exits with its standard input.
"""
import itertools
import json
import os
import socket
import ssl
import struct
import sys
import threading
import time

address, port, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
os.makedirs(f"{folder}/mail", exist_ok=True)
lock = threading.Lock()
state = {"stamp": None, "rules": [], "n": 0}
log = open(f"{folder}/log", "a", buffering=1)
times = open(f"{folder}/times", "a", buffering=1, encoding="latin-1")
numbers = itertools.count(1)


class Gone(Exception):
    pass


def rule(stage, text):
    """The action for this step, or None."""
    with lock:
        try:
            stamp = os.stat(f"{folder}/behaviour")
            stamp = (stamp.st_mtime_ns, stamp.st_ino)
        except FileNotFoundError:
            stamp = None
        if stamp != state["stamp"]:
            state["stamp"] = stamp
            state["rules"] = []
            for line in open(f"{folder}/behaviour").read().splitlines() if stamp else ():
                words = line.split(None, 1)
                if not words or words[0].startswith("#"):
                    continue
                times, action = None, words[1]
                first = action.split(None, 1)
                if first[0][0] == "x" and first[0][1:].isdigit():
                    times, action = int(first[0][1:]), first[1]
                state["rules"].append([*(words[0] + "=").split("=")[:2], times, action])
        for r in state["rules"]:
            if r[0] == stage and r[1].encode() in text and r[2] != 0:
                if r[2]:
                    r[2] -= 1
                return r[3]
    return None


class Session:
    everyone = set()

    def __init__(self, sock):
        self.s, self.buf, self.tls = sock, b"", False
        self.number = next(numbers)
        self.mail, self.rcpts = None, []

    def read_line(self):
        while b"\r\n" not in self.buf:
            self.more()
        line, self.buf = self.buf.split(b"\r\n", 1)
        return line

    def more(self):
        data = self.s.recv(65536)
        if not data:
            raise Gone
        self.buf += data

    def reset(self):
        self.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise Gone

    def say(self, reply, delay=0.0):
        data = reply.encode() + b"\r\n"
        for i in range(0, len(data), 1 if delay else len(data)):
            self.s.sendall(data[i : i + (1 if delay else len(data))])
            time.sleep(delay)

    def answer(self, stage, usual, text=b""):
        """Says what the rules want at this stage; the code said."""
        command = "" if stage == "dot" else text.decode("latin-1")
        times.write(f"{time.monotonic():.6f} {self.number} {stage} {command}\n")
        action = rule(stage, text)
        log.write(f"{stage} {action or '-'}\n")
        if not action:
            self.say(usual)
            return int(usual[:3])
        word, _, rest = action.partition(" ")
        if word in ("close", "lost"):
            raise Gone
        if word == "reset":
            self.reset()
        if word == "stall":
            while self.s.recv(65536):
                pass
            raise Gone
        if word == "slow":
            time.sleep(float(rest))
        if word in ("reply", "last"):
            code, _, words = rest.partition(" ")
            lines = words.split("\\n")
            usual = "\r\n".join(f"{code}{'-' if i < len(lines) - 1 else ' '}{w}" for i, w in enumerate(lines))
        if word == "keywords":
            lines = ["hostile.example", *rest.split(",")]
            usual = "\r\n".join(f"250{'-' if i < len(lines) - 1 else ' '}{w}" for i, w in enumerate(lines))
        if word == "garbage":
            self.say(usual)
            self.s.recv(1)
            self.s.sendall(os.urandom(5000))
            raise Gone
        if word == "raw":
            data = rest.encode().decode("unicode_escape").encode("latin-1")
            self.s.sendall(data)
            return int(data[:3])
        while word in ("endless", "endless-line", "trickle"):
            self.s.sendall({"endless": b"250-and so on\r\n" * 100, "endless-line": b"250 " + b"x" * 1000, "trickle": b"2"}[word])
            if word == "trickle":
                time.sleep(0.5)
        self.say(usual, 0.02 if word == "dribble" else 0.0)
        if word == "last":
            raise Gone
        return int(usual[:3])

    def keep(self, data):
        with lock:
            state["n"] += 1
            name = f"{folder}/mail/{os.getpid()}-{state['n']}"
        with open(f"{name}.tmp", "wb") as f:
            f.write(data)
        with open(f"{name}.env", "w") as f:
            json.dump({"from": self.mail, "rcpts": self.rcpts, "tls": self.tls}, f)
        os.rename(f"{name}.tmp", f"{name}.eml")

    def take_body(self):
        asked = False
        end = 0
        while True:
            if self.buf.startswith(b".\r\n"):
                data, self.buf = b"", self.buf[3:]
                break
            at = self.buf.find(b"\r\n.\r\n", max(0, end - 4))
            if at >= 0:
                data, self.buf = self.buf[: at + 2], self.buf[at + 5 :]
                break
            end = len(self.buf)
            if end and not asked:
                asked = True
                if rule("body", self.buf):
                    log.write("body\n")
                    raise Gone
            self.more()
        if data.startswith(b"."):
            data = data[1:]
        return data.replace(b"\r\n.", b"\r\n")

    def data(self):
        if self.answer("data", "354 go on" if self.rcpts else "554 no recipients") != 354:
            return
        data = self.take_body()
        action = rule_peek("dot", data)
        if action is None or action.split()[0] in ("lost", "dribble", "slow") or action.startswith(("reply 2", "last 2")):
            self.keep(data)
        self.answer("dot", "250 2.0.0 taken", data)
        self.mail, self.rcpts = None, []

    def chunk(self, n):
        """One, with LAST: the whole message as it is."""
        while len(self.buf) < n:
            self.more()
        data, self.buf = self.buf[:n], self.buf[n:]
        self.keep(data)
        self.answer("dot", "250 2.0.0 taken", data)
        self.mail, self.rcpts = None, []

    def command(self, line):
        verb = line[:4].upper()
        if verb in (b"EHLO", b"HELO"):
            self.answer("ehlo", "250-hostile.example\r\n250-PIPELINING\r\n250-SIZE 100000000\r\n250 8BITMIME" if verb == b"EHLO" else "250 hostile.example")
        elif verb == b"STAR":
            if self.answer("starttls", "220 go on") == 220:
                self.s, self.buf, self.tls = tls.wrap_socket(self.s, server_side=True), b"", True
        elif verb == b"MAIL":
            if self.answer("mail", "250 2.1.0 ok", line) == 250:
                self.mail, self.rcpts = line.decode("latin-1"), []
        elif verb == b"RCPT":
            if self.answer("rcpt", "250 2.1.5 ok" if self.mail else "503 MAIL first", line) == 250:
                self.rcpts.append(line.decode("latin-1"))
        elif verb == b"DATA":
            self.data()
        elif verb == b"BDAT":
            if rule_peek("bdat", line):
                self.answer("bdat", "500 what?", line)
            else:
                self.chunk(int(line.split()[1]))
        elif verb == b"AUTH":
            self.answer("auth", "235 2.7.0 welcome", line)
        elif verb == b"RSET":
            self.mail, self.rcpts = None, []
            self.answer("rset", "250 ok")
        elif verb == b"QUIT":
            self.answer("quit", "221 bye")
            raise Gone
        else:
            self.say("500 what?")

    def run(self):
        with lock:
            Session.everyone.add(self)
        try:
            if self.answer("greeting", "220 hostile.example") // 100 != 2:
                self.read_line()
                raise Gone
            while True:
                ahead = b"\r\n" in self.buf
                line = self.read_line()
                if ahead and rule_peek("pipelined", line):
                    self.answer("pipelined", "503 5.5.1 one at a time", line)
                else:
                    self.command(line)
        except (Gone, OSError):
            pass
        with lock:
            Session.everyone.discard(self)
        self.s.close()


def rule_peek(stage, text):
    with lock:
        for r in state["rules"]:
            if r[0] == stage and r[1].encode() in text and r[2] != 0:
                return r[3]
    return None


def watch():
    while True:
        time.sleep(0.02)
        if rule("now", b""):
            with lock:
                for session in Session.everyone:
                    try:
                        session.s.shutdown(socket.SHUT_RDWR)
                    except OSError:
                        pass
            log.write("now\n")


def serve(listener):
    while True:
        sock, _ = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=Session(sock).run, daemon=True).start()


tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
if len(sys.argv) > 4:
    tls.load_cert_chain(sys.argv[4])
threading.Thread(target=watch, daemon=True).start()
threading.Thread(target=serve, args=(socket.create_server((address, port), backlog=512),), daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
