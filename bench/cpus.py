"""Where processes run: servers on one CPU, what is measured on the others.

Left alone, the kernel now and then puts a client and its server on the same CPU, for seconds on
end. That makes a round trip ten times shorter than any network's, and has client and server take
turns where in production, on two machines, they work at the same time.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform == "linux":
    _ALL = sorted(os.sched_getaffinity(0))
else:
    _ALL = [0]
CAN_PIN = len(_ALL) > 1
SERVERS = set(_ALL[:1])
CLIENTS = set(_ALL[1:])
ANY = set(_ALL)


_PRIORITY = -15


@contextmanager
def raised(pid: int | None = None) -> Iterator[None]:
    """Raise the priority of a process and of those it starts, if it is allowed, for a while.

    Other programs then take a few hundredths of a CPU instead of half. Where nothing else runs,
    this changes nothing. Linux shares the CPUs out between sessions first (sched(7), autogroup),
    and each server has a session of its own.

    Args:
        pid: the process; None for this one.
    """
    group = Path("/proc", "self" if pid is None else str(pid), "autogroup")
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid or 0, _PRIORITY)
        group.write_text(str(_PRIORITY), encoding="ascii")
    try:
        yield
    finally:
        with suppress(OSError):  # the process has ended, or it was not allowed
            group.write_text("0", encoding="ascii")


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
