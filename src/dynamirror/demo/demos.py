"""A demo of several tables, all mirrored into one cache at the same time."""

from collections.abc import Generator
from contextlib import ExitStack, nullcontext
from itertools import islice
from types import TracebackType
from typing import Self

from dynamirror.demo.contents import MOST_SAMPLES
from dynamirror.demo.demo import Demo
from dynamirror.demo.example import table_names
from dynamirror.demo.servers import Servers, running_servers
from dynamirror.demo.totals import Totals
from dynamirror.inspection.tally import Tally, merged
from dynamirror.recovery.comparison import Comparison
from dynamirror.settings import load_views
from dynamirror.views.key_spaces import check_tables


class Demos:
    """A context manager that starts and stops the demo of each table, with servers for all.

    Args:
        rate: writes per second to all tables together.
        seed: the seed of the random writes.
        view: path of a `mirror.toml` with several tables, and with items of each.

    Raises:
        ConfigError: the views or the items are wrong.
        DynamirrorError: a server did not start.
    """

    def __init__(self, *, rate: float, seed: int, view: str) -> None:
        self.tables = table_names(view)
        self._resources = ExitStack()
        self._running: Servers | None = None
        self.demos = [
            Demo(
                ids=1,  # the files have the items
                rate=rate / len(self.tables),
                seed=seed + number,
                view=view,
                table=table,
                servers=lambda: nullcontext(self._shared()),
            )
            for number, table in enumerate(self.tables)
        ]
        check_tables(load_views(view), self.tables)
        self.loaded: str | None = None

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            self._running = starting.enter_context(running_servers())
            for demo in self.demos:
                starting.enter_context(demo)
            self._resources = starting.pop_all()
        self.database, self.valkey = self._shared()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._resources.close()

    def _shared(self) -> Servers:
        assert self._running is not None
        return self._running

    @property
    def totals(self) -> Totals:
        """The totals of all tables together."""
        return Totals.sum_of(demo.totals for demo in self.demos)

    def inspection(self) -> Tally:
        """Return what the inspectors of all tables have measured so far."""
        return merged(demo.inspection() for demo in self.demos)

    def fill(self) -> Generator[int, None, None]:
        """Load the files' items into the tables; yield the number loaded so far."""
        for demo in self.demos:
            for _ in demo.fill():
                yield self.totals.loaded

    def write(self, seconds: float, tick: float = 0.25) -> Generator[float, None, None]:
        """Write random changes to all tables, and measure the lag; yield the seconds elapsed.

        Args:
            seconds: how long to write.
            tick: seconds between two yields.

        Raises:
            DynamirrorError: a write failed.
        """
        with ExitStack() as stack:
            writing = [demo.write(seconds, tick / len(self.demos)) for demo in self.demos]
            for steps in writing:
                stack.callback(steps.close)
            while writing:
                for steps in list(writing):
                    elapsed = next(steps, None)
                    if elapsed is None:
                        writing.remove(steps)
                    else:
                        yield elapsed

    def drain(self, tick: float = 0.25) -> Generator[float, None, None]:
        """Wait until every change is applied; yield the seconds elapsed, table after table.

        Raises:
            DynamirrorError: this takes too long, or replication failed.
        """
        for demo in self.demos:
            yield from demo.drain(tick)

    def compare(self) -> dict[str, Comparison]:
        """Compare each whole table with its part of the cache; return the results by table."""
        return {demo.schema.table: demo.compare() for demo in self.demos}

    def wait(self) -> None:
        """Wait until all streams have ended.

        Raises:
            DynamirrorError: the error that ended replication.
        """
        ended = [False]
        while not all(ended):
            ended = [demo.has_ended(0.1) for demo in self.demos]  # an error of any is raised

    def sample_entries(self) -> dict[str, bytes | None]:
        """Read an entry of each table, up to a few; return values by key."""
        samples = (islice(demo.sample_entries().items(), 1) for demo in self.demos)
        return dict(entry for entries in islice(samples, MOST_SAMPLES) for entry in entries)

    def sample_command(self) -> tuple[str, ...]:
        """Return the command that reads an entry of the first table that has one."""
        return next((words for demo in self.demos if (words := demo.sample_command())), ())
