#!/usr/bin/env python3
"""Numbered SYNs to port 25 of two sources, and what became of each of them, for enforce*.bats.

  flow SUB NET GATEWAY-MAC FILE OPEN CLOSED DESTINATION SECONDS PER-SECOND
      a steady flow of both sources, one thread's, out of eth0 of namespace SUB, for so long at least and until FILE is gone;
      then a second for the last ones, and more when one of OPEN has not come yet. Prints
      "sent-open arrived-open sent-closed arrived-closed reset-closed": SYNs sent, those that arrived in NET (each once),
      and resets that came back to the closed one.
  small PID BYTES
      set the receive buffer of every netlink socket of a process to BYTES (pidfd_getfd(2)): so full is full soon.
"""
import ctypes
import os
import socket
import struct
import sys
import time

sys.dont_write_bytecode = True
from enforce_send import checksum, enter  # noqa: E402

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../oracle"))
import packets  # noqa: E402


def watcher(namespace):
    enter(namespace)
    s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
    s.bind(("eth0", 3))
    s.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
    s.setblocking(False)
    return s


def tcp_of(p):
    """(source, destination, TCP bytes) of a plain TCP packet, or None."""
    if p[0] >> 4 == 4 and p[9] == 6:
        return p[12:16], p[16:20], p[(p[0] & 15) * 4:]
    if p[0] >> 4 == 6 and p[6] == 6:
        return p[8:24], p[24:40], p[40:]
    return None


def syn(src, dst, n):
    t = struct.pack("!HHIIBBHHH", 1024 + n % 60000, 25, n, 0, 0x50, 2, 65535, 0, 0)
    pseudo = src + dst + struct.pack("!BBH", 0, 6, 20)  # the sum is the same for IPv6
    t = t[:16] + struct.pack("!H", checksum(pseudo + t)) + t[18:]
    return packets.ip6(src, dst, 6, t) if len(src) == 16 else packets.ip4(src, dst, 6, t, n & 0xFFFF, 0x4000)


def collect(far, near, arrived, resets, sources, dst):
    for s, mine in ((far, False), (near, True)):
        while True:
            try:
                p, where = s.recvfrom(200)
            except BlockingIOError:
                break
            t = tcp_of(p)
            if where[2] == 4 or t is None:
                continue
            if not mine and t[0] in sources and t[2][13] == 2:
                n = struct.unpack("!I", t[2][4:8])[0]
                arrived[n] = arrived.get(n, 0) + 1
            elif mine and t[0] == dst and t[2][13] & 4:
                resets.add(struct.unpack("!I", t[2][8:12])[0] - 1)


def flow(sub, net, mac, path, is_open, closed, dst, seconds, rate):
    far, near = watcher(net), watcher(sub)
    mac, dst = bytes.fromhex(mac.replace(":", "")), packets.address(dst)
    sources = [packets.address(is_open), packets.address(closed)]
    kind = 0x86DD if len(dst) == 16 else 0x800
    arrived, resets, n, begin = {}, set(), 0, time.monotonic()
    while time.monotonic() - begin < float(seconds) or os.path.exists(path):
        while n < (time.monotonic() - begin) * float(rate):
            n += 1
            near.sendto(syn(sources[n % 2], dst, n), ("eth0", kind, 0, 1, mac))
        collect(far, near, arrived, resets, sources, dst)
        time.sleep(0.0005)
    even = [i for i in range(1, n + 1) if i % 2 == 0]
    end = time.monotonic() + 1
    while time.monotonic() < end or (time.monotonic() < end + 20 and not all(i in arrived for i in even)):
        collect(far, near, arrived, resets, sources, dst)
        time.sleep(0.01)
    twice = [i for i, times in arrived.items() if times > 1]
    if twice:
        print("arrived twice:", twice[:5], file=sys.stderr)
    odd = [i for i in range(1, n + 1) if i % 2]
    print(len(even), sum(i in arrived for i in even), len(odd), sum(i in arrived for i in odd), sum(i in resets for i in odd))
    lost = [i for i in even if i not in arrived]
    if lost:
        print("lost:", len(lost), "from", lost[0], "to", lost[-1], file=sys.stderr)


def small(pid, size):
    libc = ctypes.CDLL(None, use_errno=True)
    p = libc.syscall(434, int(pid), 0)  # pidfd_open
    for fd in os.listdir(f"/proc/{pid}/fd"):
        if not os.readlink(f"/proc/{pid}/fd/{fd}").startswith("socket:"):
            continue
        s = socket.socket(fileno=libc.syscall(438, p, int(fd), 0))  # pidfd_getfd
        if s.family == socket.AF_NETLINK:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, int(size))
        s.close()


{"flow": flow, "small": small}[sys.argv[1]](*sys.argv[2:])
