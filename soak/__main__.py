"""The real handler under faults for minutes, inspected all the while: `make soak`.

A writer makes records of the right shape from a seed, and keeps the truth: an emulator is too slow.
"""

import argparse
import sys

import msgspec
from rich.console import Console

from soak.document import make
from soak.faults import FAULTS
from soak.results import Outcome, Results, machine, now, outcome_of, write
from soak.run import Options, Run, replicated_cluster
from soak.tampering import Tampering

# Long enough for all that a whole run promises.
_WHOLE: float = 600.0
_ORIGINAL_SECONDS: float = 60.0


def main() -> int:
    """Run, print, and write the page if asked; fail with --strict if a promise is not kept."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=840.0, help="how long changes are made")
    parser.add_argument("--rate", type=float, default=5_200.0, help="changes per second")
    parser.add_argument("--seed", type=int, default=1, help="of changes, deliveries and faults")
    parser.add_argument(
        "--faults",
        default="all",
        help="all, none, or names such as 'worker: killed' separated by semicolons",
    )
    parser.add_argument("--watchers", type=int, default=2, help="processes with an inspector")
    parser.add_argument(
        "--original",
        type=float,
        default=_ORIGINAL_SECONDS,
        help="seconds of the original's way afterwards; 0 for none",
    )
    parser.add_argument("--strict", action="store_true", help="fail if a promise is not kept")
    parser.add_argument("--write-docs", action="store_true", help="write docs/consistency.md")
    parser.add_argument("--json", action="store_true", help="print plain data")
    words = parser.parse_args()
    faults = _faults(parser, words.faults)
    ours = Options(
        seconds=words.seconds,
        rate=words.rate,
        seed=words.seed,
        faults=faults,
        watchers=words.watchers,
    )
    console = Console(stderr=words.json, highlight=False)
    outcome = _run(ours, console)
    original = _run(original_of(ours, words.original), console) if words.original else None
    if words.json:
        print(msgspec.json.encode({"ours": outcome, "original": original}).decode())
    if original is not None:
        console.print(f"the original's way: {original.sentence()}")
        if words.write_docs:
            write(Results(now(), machine(), outcome, original))
            make()
    missed = outcome.missed(is_whole=words.seconds >= _WHOLE)
    for sentence in missed:
        console.print(f"not kept: {sentence}")
    console.print(outcome.sentence(), soft_wrap=True)
    return int(bool(missed)) if words.strict else 0


def original_of(ours: Options, seconds: float) -> Options:
    """Return a run in which each write wins, and a batch is given up after two retries.

    Nothing rebuilds what the original writes. So the cache loses no data, and what is not right
    after half a minute stays so.
    """
    return msgspec.structs.replace(
        ours,
        seconds=seconds,
        faults=tuple(name for name in ours.faults if not FAULTS[name].loses),
        thresholds=(1.0, 10.0, 30.0),
        tampering=Tampering(is_fenced=False, attempts=3),
    )


def _run(options: Options, console: Console) -> Outcome:
    with replicated_cluster() as cluster, Run(options, cluster, console.print) as run:
        return outcome_of(options, run.run())


def _faults(parser: argparse.ArgumentParser, text: str) -> tuple[str, ...]:
    if text in ("all", "none"):
        return tuple(FAULTS) if text == "all" else ()
    names = tuple(name.strip() for name in text.split(";"))
    if unknown := [name for name in names if name not in FAULTS]:
        parser.error(
            f"--faults: no such fault: {', '.join(unknown)}; there are {'; '.join(FAULTS)}"
        )
    return names


if __name__ == "__main__":
    sys.exit(main())
