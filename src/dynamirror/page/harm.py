"""What a viewer of the demo may do to the mirror, so as to see it heal."""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from time import monotonic, time
from typing import Any, Final

from dynamirror.attributes import Item
from dynamirror.aws import aws_errors
from dynamirror.errors import DynamirrorError, RecordError
from dynamirror.local.demo import Demo
from dynamirror.local.heal import Healer
from dynamirror.local.invoker import Invocation
from dynamirror.page.state import Button, Event
from dynamirror.rebuild import Rebuild
from dynamirror.report import Batch, Tally
from dynamirror.rows import RowReader
from dynamirror.snapshot import Scan
from dynamirror.stream.reader import Record
from dynamirror.sweep import entries_of
from dynamirror.verify import verify

_HANG_SECONDS = 3
_PATIENCE_SECONDS = 60.0
_SETTLE_SECONDS = 1.0
# One clock stamps changes and answers here, so that rows need not be older than a second.
_MARGIN = 1
_FRAGILE = {"S": "fragile", "N": "-1", "B": "ZnJhZ2lsZQ=="}
_GARBAGE = b"this is not what the table says"
_INVOCATION_SECONDS = 30.0
_DAY = 86_400


@dataclass(frozen=True, slots=True)
class _Action:
    label: str
    icon: str
    hint: str
    do: "Callable[[Harm], None]"
    heals: bool = False


