#!/usr/bin/env python3
"""alert_receiver.py DIR ADDRESS:PORT [CERT]: takes alerts over HTTPS (HTTP without CERT) and writes each request as a JSON line to
DIR/requests: code, verified (by conf/alerts/receiver.py, with DIR/secret), id, headers, body. Each request takes the first line of
DIR/behaviour: a status, "slow SECONDS" (then 200) or "redirect URL"; without one it is answered with 200."""
import http.server
import json
import os
import ssl
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../conf/alerts"))
from receiver import verify  # noqa: E402

folder, where = sys.argv[1], sys.argv[2].rsplit(":", 1)
lock = threading.Lock()


def behaviour():
    path = os.path.join(folder, "behaviour")
    with lock:
        try:
            with open(path, encoding="ascii") as f:
                lines = f.read().splitlines()
        except FileNotFoundError:
            return ["200"]
        with open(path, "w", encoding="ascii") as f:
            f.writelines(line + "\n" for line in lines[1:])
    return lines[0].split() if lines else ["200"]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        words = behaviour()
        with open(os.path.join(folder, "secret"), "rb") as f:
            good = verify(f.readline().rstrip(b"\n"), self.headers.get("Sekisho-Signature", ""), body, time.time())
        if words[0] == "slow":
            time.sleep(float(words[1]))
        code = 302 if words[0] == "redirect" else 200 if words[0] == "slow" else int(words[0])
        line = {"code": code, "verified": good, "id": self.headers.get("Sekisho-Alert-Id"), "path": self.path,
                "headers": dict(self.headers), "body": json.loads(body)}
        with lock, open(os.path.join(folder, "requests"), "a", encoding="utf-8") as f:
            f.write(json.dumps(line) + "\n")
        try:
            self.send_response(code)
            if words[0] == "redirect":
                self.send_header("Location", words[1])
            self.end_headers()
            self.wfile.write(b"said the receiver")
        except OSError:
            pass

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *args):
        pass


server = Server((where[0], int(where[1])), Handler)
if len(sys.argv) > 3:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[3])
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print("ready", flush=True)
server.serve_forever()
