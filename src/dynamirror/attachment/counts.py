"""Counters of an attachment: which calls the cache answered, and why not the others."""

from collections import Counter
from collections.abc import Iterator, Mapping
from threading import Lock
from typing import NamedTuple


class OperationCounts(NamedTuple):
    """The outcomes of all calls of one operation so far.

    Args:
        cache: calls that the cache answered.
        partly: calls of BatchGetItem whose items came from both.
        table: calls that DynamoDB answered.
        reasons: why, by reason; the sum is `table`.
        agreed: compared calls whose answers agreed.
        differed: compared calls whose answers differed.
        undecided: compared calls whose items were changed meanwhile.
    """

    cache: int = 0
    partly: int = 0
    table: int = 0
    reasons: Mapping[str, int] = {}
    agreed: int = 0
    differed: int = 0
    undecided: int = 0


class Counts:
    """Counts the outcomes of calls; safe for use by several threads."""

    def __init__(self) -> None:
        self._reads: Counter[tuple[str, str, str]] = Counter()
        self._shadows: Counter[tuple[str, str]] = Counter()
        self.faults = 0
        self.renew_lock()

    def renew_lock(self) -> None:
        """Forget a lock that another thread of the parent process may hold."""
        self._lock = Lock()

    def read(self, operation: str, source: str, reason: str = "") -> None:
        """Count a call that the `cache` answered, or the `table` for a reason, or `partly`."""
        with self._lock:
            self._reads[operation, source, reason] += 1

    def shadow(self, operation: str, result: str) -> None:
        """Count a comparison that `agreed`, `differed` or is `undecided`."""
        with self._lock:
            self._shadows[operation, result] += 1

    def fault(self) -> None:
        """Count an exception of this package that no caller saw."""
        with self._lock:
            self.faults += 1

    def reads(self) -> dict[tuple[str, str, str], int]:
        """Return the number of calls by operation, source and reason."""
        with self._lock:
            return dict(self._reads)

    def shadows(self) -> dict[tuple[str, str], int]:
        """Return the number of comparisons by operation and result."""
        with self._lock:
            return dict(self._shadows)

    def by_operation(self) -> dict[str, OperationCounts]:
        """Return the counts of each operation that was called."""
        return dict(self._by_operation(self.reads(), self.shadows()))

    def _by_operation(
        self, reads: Mapping[tuple[str, str, str], int], shadows: Mapping[tuple[str, str], int]
    ) -> Iterator[tuple[str, OperationCounts]]:
        for name in sorted({operation for operation, _, _ in reads}):
            own = {rest: count for (operation, *rest_), count in reads.items()
                   if operation == name for rest in [tuple(rest_)]}  # fmt: skip
            reasons = {reason: n for (source, reason), n in own.items() if source == "table"}
            compared = {
                result: n for (operation, result), n in shadows.items() if operation == name
            }
            yield (
                name,
                OperationCounts(
                    own.get(("cache", ""), 0),
                    own.get(("partly", ""), 0),
                    sum(reasons.values()),
                    reasons,
                    **compared,
                ),
            )
