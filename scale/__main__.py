"""Run every whole-table job at several sizes, in short invocations, some killed: `make scale`.

The table is made from a seed, and never stored. The cache is a real Valkey. The state machines are
those that are deployed. docs/scale.md is made from scale/results.json.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from scale import definitions, document
from scale.report import line, show
from scale.results import all_kept, write
from scale.run import run

_SIZES = (1_000_000, 3_000_000, 10_000_000)
_SEVERAL = 300_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, record; returns the exit status."""
    options = _parse(arguments)
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        log = options.log or Path(folder) / "functions.log"
        results = run(
            options, definitions.read(), log, lambda job: console.print(line(job), soft_wrap=True)
        )
    show(results, Console(width=None if sys.stdout.isatty() else 220))
    if options.output is not None:
        write(results, options.output)
    elif options.record or tuple(options.sizes) == _SIZES:
        write(results)
        document.make()
    return int(options.strict and not all_kept(results.promises()))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--sizes", type=_sizes, default=_SIZES, help="items of the tables, as 1e6,3e6")
    add("--several", type=int, default=_SEVERAL, help="items for a cluster of 3 nodes; 0 for none")
    add("--parts", type=int, default=64, help="parts of the table for verify")
    add("--audit-parts", type=int, default=16, help="parts of a round of audits")
    add("--workers", type=int, default=2, help="invocations at a time")
    add("--limit", type=float, default=20, help="seconds that an invocation may take")
    add("--grace", type=float, default=1, help="seconds beyond that, until it is ended")
    add("--seed", type=int, default=18, help="seed of the tables and the kills")
    add(
        "--kills",
        type=int,
        default=2,
        help="at least about how many workers are killed in each job",
    )
    add("--log", type=Path, help="keep there what the functions print")
    add("--output", type=Path, help="write the record there, not to scale/results.json")
    add("--record", action="store_true", help="make docs/scale.md from any sizes")
    add("--strict", action="store_true", help="exit status 1 if this run misses a promise")
    return parser.parse_args(arguments)


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(sorted(int(float(part)) for part in text.split(",")))


if __name__ == "__main__":
    sys.exit(main())
