"""The time of one invocation: what is left of it, and pauses that do not fit into it.

DYNAMIRROR_INVOCATION_SECONDS makes it shorter than Lambda's, so that work is divided among more
invocations: a test of what resumes needs no large table.
"""

import os
from collections.abc import Callable
from math import ceil
from time import monotonic, sleep

from dynamirror.dynamodb.rate import Rate
from dynamirror.errors import DynamirrorError
from dynamirror.replication.replicator import Context

# The part of Lambda's time that is reserved: for one more page, and for saving its progress.
_RESERVE_SECONDS = 20.0


class PauseError(Exception):
    """The rate requires a pause that is longer than the invocation."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = ceil(seconds)


class StalledError(DynamirrorError):
    """A whole invocation did not suffice to get from one checkpoint to the next."""


class InvocationTime:
    """The time of one invocation.

    Args:
        context: Lambda's context.
        wait: waits a number of seconds.
    """

    def __init__(self, context: Context, wait: Callable[[float], object] = sleep) -> None:
        self._context = context
        seconds = os.environ.get("DYNAMIRROR_INVOCATION_SECONDS")
        self._ends = None if seconds is None else monotonic() + float(seconds)
        self._reserve = min(_RESERVE_SECONDS, self._remaining() / 3)
        self._wait = wait

    def _remaining(self) -> float:
        return self._context.get_remaining_time_in_millis() / 1000

    def seconds_left(self) -> float:
        """Return the seconds in which new work may begin."""
        left = self.longest_seconds
        return left if self._ends is None else min(left, self._ends - monotonic())

    @property
    def longest_seconds(self) -> float:
        """The seconds that Lambda leaves for work."""
        return self._remaining() - self._reserve

    def in_time(self) -> bool:
        """Return whether new work may begin."""
        return self.seconds_left() > 0

    def rate(self, units: float | None) -> Rate:
        """Return a limit of read units; its pauses raise `PauseError` if time does not suffice."""
        return Rate(units or None, wait=self._pause)

    def _pause(self, seconds: float) -> None:
        if seconds > max(0.0, self.seconds_left()):
            raise PauseError(seconds)
        if seconds > 0:
            self._wait(seconds)