class Harm:
    """Does one thing at a time, and tells what became of it.

    Args:
        demo: what it is done to; runs.
    """

    def __init__(self, demo: Demo) -> None:
        self._demo = demo
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="harm")
        self._busy: str | None = None
        self._doing: Future[None] | None = None
        self._numbers = count(1)
        self._events: deque[Event] = deque(maxlen=50)
        self._fragile: tuple[str, Item] | None = None
        self._writer: threading.Thread | None = None
        self._stop_writing = threading.Event()
        self._halt = threading.Event()
        self._accepts = True
        self._may_write = False

    def events(self) -> Sequence[Event]:
        """What was done, and what became of it, newest first."""
        with self._lock:
            return tuple(self._events)

    def pinned(self) -> Sequence[Item]:
        """The item whose entry is damaged."""
        return () if self._fragile is None else (self._fragile[1],)

    def buttons(self) -> Sequence[Button]:
        """What a viewer may do now."""
        busy = self._busy
        return tuple(
            Button(name, one.label, one.icon, one.hint, heals=one.heals, busy=name == busy)
            for name, one in self._offered().items()
        )

    def press(self, name: str) -> None:
        """Begin to do something, unless something is being done."""
        with self._lock:
            action = self._offered().get(name)
            if action is not None and self._busy is None and self._accepts:
                self._busy = name
                self._doing = self._pool.submit(self._do, action)

    def finish(self) -> None:
        """Wait for what is being done, and do no more; the replicator runs again then."""
        with self._lock:
            self._accepts = False
        if self._doing is not None:
            self._doing.result()
        if not self._demo.is_replicating:
            self._demo.start_replicator()

    def go_on(self) -> None:
        """Do what viewers like again; nobody else writes now, so they may."""
        with self._lock:
            self._accepts = self._may_write = True

    def close(self) -> None:
        """Break off what is being done, and do no more, ever."""
        self._halt.set()
        with self._lock:
            self._accepts = False
        self._pool.shutdown()
        self._pause_writes()

    def tell(self, text: str, *, good: bool = False) -> None:
        """Note what happened."""
        at = datetime.now().astimezone().strftime("%H:%M:%S")
        with self._lock:
            self._events.appendleft(Event(next(self._numbers), at, text, good))

    def _do(self, action: _Action) -> None:
        try:
            action.do(self)
        except DynamirrorError as error:
            self.tell(f"{action.label}: {error}")
        finally:
            self._busy = None

    def _offered(self) -> dict[str, _Action]:
        toggles = {"replicator": self._replicator_toggle()}
        if self._may_write:
            toggles["writes"] = self._writes_toggle()
        return toggles | _ACTIONS

    def _replicator_toggle(self) -> _Action:
        if self._demo.is_replicating:
            hint = "Nothing is delivered until it is started again."
            return _Action("Stop the replicator", "stop_circle", hint, Harm._stop)
        hint = "It goes on where it stopped."
        return _Action("Start the replicator", "play_circle", hint, Harm._start, heals=True)

    def _writes_toggle(self) -> _Action:
        if self._writer is not None:
            return _Action("Stop writing", "edit_off", "The table rests.", Harm._pause_writes)
        hint = "Random changes go to the table, as before."
        return _Action("Start writing", "edit", hint, Harm._resume_writes)

    def _stop(self) -> None:
        self._demo.stop_replicator()
        self.tell("The replicator is stopped; changes wait in the stream.")

    def _start(self) -> None:
        before, begin = self._demo.totals.applied, monotonic()
        self._demo.start_replicator()
        self._catch_up(begin)
        entries, took = self._demo.totals.applied - before, monotonic() - begin
        self.tell(
            f"Started: all that waited is in, {_entries(entries)} in {took:.1f} s.", good=True
        )

    def _resume_writes(self) -> None:
        self._stop_writing.clear()
        self._writer = threading.Thread(target=self._write, name="writes", daemon=True)
        self._writer.start()

    def _pause_writes(self) -> None:
        self._stop_writing.set()
        if self._writer is not None:
            self._writer.join()
            self._writer = None

    def _write(self) -> None:
        try:
            for _ in self._demo.write(float("inf"), stop=self._stop_writing):
                pass
        except DynamirrorError as error:
            self.tell(f"Nothing is written any more: {error}")

    def deliver_twice(self) -> None:
        """Hand the newest changes to the replicator a second time."""
        records = self._recent()
        tally = self._deliver([records])
        self.tell(f"Delivered the newest {len(records)} changes again: {_harmless(tally)}")

    def deliver_backwards(self) -> None:
        """Hand them over again, one by one, the newest first."""
        records = self._recent()
        tally = self._deliver([[record] for record in reversed(records)])
        self.tell(
            f"Delivered the newest {len(records)} changes one by one, the newest first: "
            f"{_harmless(tally)}"
        )

    def _recent(self) -> list[Record]:
        records = self._demo.recent
        if not records:
            raise DynamirrorError("nothing has been delivered yet")
        return records

    def _deliver(self, batches: Sequence[Sequence[Record]]) -> Tally:
        tally, totals = Tally(), self._demo.totals

        def observe(batch: Batch) -> None:
            tally.add(batch)
            totals.add(batch)

        replicator = self._demo.replicator_told(observe)
        context = Invocation(monotonic() + _INVOCATION_SECONDS, monotonic)
        for batch in batches:
            replicator({"Records": list(batch)}, context)
        return tally

    def hang(self) -> None:
        """Have the cache answer nobody for a while."""
        before = self._demo.totals.applied
        # https://valkey.io/commands/client-pause/
        self._demo.cache.broadcast(b"CLIENT", b"PAUSE", _HANG_SECONDS * 1000, b"ALL")
        begin = monotonic()
        self.tell(f"The cache answers nobody for {_HANG_SECONDS} s.")
        self._halt.wait(_HANG_SECONDS)
        if not self._demo.is_replicating:
            self.tell("The cache answers again; the replicator is stopped.")
            return
        self._catch_up(monotonic())
        entries, late = self._demo.totals.applied - before, monotonic() - begin - _HANG_SECONDS
        self.tell(
            f"The cache answered again, and {late:.1f} s later all was in: {_entries(entries)}, "
            "none lost.",
            good=True,
        )

    def damage(self) -> None:
        """Overwrite the entry of an item that nobody else writes.

        The next change of any other would put it right at once.
        """
        key = self._fragile_key()
        self._demo.cache.call(key, b"SET", key.encode(), _GARBAGE)
        self.tell(
            f"{key} was overwritten. No change of its item is coming: it stays wrong until the "
            "mirror is verified and repaired."
        )

    def _fragile_key(self) -> str:
        demo = self._demo
        key, item = self._fragile or _fragile(demo)
        with aws_errors(f"table {demo.schema.table}"):
            demo.client.put_item(TableName=demo.schema.table, Item=dict(item))
        self._fragile = key, item
        if not demo.is_replicating:
            raise DynamirrorError("start the replicator first, to have something to damage")
        self._catch_up(monotonic())
        return key

    def flush(self) -> None:
        """Lose all that the cache holds, and heal."""
        demo = self._demo
        lost = len({one.key for view in demo.views for one in entries_of(demo.cache, view)})
        demo.cache.broadcast(b"FLUSHALL")
        self.tell(f"Flushed: {_entries(lost)} gone, and the marker that vouched for them.")
        self.rebuild()

    def rebuild(self) -> None:
        """Make the mirror complete, as `dynamirror run` does it by itself."""
        demo, begin = self._demo, monotonic()
        told: list[str] = []
        steps = Rebuild(
            demo.cache,
            demo.views,
            demo.client,
            fence_ttl=demo.replicator.fence_ttl,
            stream_arn=demo.stream_arn,
            margin=_MARGIN,
        )
        healer = Healer(steps, stream_arn=lambda: demo.stream_arn, tell=told.append)
        healer.start()
        try:
            self._until(lambda: bool(healer.complete), "rebuilt")
        finally:
            healer.stop()
        if len(told) <= 1:
            self.tell("Nothing to rebuild: the mirror is complete.", good=True)
            return
        self.tell(f"Healed in {monotonic() - begin:.1f} s: {told[-1]}.", good=True)

    def repair(self) -> None:
        """Verify and repair."""
        demo, begin = self._demo, monotonic()
        result = verify(
            demo.cache,
            demo.views,
            Scan(demo.client, demo.schema.table, margin=_MARGIN),
            RowReader(demo.client, demo.schema.table, margin=_MARGIN),
            settle=_SETTLE_SECONDS,
            repair=True,
            fence_ttl=demo.replicator.fence_ttl,
        )
        wrong = "nothing differed" if not result.differences else f"{result.differences:,} differed"
        done = f", {result.repaired:,} repaired" if result.differences else ""
        self.tell(
            f"Compared {result.items:,} items with {result.entries:,} entries: {wrong}{done}, in "
            f"{monotonic() - begin:.1f} s.",
            good=True,
        )

    def _catch_up(self, since: float) -> None:
        self._until(lambda: self._demo.delivery.caught_up(since), "caught up")

    def _until(self, holds: Callable[[], bool], what: str) -> None:
        begin = monotonic()
        while not holds():
            if monotonic() - begin > _PATIENCE_SECONDS:
                raise DynamirrorError(f"the mirror has not {what} in {_PATIENCE_SECONDS:.0f} s")
            if self._halt.wait(0.02):
                raise DynamirrorError(f"the demo ended before the mirror had {what}")


