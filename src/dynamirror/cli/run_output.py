"""What `run` prints: sentences for the operator, and reports of what was done."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING

import msgspec
import typer

from dynamirror.cli.output import fitted, print_json
from dynamirror.cli.printable import printable
from dynamirror.cli.table_mirror import named
from dynamirror.counted import counted
from dynamirror.inspection.report import summary
from dynamirror.runner.event_source_mapping import DeliveryCounts
from dynamirror.views.batch_result import BatchResult, Tally

if TYPE_CHECKING:
    from dynamirror.inspection.tally import Tally as Inspected


class RunOutput:
    """Prints for several threads; of several tables, each line names its own.

    Args:
        tables: names of the tables.
        as_json: whether the reports are JSON; the sentences go to standard error then.

    Attributes:
        tally_of: returns the counts of a table's inspection; None for none.
        quarantined_of: returns the number of items in quarantine; None if it cannot be read.
    """

    def __init__(self, tables: Sequence[str], *, as_json: bool) -> None:
        self.tallies = {table: Tally() for table in tables}
        self.tally_of: Callable[[str], Inspected | None] = lambda _table: None
        self.quarantined_of: Callable[[str], int | None] = lambda _table: None
        self._quarantined: dict[str, int] = {}
        self._as_json = as_json
        self._reported: dict[str, tuple[dict[str, int], str | None]] = {}
        self._lock = Lock()

    def count(self, batch: BatchResult) -> None:
        """Count one batch for its table."""
        if batch.table in self.tallies:
            self.tallies[batch.table].add(batch)

    def say(self, sentence: str) -> None:
        """Print a sentence."""
        with self._lock:
            shown = printable(sentence)
            typer.echo(shown if self._as_json else fitted(shown), err=self._as_json)

    def say_of(self, table: str, sentence: str) -> None:
        """Print a sentence about a table."""
        self.say(named(table, sentence) if self._is_of_several else sentence)

    def report(self, table: str, counts: DeliveryCounts) -> None:
        """Print the counts of a table when they have changed."""
        totals = asdict(counts) | msgspec.structs.asdict(self.tallies[table])
        # A rebuild or an earlier process may have put items there, and a redrive takes them out.
        if (quarantined := self.quarantined_of(table)) is not None:
            self._quarantined[table] = quarantined
        totals["quarantined"] = self._quarantined.get(table, totals["quarantined"])
        inspected = self.tally_of(table)
        summarized = None if inspected is None else summary(inspected.total)
        with self._lock:
            if (totals, summarized) == self._reported.get(table, ({}, None)):
                return
            self._reported[table] = totals, summarized
            at = datetime.now(UTC)
            if self._as_json:
                line = {"at": at.isoformat(timespec="seconds"), "table": table, **totals}
                if inspected is not None:
                    line["inspection"] = inspected.to_json()
                print_json(line)
                return
            figures = (counted(number, name) for name, number in totals.items() if number)
            words = ", ".join(figures) or "nothing yet"
            prefix = f"table {table}: " if self._is_of_several else ""
            if summarized is not None:
                words = f"{words}; inspected: {summarized}"
            typer.echo(fitted(printable(f"{at:%H:%M:%S} UTC: {prefix}{words}")))

    @property
    def _is_of_several(self) -> bool:
        return len(self.tallies) > 1
