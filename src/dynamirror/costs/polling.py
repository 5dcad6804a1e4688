"""How often Lambda invokes the replicator, and how long a change waits for it."""

import math

import msgspec

from dynamirror.costs.figures import POLL_SECONDS


class Polling(msgspec.Struct, frozen=True):
    """The invocations for one shard, or one of its concurrent batches.

    Changes arrive at random. Lambda polls every quarter of a second. The first poll that finds
    records begins the window; at its end, Lambda invokes the function with all records until then.
    Without a window, each poll that finds records is an invocation.

    Args:
        changes: mean number of changes a second.
        window: the batching window in seconds.
        largest_batch: most records of an invocation.
    """

    changes: float
    window: float
    largest_batch: float

    @property
    def invocations(self) -> float:
        """The mean number of invocations a second."""
        if self.changes <= 0:
            return 0.0
        cycle = self._waited + POLL_SECONDS / self._found
        return max(1 / cycle, self.changes / self.largest_batch)

    @property
    def records(self) -> float:
        """The mean number of records of an invocation."""
        return self.changes / self.invocations if self.changes > 0 else 0.0

    @property
    def wait(self) -> float:
        """The mean number of seconds from a change's arrival to its invocation."""
        if self.changes <= 0:
            return self.window + POLL_SECONDS / 2
        # Those that the first poll found waited for it, and then for the whole window.
        first = self.changes * POLL_SECONDS / self._found
        later = self.changes * self._waited
        total = first * (POLL_SECONDS / 2 + self._waited) + later * self._waited / 2
        return total / (first + later)

    @property
    def longest_wait(self) -> float:
        """The most seconds that a change waits, while batches are not full."""
        return POLL_SECONDS + self.window

    @property
    def _waited(self) -> float:
        """The seconds that Lambda waits after the first records: a full batch ends the window."""
        return min(self.window, max(0.0, self.largest_batch / self.changes - POLL_SECONDS))

    @property
    def _found(self) -> float:
        """The probability that a poll finds records."""
        return -math.expm1(-self.changes * POLL_SECONDS)
