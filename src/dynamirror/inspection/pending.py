"""Expectations that wait for their thresholds, in little memory."""

from bisect import bisect_left
from collections.abc import Iterator
from heapq import heappop, heappush
from operator import attrgetter
from typing import Final

import msgspec

from dynamirror.inspection.expectation import Expectation, Seen, State
from dynamirror.inspection.judgement import is_shown, order_of
from dynamirror.inspection.looking import Place
from dynamirror.inspection.tally import ViewTally, Within
from dynamirror.views.view import View

# Times are rounded up to slots of this many parts of a second.
_PARTS: Final = 10
NEVER: Final = -2
BEFORE: Final = -1  # shown, but at no threshold yet
# Stages behind the last threshold.
SETTLING: Final = -1
OVER: Final = -2
_by_order: Final = attrgetter("order")


class WatchedView(msgspec.Struct):
    """A view, and where it is counted.

    Args:
        view: the view.
        tally: its counts.
        within: its answers, by number of the threshold.
    """

    view: View
    tally: ViewTally
    within: list[Within]


class WatchedEntry(Place, kw_only=True):
    """An entry of which something is expected.

    Args:
        watched: its view.
        item: the item's primary key, as JSON.
        pending: expectations of changes, the newest last.
        row: the expectation of a row of the table; None for none.
        seen: order of the newest change in the fence that was seen; -1 for none.
    """

    watched: WatchedView
    item: bytes
    pending: "list[Pending]" = msgspec.field(default_factory=list)
    row: "Pending | None" = None
    seen: int = -1

    def insert(self, pending: "Pending") -> bool:
        """Insert the expectation of a change in order; returns False if it is there already."""
        all_pending = self.pending
        if not all_pending or all_pending[-1].order < pending.order:
            all_pending.append(pending)
            return True
        place = bisect_left(all_pending, pending.order, key=_by_order)
        if all_pending[place].order == pending.order:
            return False
        all_pending.insert(place, pending)
        return True

    def find(self, order: int) -> "Pending | None":
        """Return the expectation of a change; None if it is not known."""
        place = bisect_left(self.pending, order, key=_by_order)
        if place < len(self.pending) and self.pending[place].order == order:
            return self.pending[place]
        return None

    def newest_shown(self, seen: Seen, now: float) -> tuple[int, bool]:
        """Return the order of the newest change that is shown, and whether the claim is known.

        The order is -1 for none. The claim is the change that the fence names. Where it is newer
        than all known ones, the entry cannot show any of them, and they are not compared.

        Args:
            seen: what was seen.
            now: seconds since 1970.
        """
        claim, is_claim_known, all_pending = order_of(seen.fence), False, self.pending
        # Another thread may insert some meanwhile; one may then come twice.
        for place in range(len(all_pending) - 1, -1, -1):
            known = all_pending[place]
            is_claim_known |= known.order == claim
            if is_shown(known, seen, now):
                return known.order, is_claim_known
            if known.order < claim and not is_claim_known:
                break
        return -1, is_claim_known


class Pending(State, kw_only=True, gc=False):
    """An expectation that waits.

    Args:
        entry: its entry; the reference back ends with the last threshold.
        order: as `judgement.order_of` has it; -1 for a row.
        created: of the change, or the as-of time of the row, in seconds since 1970.
        base: when its age is 0, in seconds since 1970.
        stage: the number of the next threshold, SETTLING or OVER.
        shown: the number of the last threshold at which it was consistent, NEVER or BEFORE.
    """

    entry: WatchedEntry
    order: int
    created: int
    base: float
    stage: int = 0
    shown: int = NEVER

    @property
    def version(self) -> str:
        """Return the text of the version."""
        if self.order < 0:
            return f"r{self.created:010d}"
        return f"c{self.order:053d}{self.created:010d}"

    def expectation(self) -> Expectation:
        """Return it in full."""
        entry = self.entry
        return Expectation(
            digest=self.digest,
            expires=self.expires,
            score=self.score,
            view=entry.view.name,
            key=entry.key,
            version=self.version,
            index=entry.index,
            member=entry.member,
        )


class Wheel:
    """Expectations by the time at which they are due."""

    def __init__(self) -> None:
        self._slots: dict[int, list[Pending]] = {}
        self._heap: list[int] = []

    def push(self, pending: Pending, due: float) -> None:
        """Add an expectation that is due at a time."""
        slot = int(due * _PARTS) + 1
        waiting = self._slots.get(slot)
        if waiting is None:
            self._slots[slot] = waiting = []
            heappush(self._heap, slot)
        waiting.append(pending)

    def pop(self, now: float) -> Iterator[list[Pending]]:
        """Take out what is due."""
        heap = self._heap
        while heap and heap[0] <= now * _PARTS:
            yield self._slots.pop(heappop(heap))

    def next(self) -> float | None:
        """Return when something is due; None for nothing."""
        return self._heap[0] / _PARTS if self._heap else None
