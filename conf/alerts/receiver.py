#!/usr/bin/env python3
"""receiver.py SECRETFILE PORT: takes Sekisho's alerts by HTTP on the loopback and prints them; a place to start from.

verify() is what a receiver needs: the signature fits the secret and the bytes that came, and it is fresh, so that an alert
that somebody has recorded is not taken again. Alerts may come twice (a lost answer): `id` says which it is.
"""
import hashlib
import hmac
import http.server
import json
import sys
import time

WINDOW = 300  # seconds that the sender's clock may differ


def verify(secret: bytes, header: str, body: bytes, now: float) -> bool:
    parts = dict(p.split("=", 1) for p in header.split(",") if "=" in p)
    t = parts.get("t", "")
    if not (t.isascii() and t.isdigit()) or abs(now - int(t)) > WINDOW:
        return False
    want = hmac.new(secret, t.encode() + b"." + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(want.encode(), parts.get("v1", "").encode())


class Receiver(http.server.BaseHTTPRequestHandler):
    seen: set = set()

    def do_POST(self):
        body = self.rfile.read(min(int(self.headers.get("Content-Length", 0)), 1 << 20))
        good = verify(self.server.secret, self.headers.get("Sekisho-Signature", ""), body, time.time())
        self.send_response(204 if good else 403)
        self.end_headers()
        alert = json.loads(body) if good else {}
        if good and alert["id"] not in self.seen:
            self.seen.add(alert["id"])
            print(alert["text"], flush=True)


if __name__ == "__main__":
    server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[2])), Receiver)
    with open(sys.argv[1], "rb") as f:
        server.secret = f.readline().rstrip(b"\r\n")
    server.serve_forever()
