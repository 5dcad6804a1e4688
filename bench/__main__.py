"""Measures dynamirror on this machine, in one run, beside what it is compared with: `make bench`.

Every figure is the median of interleaved rounds, so that a noisy moment hits all of them alike.
Only the ratios travel from one machine to another. A whole run is recorded in bench/results.json,
and docs/performance.md is made of that.
"""

import argparse
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bench import document, memory
from bench.apply import Applying
from bench.cpus import ANY, CLIENTS, SERVERS, on
from bench.node import bundle, find_node
from bench.reading import Reading
from bench.records import SEED, Feed
from bench.results import Log, Results, Sample, conclude, write
from bench.start import Starting
from bench.tables import show
from bench.whole import Whole
from dynamirror.cache.client import Cache
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB
from dynamirror.emulators.valkey import EmbeddedValkey

PARTS = ("apply", "whole", "read", "memory", "start")
# What takes seconds is done in one round of so many.
_SELDOM = 2
_BREAKDOWNS = 5
# Load of each CPU beyond which others disturb.
_QUIET = 0.3
_WHOLE = "a whole table"

Take = Callable[[], Iterable[Sample]]


class Bench:
    """One run.

    Args:
        options: of the command line.
        progress: where to show it.
    """

    def __init__(self, options: argparse.Namespace, progress: Progress) -> None:
        self._options = options
        self._progress = progress
        self._log = Log()
        self._imports: dict[str, dict[str, float]] = {}

    def run(self) -> Results:
        """Measure all that is asked for."""
        options = self._options
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            node = None if options.no_node else find_node()
            original = None if node is None else (node, bundle(folder))
            stack.enter_context(on(CLIENTS))
            with on(SERVERS):
                server = stack.enter_context(EmbeddedValkey())
            self._rounds(stack, server, original, folder)
            if "memory" in options.only:
                self._repeat("memory of entries", 1, lambda: memory.in_cache(options.records))
            if not {"start", "memory"}.isdisjoint(options.only):
                self._starts(Starting(server.settings(), original, folder), folder)
        return conclude(
            self._log,
            options={
                "rounds": options.rounds,
                "starts": options.starts,
                "records": options.records,
                "seed": SEED,
            },
            imports=self._imports,
            node=node,
        )

    def _rounds(
        self,
        stack: ExitStack,
        server: EmbeddedValkey,
        original: tuple[Path, Path] | None,
        folder: Path,
    ) -> None:
        only, records = self._options.only, self._options.records
        takes: dict[str, Take] = {}
        with self._step("setting up", 1):
            if "apply" in only:
                applying = stack.enter_context(Applying(server, records, original, folder))
                takes["applying"] = applying.take
            if "whole" in only or "read" in only:
                with on(SERVERS):
                    database = stack.enter_context(EmbeddedDynamoDB())
                images = Feed(records).images()
            if "whole" in only:
                cache = Cache(server.settings())
                stack.callback(cache.close)
                whole = Whole(database, cache, images)
                takes |= {"rows": whole.from_memory, _WHOLE: whole.from_table}
            if "read" in only:
                with on(SERVERS):
                    single = stack.enter_context(EmbeddedValkey(cluster=False))
                reading = Reading(database, single, images)
                stack.callback(reading.close)
                takes["reading"] = reading.take
        self._interleave(takes)

    def _interleave(self, takes: dict[str, Take]) -> None:
        rounds = self._options.rounds
        with self._step("rounds", rounds * len(takes)) as advance:
            for number in range(1, rounds + 1):
                for name, take in takes.items():
                    advance(f"round {number} of {rounds}: {name}")
                    if name != _WHOLE or number % _SELDOM == 0:
                        self._log.add(take())

    def _repeat(self, name: str, times: int, take: Take) -> None:
        with self._step(name, times) as advance:
            for _ in range(times):
                advance(name)
                self._log.add(take())

    def _starts(self, starting: Starting, folder: Path) -> None:
        only, starts = self._options.only, self._options.starts
        if "memory" in only:
            task = starting.tasks["packaged"]
            self._repeat(
                "memory of the function",
                1,
                lambda: memory.in_function(task, starting.environment, folder),
            )
        if "start" in only:
            with on(ANY):  # Node.js has threads to start with
                for _ in starting.take():
                    pass  # what is read from disk first is in memory from then on
                self._repeat("cold starts", starts, starting.take)
                self._imports = starting.imports(min(starts, _BREAKDOWNS))

    @contextmanager
    def _step(self, name: str, total: int) -> Iterator[Callable[[str], None]]:
        task = self._progress.add_task(name, total=total)
        begun = 0

        def advance(what: str) -> None:
            nonlocal begun
            self._progress.update(task, description=what, completed=begun)
            begun += 1

        yield advance
        self._progress.update(task, description=name, completed=total)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, record; returns the exit status."""
    options = _parse(arguments)
    logging.getLogger("dynamirror").addHandler(logging.NullHandler())
    if (load := os.getloadavg()[0]) > _QUIET * (os.cpu_count() or 1):
        sys.stderr.write(f"bench: the machine is busy (load {load:.1f}): figures will be noisy\n")
    columns = TextColumn("{task.description:28}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        results = Bench(options, progress).run()
    if options.json:
        print(msgspec.json.encode(results).decode())
    else:
        show(results, Console())
    if options.output is not None:
        write(results, options.output)
    elif set(options.only) == set(PARTS) and not options.no_node:
        write(results, document.RESULTS)
        document.make()
    return int(options.strict and not all(ratio.is_kept for ratio in results.ratios))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--rounds", type=int, default=7, help="how often each figure is taken")
    add("--starts", type=int, default=21, help="how many cold starts of each kind")
    add("--records", type=int, default=20_000, help="how many records make a figure")
    add("--only", type=_parts, default=PARTS, help=f"parts of {','.join(PARTS)}")
    add("--no-node", action="store_true", help="leave out what runs in Node.js")
    add("--json", action="store_true", help="print the record instead of tables")
    add("--output", type=Path, help="write the record there, not to bench/results.json")
    add("--strict", action="store_true", help="exit status 1 if a ratio is missed")
    return parser.parse_args(arguments)


def _parts(text: str) -> tuple[str, ...]:
    parts = tuple(text.split(","))
    if unknown := set(parts) - set(PARTS):
        raise argparse.ArgumentTypeError(f"no such part: {', '.join(sorted(unknown))}")
    return parts


if __name__ == "__main__":
    sys.exit(main())
