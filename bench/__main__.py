"""Measure dynamirror on this machine, beside what it is compared with: `make bench`.

Every figure is the median of interleaved rounds, so that a disturbance affects all figures alike.
Only the ratios hold on other machines. bench/results.json keeps the newest three complete runs, and
docs/performance.md is made from the worst of them.
"""

import argparse
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bench import document, memory
from bench.apply import Applying
from bench.cpus import ANY, CLIENTS, SERVERS, on, raised
from bench.node import bundle, find_node
from bench.reading import Reading
from bench.records import SEED, Feed
from bench.results import Log, Record, Results, Sample, conclude, read, write
from bench.servers import Secure
from bench.small import Small
from bench.start import CAN_START, Starting, deployed_environment, unpack
from bench.tables import show
from bench.whole import Whole
from dynamirror.cache.client import Cache
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB
from dynamirror.emulators.valkey import EmbeddedValkey

PARTS = ("apply", "small", "whole", "read", "memory", "start")
# Parts that run the packaged function.
_PACKAGED = {"small", "memory", "start"}
# The figures of promised ratios are taken several times a round, in short turns.
_TURNS = 3
_PROMISED = {"promised ratios", "rows", "small batches"}
_WHOLE = "a whole table"
_OTHERS = "applying"
# What takes seconds and is not promised is taken in one round of so many, the first among them.
_SELDOM = {_WHOLE: 3, _OTHERS: 2}
_BREAKDOWNS = 5
# Load of each CPU beyond which others disturb.
_QUIET = 0.3

Take = Callable[[], Iterable[Sample]]


class Shared(NamedTuple):
    """What several parts need.

    Args:
        server: the cache.
        secure: another cache, with TLS.
        original: Node.js and the original's bundle; None to leave it out.
        folder: for files.
        tasks: the unpacked assets by kind, if a part needs them.
    """

    server: EmbeddedValkey
    secure: Secure
    original: tuple[Path, Path] | None
    folder: Path
    tasks: Mapping[str, Path]


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
                secure = Secure(stack.enter_context(EmbeddedValkey()), folder)
                stack.enter_context(secure)
            for process in (server, secure.server, secure):
                stack.enter_context(raised(process.guard_pid))
            tasks = {} if _PACKAGED.isdisjoint(options.only) else unpack(folder)
            shared = Shared(server, secure, original, folder, tasks)
            with ExitStack() as rounds:
                self._rounds(rounds, shared)
            if "memory" in options.only:
                self._memory(shared)
            if "start" in options.only:
                starting = Starting(server.settings(), secure, original, folder, tasks)
                stack.callback(starting.close)
                self._starts(starting)
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

    def _rounds(self, stack: ExitStack, shared: Shared) -> None:
        server, secure, original, folder, tasks = shared
        only, records = self._options.only, self._options.records
        takes: dict[str, Take] = {}
        with self._step("setting up", 1):
            if "apply" in only:
                applying = Applying(server, secure, records, original, folder)
                stack.enter_context(applying)
                takes |= {"promised ratios": applying.promised, _OTHERS: applying.others}
            if "small" in only:
                small = Small(secure, records, original, tasks["packaged"], folder)
                takes["small batches"] = stack.enter_context(small).take
            if "whole" in only or "read" in only:
                with on(SERVERS):
                    database = stack.enter_context(EmbeddedDynamoDB())
                images = Feed(records).images()
            if "whole" in only:
                cache = Cache(server.settings())
                stack.callback(cache.close)
                whole = Whole(database, cache, server.port, images)
                takes |= {"rows": whole.from_memory, _WHOLE: whole.from_table}
            if "read" in only:
                with on(SERVERS):
                    single = stack.enter_context(EmbeddedValkey(cluster=False))
                stack.enter_context(raised(single.guard_pid))
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
                    if (number - 1) % _SELDOM.get(name, 1) == 0:
                        for _ in range(_TURNS if name in _PROMISED else 1):
                            self._log.add(take())

    def _repeat(self, name: str, times: int, take: Take) -> None:
        with self._step(name, times) as advance:
            for _ in range(times):
                advance(name)
                self._log.add(take())

    def _memory(self, shared: Shared) -> None:
        environment = deployed_environment(shared.server.settings())
        task, folder = shared.tasks["packaged"], shared.folder
        records = self._options.records
        self._repeat("memory of entries", 1, lambda: memory.in_cache(records))
        self._repeat(
            "memory of the function", 1, lambda: memory.in_function(task, environment, folder)
        )

    def _starts(self, starting: Starting) -> None:
        starts = self._options.starts
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
    with raised(), Progress(*columns, console=Console(stderr=True)) as progress:
        results = Bench(options, progress).run()
    if options.json:
        print(msgspec.json.encode(results).decode())
    else:
        show(results, Console())
    if options.output is not None:
        write(Record([results]), options.output)
    elif set(options.only) == set(PARTS) and not options.no_node:
        write(read(document.RESULTS).with_run(results), document.RESULTS)
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
    add("--strict", action="store_true", help="exit status 1 if this run misses a promise")
    options = parser.parse_args(arguments)
    if "start" in options.only and not CAN_START:
        sys.stderr.write("bench: Lambda's runtime client is for Linux: no cold starts\n")
        options.only = tuple(part for part in options.only if part != "start")
    return options


def _parts(text: str) -> tuple[str, ...]:
    parts = tuple(text.split(","))
    if unknown := set(parts) - set(PARTS):
        raise argparse.ArgumentTypeError(f"no such part: {', '.join(sorted(unknown))}")
    return parts


if __name__ == "__main__":
    sys.exit(main())