def _entries(number: int) -> str:
    return "1 entry" if number == 1 else f"{number:,} entries"


def _harmless(tally: Tally) -> str:
    superseded = f", {tally.coalesced:,} superseded in their batch" if tally.coalesced else ""
    return f"{tally.stale:,} stale{superseded}, {tally.applied:,} applied."


def _fragile(demo: Demo) -> tuple[str, dict[str, Any]]:
    """An item of its own, and the key of its entry."""
    partition, tag = demo.schema.keys[0], demo.schema.types[0]
    later = {"N": str(int(time()) + _DAY)}
    for base in demo.samples:
        item = {**base, partition: {tag: _FRAGILE[tag]}}
        item |= dict.fromkeys(demo.expiring & item.keys(), later)
        for key in _keys(demo, item):
            return key, item
    raise DynamirrorError("no item can be made that has an entry in a view")


def _keys(demo: Demo, item: Item) -> Iterator[str]:
    for view in demo.views:
        try:
            key = view.render(item)
            until = view.expires(item)
            stays = until is None or until > time()
            if key is not None and stays and view.encode(item) is not None:
                yield key
        except RecordError:
            continue


_ACTIONS: Final[dict[str, _Action]] = {
    "twice": _Action(
        "Deliver again",
        "repeat",
        "The newest changes come a second time.",
        Harm.deliver_twice,
    ),
    "backwards": _Action(
        "Deliver backwards",
        "fast_rewind",
        "They come again, the newest first.",
        Harm.deliver_backwards,
    ),
    "hang": _Action(
        "Hang the cache",
        "hourglass_top",
        f"It answers nobody for {_HANG_SECONDS} seconds.",
        Harm.hang,
    ),
    "damage": _Action(
        "Damage an entry",
        "broken_image",
        "It is overwritten behind the mirror's back.",
        Harm.damage,
    ),
    "flush": _Action("Flush the cache", "delete_sweep", "It loses all that it holds.", Harm.flush),
    "repair": _Action(
        "Verify and repair",
        "build",
        "Compares everything, mends what differs.",
        Harm.repair,
        heals=True,
    ),
    "rebuild": _Action(
        "Rebuild",
        "restart_alt",
        "Reads all of the table again.",
        Harm.rebuild,
        heals=True,
    ),
}
