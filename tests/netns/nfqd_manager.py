#!/usr/bin/env python3
"""The little of a service manager that keeps descriptors: sd_notify(3)'s FDSTORE and LISTEN_FDS.

  nfqd_manager.py LOG COMMAND...

Starts COMMAND, keeps what it stores, and starts it again with that when it dies by a signal. LOG gets a
line for each thing it hears or does. SIGTERM ends both; an exit of COMMAND's own ends this.
"""
import array
import os
import selectors
import signal
import socket
import sys
import tempfile


def main():
    log = open(sys.argv[1], "a", buffering=1)
    command = sys.argv[2:]
    path = os.path.join(tempfile.mkdtemp(), "notify")
    heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    heard.bind(path)
    kept, child = [], 0  # kept: (name, descriptor)

    def start():
        nonlocal child
        child = os.fork()
        if child:
            print("started", child, *[n for n, _ in kept], file=log)
            return
        env = dict(os.environ, NOTIFY_SOCKET=path, WATCHDOG_USEC="1000000", WATCHDOG_PID=str(os.getpid()))
        high = [os.dup2(fd, 200 + i) for i, (_, fd) in enumerate(kept)]
        for i, fd in enumerate(high):
            os.dup2(fd, 3 + i)
            os.set_inheritable(3 + i, True)
        if kept:
            env.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(kept)),
                       LISTEN_FDNAMES=":".join(n for n, _ in kept))
        os.execvpe(command[0], command, env)

    def hear():
        text, anc, _, _ = heard.recvmsg(4096, socket.CMSG_SPACE(16 * 4))
        words = dict(w.split("=", 1) for w in text.decode().split("\n") if "=" in w)
        print("heard", *text.decode().split("\n"), file=log)
        for level, kind, data in anc:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds = array.array("i")
                fds.frombytes(data[: len(data) // 4 * 4])
                kept.extend((words.get("FDNAME", "stored"), fd) for fd in fds)
        if "FDSTOREREMOVE" in words:
            for n, fd in [k for k in kept if k[0] == words["FDNAME"]]:
                os.close(fd)
                kept.remove((n, fd))

    died, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: child and os.kill(child, signal.SIGTERM))
    s = selectors.DefaultSelector()
    s.register(heard, selectors.EVENT_READ, hear)
    s.register(died, selectors.EVENT_READ, lambda: os.read(died, 100))
    # A descriptor that is none of its own, to see what it does with it.
    for item in os.environ.get("KEEP", "").split():
        kept.append((item, os.open("/dev/null", os.O_RDONLY)))
    start()
    while True:
        for key, _ in s.select():
            key.data()
        pid, status = os.waitpid(child, os.WNOHANG)
        if not pid:
            continue
        print("ended", pid, status, file=log)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) != signal.SIGTERM:
            start()
        else:
            sys.exit(os.waitstatus_to_exitcode(status) and 1)


if __name__ == "__main__":
    main()
