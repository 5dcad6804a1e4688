"""Writing a batch of entries into the cache, each through its fence."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import msgspec

from dynamirror.cache.client import Cache
from dynamirror.cache.refusals import WRITTEN, Refusal, SetAside, settle_refusals
from dynamirror.cache.scripts import DELETE, PUT, PUT_HASH, Command
from dynamirror.errors import RecordError
from dynamirror.records.attribute_value import utf8
from dynamirror.records.stream_record import Change
from dynamirror.records.version import supersedes
from dynamirror.views.batch_result import RejectedEntry, Report
from dynamirror.views.encoding import ValueType
from dynamirror.views.entry import Entry, Put
from dynamirror.views.keyspace import fence_key
from dynamirror.views.view import View

OUT_OF_TIME = "out of time"
# Entries drawn at a time: the server should not wait until all of a large batch is decoded.
_DRAWN = 500


class PackedPut(Put, frozen=True, gc=False):
    """A put whose command is made already.

    Args:
        command: the command.
    """

    command: Command


def apply(
    cache: Cache,
    entries: Iterable[Entry],
    *,
    fence_ttl: int,
    in_time: Callable[[], bool] = lambda: True,
    set_aside: SetAside = lambda _rejected: True,
) -> Report:
    """Write entries through their fences; returns the outcomes.

    Of entries near each other, only the newest of each key is sent; the others are coalesced.
    Entries are drawn and encoded while earlier ones are on their way: client and server overlap.

    Args:
        cache: where to write.
        entries: in any order, with any duplicates; either all from changes or all from rows.
        fence_ttl: seconds a fence is kept.
        in_time: whether there is time left; once there is not, the rest is reported as failed.
        set_aside: called before entries that the cache refuses for good are deleted, with all that
            cannot be written; quarantines their items, and returns whether it took all.

    Raises:
        CacheError: no node of the cache can be reached.
    """
    report = Report()
    outbox = _Outbox(_newest(entries, report), report, b"%d" % fence_ttl, in_time)
    answers = cache.execute(outbox.commands())
    for place, rejection in outbox.rejected.items():
        if answers[place] in WRITTEN:
            answers[place] = b"quarantined"
            report.quarantined.append(rejection)
    report.applied, report.stale = map(answers.count, WRITTEN)
    if report.applied + report.stale + len(report.quarantined) < len(answers):
        refusals = [
            Refusal(entry, answer, outbox.reason_at(place))
            for place, (entry, answer) in enumerate(zip(outbox.sent, answers, strict=True))
            if answer not in (*WRITTEN, b"quarantined")
        ]
        settle_refusals(
            *(cache, refusals, report),
            write=outbox.command,
            delete=outbox.deletion,
            set_aside=set_aside,
        )
    return report


def apply_all(
    cache: Cache,
    entries: Iterable[Entry],
    *,
    fence_ttl: int,
    set_aside: SetAside = lambda _rejected: True,
) -> Report:
    """Write entries that nobody would deliver again: none may fail.

    Args:
        cache: where to write.
        entries: as `apply` takes them.
        fence_ttl: seconds a fence is kept.
        set_aside: as `apply` takes it.

    Raises:
        CacheError: the cache did not take an entry.
    """
    report = apply(cache, entries, fence_ttl=fence_ttl, set_aside=set_aside)
    for failure in report.failed:
        raise cache.error(failure.reason)
    return report


class _Outbox(msgspec.Struct):
    """Turns entries into commands, one by one as they are asked for."""

    entries: Iterable[Entry]
    report: Report
    fence_ttl: bytes
    in_time: Callable[[], bool]
    sent: list[Entry] = []
    rejected: dict[int, RejectedEntry] = {}  # by place in `sent`

    def commands(self) -> Iterator[Command]:
        fence_ttl, sent, in_time = self.fence_ttl, self.sent, self.in_time
        for entry in self.entries:
            if not in_time():
                self.report.failed.append(RejectedEntry(entry, OUT_OF_TIME))
                continue
            try:
                command = entry.command if type(entry) is PackedPut else _command(entry, fence_ttl)
            except (RecordError, RecursionError) as error:
                # What the entry holds is out of date, and nothing better can be written.
                self.rejected[len(sent)] = RejectedEntry(entry, str(error))
                command = _delete(entry, fence_ttl)
            sent.append(entry)
            yield command

    def command(self, entry: Entry) -> Command:
        """Return the command of an entry once more."""
        try:
            return entry.command if type(entry) is PackedPut else _command(entry, self.fence_ttl)
        except (RecordError, RecursionError):
            return self.deletion(entry)

    def deletion(self, entry: Entry) -> Command:
        """Return the command that deletes an entry."""
        return _delete(entry, self.fence_ttl)

    def reason_at(self, place: int) -> str | None:
        """Return why the entry at a place could not be encoded; None if it could."""
        rejected = self.rejected.get(place)
        return rejected.reason if rejected else None


def _newest(entries: Iterable[Entry], report: Report) -> Iterator[Entry]:
    """Yield the newest entry of each key, among those drawn before the first is sent."""
    drawn = iter(entries)
    while some := list(islice(drawn, _DRAWN)):
        newest: dict[str, Entry] = {}
        for entry in some:
            held = newest.setdefault(entry.key, entry)
            if held is not entry:
                report.coalesced += 1
                if supersedes(entry.version, held.version):
                    newest[entry.key] = entry
        yield from newest.values()


def _command(entry: Entry, fence_ttl: bytes) -> Command:
    if isinstance(entry, Put):
        view = entry.view
        encoding = view.encoding
        # As view.encode() would, with a call less where all of an item is written.
        value = encoding.encode(entry.item) if view.make is None else view.encode(entry.item)
        if value is not None:
            script = PUT_HASH if encoding.layout is ValueType.HASH else PUT
            key, fence = _keys(entry)
            version = str(entry.version).encode()
            if view.ttl is None and view.members is None:
                return script.write(key, fence, version, fence_ttl, value)
            expires = view.expires(entry.item) or b""
            if view.members is None:
                return script.command(key, fence, version, fence_ttl, value, expires)
            index, member = _place(entry)
            score = view.members.score(entry.item)
            return script.indexed(
                *(key, fence, index, version, fence_ttl, value, expires, member, score)
            )
    # Like a sparse index: an item without the attribute has no entry.
    return _delete(entry, fence_ttl)


def packed_put(view: View, change: Change, fence_ttl: bytes) -> PackedPut | None:
    """Return the put of a change in a view for which `can_pack` holds; None if it is unusual.

    What is unusual needs `apply` with its plain entry, which says why.

    Args:
        view: the view.
        change: puts an item.
        fence_ttl: seconds a fence is kept, in digits.
    """
    assert change.new is not None
    try:
        key, value = view.key_of(change.keys), view.encoding.encode(change.new)
    except (RecordError, RecursionError):
        return None
    if key is None or value is None:
        return None
    version, entry_key = change.version, key.encode()
    command = PUT.write(entry_key, fence_key(key).encode(), str(version).encode(), fence_ttl, value)
    return PackedPut(view, key, version, change.new, command)


def can_pack(view: View) -> bool:
    """Return whether `packed_put` can write a view: each item has one string that never expires."""
    return (
        view.is_static
        and view.encoding.layout is ValueType.STRING
        and view.make is None
        and view.ttl is None
        and view.members is None
    )


def _delete(entry: Entry, fence_ttl: bytes) -> Command:
    if entry.view.members is None:
        return DELETE.command(*_keys(entry), str(entry.version), fence_ttl)
    index, member = _place(entry)
    return DELETE.indexed(*_keys(entry), index, str(entry.version), fence_ttl, member)


def _place(entry: Entry) -> tuple[bytes, bytes]:
    """Return the sorted set of an entry, and its member there."""
    members = entry.view.members
    assert members is not None
    return utf8(members.index_key(entry.item)), members.member(entry.item)


def _keys(entry: Entry) -> tuple[bytes, bytes]:
    return entry.key.encode(), fence_key(entry.key).encode()
