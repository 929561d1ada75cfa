#!/usr/bin/env python3
"""handover_load STOPFILE CLIENTS: clients that go on submitting to 127.0.0.1:465 and 587 until STOPFILE is there.

Python's own smtplib, as people use it; one client of four sends its messages slowly, so that handovers fall into them,
and one of four stays idle between two messages. A line for each message, "250 TAG" or "CODE TAG"; at the end counts of
what must not happen: refused (connections), broken (a session that ended without a word).
"""
import os
import random
import smtplib
import ssl
import sys
import threading
import time

stop, clients = sys.argv[1], int(sys.argv[2])
lock = threading.Lock()
counts = {"refused": 0, "broken": 0, "told": 0, "accepted": 0, "failed": 0}
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE


def count(what, text=None):
    with lock:
        counts[what] += 1
        if text:
            print(text, flush=True)


def connect(i):
    if i % 2:
        s = smtplib.SMTP_SSL("127.0.0.1", 465, timeout=30, context=context)
    else:
        s = smtplib.SMTP("127.0.0.1", 587, timeout=30)
        s.starttls(context=context)
    s.login("user01@isp.example", "secret01")
    return s


def slowly(s, tag):
    s.docmd("MAIL", "FROM:<user01@isp.example>")
    s.docmd("RCPT", "TO:<someone@far.example>")
    code, text = s.docmd("DATA")
    if code != 354:
        raise smtplib.SMTPResponseException(code, text)
    s.send(f"Subject: {tag}\r\n\r\n")
    for _ in range(random.randint(5, 40)):
        time.sleep(0.02)
        s.send("a line of the message\r\n")
    s.send(".\r\n")
    code, text = s.getreply()
    if code != 250:
        raise smtplib.SMTPResponseException(code, text)


def one(s, i, tag):
    if i % 4 == 0:
        slowly(s, tag)
    else:
        s.sendmail("user01@isp.example", ["someone@far.example"], f"Subject: {tag}\r\n\r\nshort\r\n")
    count("accepted", f"250 {tag}")
    if i % 4 == 1:
        time.sleep(random.random())


def client(i):
    n = 0
    while not os.path.exists(stop):
        tag = "none"
        try:
            s = connect(i)
            for _ in range(random.randint(1, 8)):
                n += 1
                tag = f"TAG-{i}-{n}-end"
                one(s, i, tag)
                if os.path.exists(stop):
                    break
            s.quit()
        except ConnectionRefusedError:
            count("refused", f"refused {i}")
        except smtplib.SMTPServerDisconnected as e:
            count("broken", f"broken {tag} {e}")
        except smtplib.SMTPResponseException as e:
            count("told" if e.smtp_code == 421 else "failed", f"{e.smtp_code} {tag} {e.smtp_error}")
        except (smtplib.SMTPException, OSError) as e:
            count("broken", f"broken {tag} {type(e).__name__} {e}")


threads = [threading.Thread(target=client, args=(i,)) for i in range(clients)]
for t in threads:
    t.start()
for t in threads:
    t.join()
print(" ".join(f"{k}={v}" for k, v in counts.items()))
