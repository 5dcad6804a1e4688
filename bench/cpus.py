"""Where processes run: servers on one CPU, what is measured on the others.

Left alone, the kernel now and then puts a client and its server on the same CPU, for seconds on
end. That makes a round trip ten times shorter than any network's, and has client and server take
turns where in production, on two machines, they work at the same time.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

if sys.platform == "linux":
    _ALL = sorted(os.sched_getaffinity(0))
else:
    _ALL = [0]
CAN_PIN = len(_ALL) > 1
SERVERS = set(_ALL[:1])
CLIENTS = set(_ALL[1:])
ANY = set(_ALL)


_PRIORITY = -15


def come_first() -> None:
    """Raise the priority of this process and of those it starts, if it is allowed.

    Other programs then take a few hundredths of a CPU instead of half. Where nothing else runs,
    this changes nothing.
    """
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _PRIORITY)


@contextmanager
def on(cpus: set[int]) -> Iterator[None]:
    """Run this process, and those that it starts meanwhile, on these CPUs only, if it can be."""
    if not CAN_PIN or sys.platform != "linux":
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
