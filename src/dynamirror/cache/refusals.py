"""Entries that the cache refused: which are quarantined, and which come again."""

from collections.abc import Callable, Sequence
from itertools import chain, compress, islice
from time import time
from typing import Any, Final

import msgspec

from dynamirror.cache.answers import Failure
from dynamirror.cache.client import Cache
from dynamirror.cache.scripts import PUT, Command
from dynamirror.views.batch_result import RejectedEntry, Report
from dynamirror.views.entry import Delete, Entry
from dynamirror.views.keyspace import fence_key

# What the scripts answer.
WRITTEN: Final = (b"applied", b"stale")
SetAside = Callable[[Sequence[RejectedEntry]], bool]
# An error that is not known is taken for one record's if it meets that as often in a row, and no
# other write to its slot; else it comes again, since the server may heal. So many are tried a call.
_MOST_UNKNOWN: Final = 3
_MORE_ATTEMPTS: Final = 2
_NOT_LISTED: Final = "the quarantine did not take its item"


class Refusal(msgspec.Struct, frozen=True):
    """An entry that was not written.

    Args:
        entry: the entry.
        answer: what the cache answered.
        reason: why the item could not be encoded, so that a deletion was sent; None if it could.
    """

    entry: Entry
    answer: Any
    reason: str | None = None

    @property
    def text(self) -> str:
        """Return why the entry was not written, for the log."""
        known = isinstance(self.answer, Failure)
        return self.answer.reason if known else f"the cache answered {self.answer!r}"

    @property
    def rejected(self) -> RejectedEntry:
        """Return the entry with the reason for the quarantine."""
        refused = f"the cache refuses it for good: {self.text}"
        return RejectedEntry(self.entry, "; ".join(filter(None, (self.reason, refused))))


def settle_refusals(
    cache: Cache,
    refusals: Sequence[Refusal],
    report: Report,
    *,
    write: Callable[[Entry], Command],
    delete: Callable[[Entry], Command],
    remove: Callable[[Entry], Sequence[Command]],
    set_aside: SetAside,
) -> None:
    """Add each refused entry to the report: quarantined, without an entry, or failed.

    Args:
        cache: the cache.
        refusals: the entries that were not written.
        report: holds the outcomes of the others.
        write: returns the command that was refused.
        delete: returns the command that deletes an entry through its fence.
        remove: returns the commands that delete an entry, and its member, whatever its fence is.
        set_aside: quarantines all items that cannot be written; returns whether it took all.

    Raises:
        CacheError: no node of the cache can be reached.
    """
    final, unknown = [], []
    for refusal in refusals:
        answer = refusal.answer
        if isinstance(answer, Failure) and answer.is_final:
            final.append(refusal)
        elif isinstance(answer, Failure) and not answer.is_retried:
            unknown.append(refusal)
        else:
            report.failed.append(RejectedEntry(refusal.entry, refusal.text))
    lasting = unknown[:_MOST_UNKNOWN]
    if not _is_lasting(cache, lasting, write):
        lasting = []
    for refusal in unknown[len(lasting) :]:
        report.failed.append(RejectedEntry(refusal.entry, refusal.text))
    doomed = []
    for refusal in final + lasting:
        if isinstance(refusal.entry, Delete) and refusal.answer.is_of_key:
            report.stale += 1  # under that key there can be no entry
        else:
            doomed.append(refusal)
    # Deleted first, an item that is not listed would come again, stale, and be lost.
    if doomed and set_aside([*report.quarantined, *(refusal.rejected for refusal in doomed)]):
        _delete(cache, doomed, report, delete, remove)
    else:
        report.failed += [RejectedEntry(refusal.entry, _NOT_LISTED) for refusal in doomed]


def _is_lasting(
    cache: Cache, unknown: Sequence[Refusal], write: Callable[[Entry], Command]
) -> bool:
    """Return whether each entry meets an error again and again that other writes do not meet."""
    if not unknown:
        return False
    expected = [refusal.text for refusal in unknown]
    for _attempt in range(_MORE_ATTEMPTS):
        writes = ((write(refusal.entry), _other_write(refusal.entry)) for refusal in unknown)
        answers = cache.execute(chain.from_iterable(writes))
        if [answer.reason for answer in answers[::2] if isinstance(answer, Failure)] != expected:
            return False
        if any(isinstance(answer, Failure) and not answer.is_final for answer in answers[1::2]):
            return False
    return True


def _other_write(entry: Entry) -> Command:
    """Return a command that writes to an entry's slot as its own does, for a second.

    No entry has such a key, and all users who may write the entry's fence may write it.
    """
    key = f"{fence_key(entry.key)}{{}}".encode()
    return PUT.command(key, key + b"{}", str(entry.version), 1, b"", int(time()) + 1)


def _delete(
    cache: Cache,
    doomed: Sequence[Refusal],
    report: Report,
    delete: Callable[[Entry], Command],
    remove: Callable[[Entry], Sequence[Command]],
) -> None:
    """Delete what the cache holds of the entries: it is out of date, and nothing replaces it."""
    answers = cache.execute([delete(refusal.entry) for refusal in doomed])
    refused = [isinstance(answer, Failure) and answer.is_final for answer in answers]
    # A fence that cannot be read guards nothing: without it, no entry is the only safe one.
    removals = [remove(refusal.entry) for refusal in compress(doomed, refused)]
    removed = iter(cache.execute(chain.from_iterable(removals)) if removals else ())
    sizes = iter(map(len, removals))
    for refusal, answer, is_refused in zip(doomed, answers, refused, strict=True):
        last = list(islice(removed, next(sizes))) if is_refused else [answer]
        failures = [one for one in last if isinstance(one, Failure) and not _has_nothing(one)]
        if failures:
            report.failed.append(RejectedEntry(refusal.entry, failures[0].reason))
        else:
            report.quarantined.append(refusal.rejected)


def _has_nothing(failure: Failure) -> bool:
    """Return whether there was nothing to delete: no such key, or no sorted set."""
    return failure.is_of_key or failure.code == "WRONGTYPE"
