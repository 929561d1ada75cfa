#!/usr/bin/env python3
"""Hold one thread of a process still: nfqd_hold.py TID FILE, until FILE is gone. The others go on."""
import ctypes
import os
import sys
import time

PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH = 0x4206, 0x4207, 17
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def ptrace(request, tid):
    if libc.ptrace(request, tid, None, None) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")


tid = int(sys.argv[1])
ptrace(PTRACE_SEIZE, tid)
ptrace(PTRACE_INTERRUPT, tid)
os.waitpid(tid, 0x40000000)  # __WALL
print("held", flush=True)
while os.path.exists(sys.argv[2]):
    time.sleep(0.02)
ptrace(PTRACE_DETACH, tid)
