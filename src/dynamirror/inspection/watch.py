"""What is expected of which entry, and when it is asked."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import msgspec

from dynamirror.errors import ConfigError
from dynamirror.inspection.expectation import State, member_of, state_of
from dynamirror.inspection.judgement import SEQUENCES
from dynamirror.inspection.pending import OVER, Pending, WatchedEntry, WatchedView, Wheel
from dynamirror.inspection.tally import Tally, ViewTally, threshold_text
from dynamirror.records.attribute_value import Item
from dynamirror.records.version import ChangeVersion
from dynamirror.views.entry import Entry
from dynamirror.views.view import View

# A check that comes later than this behind its threshold is not counted there: in seconds, and as a
# part of the threshold.
_LATE_SECONDS: Final = 0.25
_LATE_PART: Final = 0.05
_encode: Final = msgspec.json.Encoder().encode


class Watch:
    """The entries of one table of which something is expected; not safe for several threads.

    Args:
        views: all views of the table.
        thresholds: ages of a change at which it is asked, in seconds, ascending.
        tally: takes the counts.
        most: expectations that wait at the most; others are counted as skipped.

    Raises:
        ConfigError: the thresholds are wrong.
    """

    def __init__(
        self, views: Sequence[View], thresholds: Sequence[float], tally: Tally, *, most: int
    ) -> None:
        check_thresholds(thresholds)
        self.thresholds = tuple(map(float, thresholds))
        self.last = len(thresholds) - 1
        self.latest = [each + max(_LATE_SECONDS, each * _LATE_PART) for each in self.thresholds]
        self.waiting = 0
        self.wheel = Wheel()
        counts = {view.name: ViewTally.begun(self.thresholds) for view in views}
        tally.tables[views[0].schema.table] = counts
        self.views = [_watch(view, counts[view.name], thresholds) for view in views]
        self._most = most
        self._entries: dict[bytes, WatchedEntry] = {}
        # Shared by all changes of a second: the creation, and when the age is 0.
        self._second = (0, 0.0)

    def skip(self) -> None:
        """Count a change or row of which nothing can be expected."""
        for view in self.views:
            view.tally.skipped += 1

    def expect(
        self,
        view: WatchedView,
        write: Entry,
        keys: Item,
        *,
        made: float | None,
        now: float,
    ) -> None:
        """Wait for the thresholds of what a change writes.

        Args:
            view: the view.
            write: what the change writes.
            keys: the item's primary key.
            made: when it was made; None for the end of the second that its version names.
            now: seconds since 1970.
        """
        entry, version = self._entry(view, write, keys), write.version
        if entry is None:
            return
        assert isinstance(version, ChangeVersion)
        state, created = state_of(write), version.created
        if self._second[0] != created:
            self._second = created, float(created + 1)
        created, base = self._second
        pending = Pending(
            digest=state.digest,
            expires=state.expires,
            score=None if entry.member is None else state.score,
            entry=entry,
            order=version.epoch * SEQUENCES + version.sequence,
            created=created,
            base=base if made is None else made,
        )
        if not entry.insert(pending):
            return
        view.tally.checks += 1
        self.waiting += 1
        if self.pass_over(pending, now):
            self.wheel.push(pending, now)
        else:
            self.wheel.push(pending, pending.base + self.thresholds[pending.stage])

    def expect_row(
        self, view: WatchedView, write: Entry, keys: Item, *, as_of: int, now: float
    ) -> None:
        """Wait until an entry is as a row of the table.

        Args:
            view: the view.
            write: what the row writes.
            keys: the item's primary key.
            as_of: the as-of time of the row, in seconds since 1970.
            now: seconds since 1970.
        """
        entry = self._entry(view, write, keys)
        if entry is None or entry.row is not None:
            return
        state = state_of(write)
        if entry.member is None:
            state.score = None
        self.wait_for_row(entry, state, as_of, now)

    def wait_for_row(self, entry: WatchedEntry, state: State, as_of: int, now: float) -> None:
        """Wait until an entry has a state that the table had at a time."""
        entry.row = Pending(
            digest=state.digest,
            expires=state.expires,
            score=state.score,
            entry=entry,
            order=-1,
            created=as_of,
            base=now,
            stage=self.last,
        )
        entry.watched.tally.checks += 1
        self.waiting += 1
        self.wheel.push(entry.row, now)

    def _entry(self, view: WatchedView, write: Entry, keys: Item) -> WatchedEntry | None:
        """Return the entry that is watched; None if there is no room."""
        if self.waiting >= self._most:
            view.tally.skipped += 1
            return None
        key = write.key.encode()
        entry = self._entries.get(key)
        if entry is None:
            item = _encode(keys)
            entry = WatchedEntry(view=view.view, key=key, watched=view, item=item)
            self._entries[key] = entry
        if entry.member is None and view.view.members is not None:
            # A deletion may not know the member that a later item has.
            entry.index, entry.member = member_of(write)
        return entry

    def pass_over(self, pending: Pending, now: float) -> bool:
        """Pass over the thresholds that are too long ago, and return whether there were any."""
        begin, within = pending.stage, pending.entry.watched.within
        age = now - pending.base
        while pending.stage < self.last and self.is_late(pending.stage, age):
            within[pending.stage].undecided += 1
            pending.stage += 1
        return pending.stage > begin or self.is_late(pending.stage, age)

    def is_late(self, stage: int, age: float) -> bool:
        """Return whether an age is too late for a threshold."""
        return age > self.latest[stage]

    def take_due(self, now: float) -> list[list[Pending]]:
        """Take out what is due, by entry."""
        due: dict[int, list[Pending]] = {}
        for waiting in self.wheel.pop(now):
            for pending in waiting:
                due.setdefault(id(pending.entry), []).append(pending)
        return list(due.values())

    def forget_over(self, entry: WatchedEntry) -> None:
        """Forget the expectations of an entry that are over, and an entry of which none is left."""
        pending, count = entry.pending, 0
        for each in pending:
            if each.stage != OVER:
                break
            count += 1
        if count:
            del pending[:count]
            self.waiting -= count
        if entry.row is not None and entry.row.stage == OVER:
            entry.row = None
            self.waiting -= 1
        if not pending and entry.row is None:
            self._entries.pop(entry.key, None)


def check_thresholds(thresholds: Sequence[float]) -> None:
    """Check the ages at which changes are asked.

    Raises:
        ConfigError: there is none, or they do not ascend from above 0.
    """
    if not thresholds or thresholds[0] <= 0 or any(a >= b for a, b in pairwise(thresholds)):
        raise ConfigError("thresholds: must be seconds above 0, each more than the one before")


def _watch(view: View, tally: ViewTally, thresholds: Sequence[float]) -> WatchedView:
    return WatchedView(view, tally, [tally.within[threshold_text(each)] for each in thresholds])
