"""Seeded runs of everything that can go wrong, against a live writer: `make chaos`.

Each run ends with a comparison of all of the table with all of the cache.
"""

import argparse
import json
import random
import statistics
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from chaos.faults import FAULTS
from chaos.repairer import Repairer
from chaos.world import World, Writer

REPORT = Path(__file__).parent.parent / "docs" / "reliability.md"
_SHORTEST, _LONGEST = 0.3, 1.5
_BOTH = 0.3


@dataclass
class Run:
    """What came of one run.

    Args:
        seed: what it was drawn from.
        faults: kind to number of times.
        recovery: kind to seconds from lifting the fault until a new write showed in the cache.
        written: changes written to the table.
        applied: entries applied to the cache.
        stale: replays that the fence refused.
        restarts: times the mirror gave up and was started again.
        verified: parts that `verify --repair` went through meanwhile.
        resumed: times that a fault interrupted it, and it resumed.
        repaired: entries that it wrote or deleted; changes were on their way to most.
        items: items in the table at the end.
        differences: entries that were not as the table says at the end.
    """

    seed: int
    faults: dict[str, int] = field(default_factory=dict)
    recovery: dict[str, list[float]] = field(default_factory=dict)
    written: int = 0
    applied: int = 0
    stale: int = 0
    restarts: int = 0
    verified: int = 0
    resumed: int = 0
    repaired: int = 0
    items: int = 0
    differences: int = 0


def run(world: World, seed: int, seconds: float) -> Run:
    """Do harm for a while, then compare."""
    result = Run(seed)
    rng = random.Random(seed)
    world.begin(f"chaos-{seed}-{time.time_ns()}")
    world.canary("begin")
    writer = Writer(world, random.Random(rng.random()))
    writer.start()
    repairer = Repairer(world)
    repairer.start()
    deck: list[str] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        # Every kind comes up once before any comes up again.
        deck = deck or rng.sample(list(FAULTS), len(FAULTS))
        kinds = [deck.pop()]
        if deck and rng.random() < _BOTH and deck[-1].split(":")[0] != kinds[0].split(":")[0]:
            kinds.append(deck.pop())
        with ExitStack() as harm:
            for kind in kinds:
                harm.enter_context(FAULTS[kind](world, rng))
                result.faults[kind] = result.faults.get(kind, 0) + 1
            time.sleep(rng.uniform(_SHORTEST, _LONGEST))
        recovered = world.canary(f"canary-{sum(result.faults.values())}")
        for kind in kinds:
            result.recovery.setdefault(kind, []).append(recovered)
    repairer.stop()
    writer.stop()
    result.verified, result.resumed = repairer.parts, repairer.resumed
    result.repaired = repairer.repaired
    comparison = world.settled()
    result.written = writer.written
    result.items, result.differences = comparison.items, comparison.differences
    time.sleep(0.3)  # the mirrors' last reports
    result.applied, result.stale = world.counted("applied"), world.counted("stale")
    result.restarts = world.restarts
    world.end()
    return result


def table_of(runs: list[Run]) -> list[tuple[str, ...]]:
    """Faults by kind: how many, and how soon a new write showed once each was lifted."""
    rows: list[tuple[str, ...]] = []
    for kind in FAULTS:
        seconds = [value for one in runs for value in one.recovery.get(kind, [])]
        if seconds:
            count = sum(one.faults[kind] for one in runs if kind in one.faults)
            median = f"{statistics.median(seconds):.2f} s"
            rows.append((kind, f"{count}", median, f"{max(seconds):.2f} s"))
    return rows


def totals_of(runs: list[Run]) -> dict[str, int]:
    """The sums over all runs."""
    names = (
        *("written", "applied", "stale", "restarts"),
        *("verified", "resumed", "repaired", "differences"),
    )
    sums = {name: sum(getattr(one, name) for one in runs) for name in names}
    return {"runs": len(runs), "faults": sum(sum(one.faults.values()) for one in runs)} | sums


def markdown(runs: list[Run], seconds: float) -> str:
    """The page docs/reliability.md."""
    rows = "\n".join("| " + " | ".join(row) + " |" for row in table_of(runs))
    return _PAGE.format(
        seeds=f"{runs[0].seed} to {runs[-1].seed}", seconds=seconds, rows=rows, **totals_of(runs)
    )


_PAGE = """# Reliability, measured

Made by `make chaos SEEDS={runs} SECONDS={seconds:g}` (seeds {seeds}). The runs use a real
Valkey cluster of three nodes, an emulated table behind a proxy that injects faults, and
`dynamirror run` as a separate process. Meanwhile a writer makes 150 random changes a second to 40
items. Ten views of every kind show these items (`chaos/mirror.toml`), among them a collection,
indexes of other attributes, leaderboards and entries that expire.

Beside all that, `verify --repair` goes through the table by segments and through the cache by
slots, again and again. It resumes where a fault interrupts it. Differences have half a second to
settle, so it also repairs entries whose changes are on their way. Each run ends with a comparison
of the whole table with the whole cache, in every view.

| over all runs | |
|---|---|
| runs | {runs} |
| faults injected | {faults} |
| changes written to the table | {written:,} |
| entries applied to the cache | {applied:,} |
| replays that the fence refused | {stale:,} |
| times the mirror gave up and was started again | {restarts} |
| parts that `verify --repair` compared | {verified:,} |
| times that it was interrupted and resumed | {resumed:,} |
| entries that it repaired | {repaired:,} |
| **differences at the end** | **{differences}** |

Recovery is the time from the end of a fault until a write made then shows in the cache. Sometimes
two faults occur at once; then both get the same time. A mirror that is killed loses its counts of
the last tenth of a second.

| fault | times | recovery p50 | recovery max |
|---|---|---|---|
{rows}
"""


def main() -> int:
    """Run, print, write the page; fail if anything differs in the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="how many runs")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--seconds", type=float, default=20, help="how long each does harm")
    parser.add_argument("--json", action="store_true", help="print JSON, write no page")
    options = parser.parse_args()
    console = Console(stderr=options.json)
    runs = []
    with World() as world:
        for seed in range(options.first, options.first + options.seeds):
            runs.append(run(world, seed, options.seconds))
            last = runs[-1]
            console.print(
                f"seed {seed}: {sum(last.faults.values())} faults, {last.written:,} written, "
                f"{last.applied:,} applied, {last.stale:,} stale, {last.items} items, "
                f"{last.differences} differences",
                highlight=False,
            )
    if options.json:
        print(json.dumps({**totals_of(runs), "each": [asdict(one) for one in runs]}))
    else:
        table = Table("fault", "times", "recovery p50", "recovery max")
        for row in table_of(runs):
            table.add_row(*row)
        console.print(table)
        console.print(", ".join(f"{n:,} {name}" for name, n in totals_of(runs).items()))
        REPORT.write_text(markdown(runs, options.seconds), encoding="utf-8")
    return int(any(one.differences for one in runs))


if __name__ == "__main__":
    sys.exit(main())
