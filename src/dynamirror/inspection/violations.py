"""Violations: counted and logged, with all that finds the cause, and no data."""

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from dynamirror.inspection.judgement import ViolationKind
from dynamirror.inspection.pending import WatchedEntry
from dynamirror.inspection.sampling import canonical_key, key_hash
from dynamirror.inspection.tally import Tally, Violation
from dynamirror.log_lines import log
from dynamirror.records.attribute_value import Item
from dynamirror.views.schema import Schema

logger = logging.getLogger("dynamirror")

MESSAGE: Final = "consistency violated"
_decode: Final = msgspec.json.Decoder(Item).decode
_EPOCH_END: Final = 14
_SEQUENCE_END: Final = 54


class Violations:
    """Counts and logs the violations of one table.

    Args:
        schema: of the table.
        tally: counts them.
        thresholds: ages at which is asked, in seconds.
        on_violation: called with each.
    """

    def __init__(
        self,
        schema: Schema,
        tally: Tally,
        thresholds: Sequence[float],
        on_violation: Callable[[Violation], object],
    ) -> None:
        self._schema = schema
        self._tally = tally
        self._thresholds = thresholds
        self._on_violation = on_violation

    def add(
        self,
        entry: WatchedEntry,
        kind: ViolationKind,
        *,
        now: float,
        version: str,
        fence: bytes | None,
        age: float,
        shown: int,
    ) -> None:
        """Count and log a violation.

        Args:
            entry: the entry.
            kind: how it was wrong.
            now: seconds since 1970.
            version: text of the expected version.
            fence: the fence that was seen.
            age: seconds since the change.
            shown: number of the last threshold at which it was consistent; negative for never.
        """
        key = canonical_key(_decode(entry.item), self._schema.keys)
        violation = Violation(
            at=round(now, 3),
            table=self._schema.table,
            view=entry.view.name,
            item=key_hash(key),
            kind=kind,
            expected=version,
            seen="" if fence is None else fence.decode(errors="replace"),
            age=round(age, 3),
            shown=self._thresholds[shown] if shown >= 0 else None,
            sequence_number=sequence_number_in(version),
            stream=stream_label_in(version),
        )
        self._tally.add_violation(violation)
        log_violation(violation)
        self._on_violation(violation)


def log_violation(violation: Violation) -> None:
    """Write the log line of a violation."""
    log(logger, logging.ERROR, MESSAGE, msgspec.to_builtins(violation))


def sequence_number_in(version: str) -> str | None:
    """Return the sequence number in the text of a version; None for a row."""
    digits = version[_EPOCH_END:_SEQUENCE_END].lstrip("0")
    return (digits or "0") if version.startswith("c") else None


def stream_label_in(version: str) -> str | None:
    """Return the label of the stream in the text of a version, as its ARN ends; None for a row."""
    if not version.startswith("c"):
        return None
    at = datetime.fromtimestamp(int(version[1:_EPOCH_END]) / 1000, UTC)
    return at.replace(tzinfo=None).isoformat(timespec="milliseconds")
