# For every line on standard input: the wall clock in nanoseconds and the time since start by the monotonic clock.
# The line "fork" leaves the reading of the rest to a forked child.
import os
import sys
import time

start = time.monotonic_ns()
while line := sys.stdin.readline():
    if line.strip() == "fork":
        child = os.fork()
        if child != 0:
            os.waitpid(child, 0)
            break
    print(f"wall={time.time_ns()} elapsed={time.monotonic_ns() - start} pid={os.getpid()}", flush=True)
