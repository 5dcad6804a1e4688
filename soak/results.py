"""The record of a soak: what became of our own run, and of the original's way beside it."""

import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from dynamirror.inspection import statistics
from dynamirror.inspection.judgement import ViolationKind
from dynamirror.inspection.tally import STALENESS_BOUNDS, Within, threshold_text
from soak.run import Findings, Options
from soak.worker import Counts

PATH: Final = Path(__file__).with_name("results.json")
MINUTE: Final = 60.0
# What a whole run promises.
_LEAST_CHECKS: Final = 3_000_000
_LEAST_RATE: Final = 5_000.0
_MOST_SECONDS: Final = 1_800.0


class Outcome(msgspec.Struct, frozen=True):
    """What one run came to.

    Args:
        seed: the seed.
        thresholds: ages in seconds at which the inspector asked.
        seconds: how long changes were made.
        took: seconds from begin to end.
        written: changes made.
        delivered: what the workers did.
        checks: expectations; each is one independent check, if it is decided.
        skipped: changes that could not be checked.
        violations: violations by kind.
        outside: answers by threshold, while the cache was up.
        inside: answers by threshold, in declared outages and just after them.
        staleness: expectations by the age at which they were first seen consistent.
        faults: how often each fault occurred.
        outages: how many declared outages there were.
        outage_seconds: how long they took, together.
        items: items in the table in the end.
        differences: entries that were not as the table has them in the end.
        cpu_seconds: CPU time by part.
    """

    seed: int
    thresholds: tuple[float, ...]
    seconds: float
    took: float
    written: int
    delivered: Counts
    checks: int
    skipped: int
    violations: dict[str, int]
    outside: dict[str, Within]
    inside: dict[str, Within]
    staleness: list[int]
    faults: dict[str, int]
    outages: int
    outage_seconds: float
    items: int
    differences: int
    cpu_seconds: dict[str, float]

    @property
    def violated_in_outages(self) -> int:
        """Return how many checks were violated at the last threshold in declared outages."""
        return _not_consistent(self.inside, self.thresholds[-1])

    @property
    def violated(self) -> int:
        """Return how many checks were violated, of any kind, while the cache was up."""
        return sum(self.violations.values()) - self.violated_in_outages

    @property
    def rate(self) -> float:
        """Return the changes per second."""
        return self.written / self.seconds

    @property
    def decided(self) -> int:
        """Return how many checks were decided at the last threshold while the cache was up.

        They are what proves.
        """
        return self.outside.get(threshold_text(self.thresholds[-1]), Within()).asked

    @property
    def nines(self) -> float:
        """Return the nines that the decided checks prove at 95 %."""
        return statistics.proven_nines(min(self.violated, self.decided), self.decided)

    def within(self, threshold: float) -> Within:
        """Return all answers at a threshold, in outages or not."""
        name = threshold_text(threshold)
        both = [side.get(name, Within()) for side in (self.outside, self.inside)]
        return Within(
            sum(each.asked for each in both),
            sum(each.consistent for each in both),
            sum(each.undecided for each in both),
        )

    def late_outside(self, threshold: float) -> int:
        """Return how many answers were not consistent while the cache was up."""
        return _not_consistent(self.outside, threshold)

    @property
    def kinds(self) -> str:
        """The kinds of all violations, in outages or not."""
        return ", ".join(f"{count:,} {kind}" for kind, count in self.violations.items() if count)

    def sentence(self) -> str:
        """Return the line that a run ends with."""
        shares = ", ".join(
            f"{share_text(self.within(each))} in {threshold_text(each)} s"
            for each in self.thresholds
        )
        parts = [f"{self.decided:,} checks, {self.violated:,} violations", f"consistent: {shares}"]
        if self.violated_in_outages:
            seconds = f"{self.outage_seconds:,.0f} s"
            parts.append(f"{self.violated_in_outages:,} more in outages of {seconds}")
        if self.kinds:
            parts.append(f"by kind: {self.kinds}")
        return "; ".join([*parts, f"at least {self.nines:.1f} nines (95%)"])

    def missed(self, *, is_whole: bool) -> list[str]:
        """Return the promises that the run did not keep.

        Args:
            is_whole: whether the run was long enough for those of numbers.
        """
        late = self.late_outside(MINUTE)
        promises = {
            f"{self.violated:,} violations outside of outages": self.violated == 0,
            f"{late:,} not shown within a minute outside of outages": late == 0,
            f"{self.differences:,} differences in the end": self.differences == 0,
            f"{self.skipped:,} changes not checked": self.skipped == 0,
        }
        if is_whole:
            promises |= {
                f"{self.decided:,} checks only": self.decided >= _LEAST_CHECKS,
                f"{self.rate:,.0f} changes/s only": self.rate >= _LEAST_RATE,
                f"took {self.took:,.0f} s": self.took <= _MOST_SECONDS,
            }
        return [sentence for sentence, is_kept in promises.items() if not is_kept]


def _not_consistent(side: Mapping[str, Within], threshold: float) -> int:
    answers = side.get(threshold_text(threshold), Within())
    return answers.asked - answers.consistent


class Results(msgspec.Struct, frozen=True):
    """What the page shows.

    Args:
        date: when the run ended, in UTC.
        machine: what it ran on.
        ours: our own run.
        original: the run with the original's way of writing.
    """

    date: str
    machine: dict[str, str]
    ours: Outcome
    original: Outcome


def share_text(answers: Within) -> str:
    """Return the share of consistent answers in percent, never rounded up to all."""
    share = statistics.ratio(answers.consistent, answers.asked)
    if share is None:
        return "nothing asked"
    if share == 1:
        return "100 %"
    digits = 2
    while digits < 8 and float(f"{100 * share:.{digits}f}") == 100:
        digits += 1
    return f"{100 * share:.{digits}f} %"


def outcome_of(options: Options, findings: Findings) -> Outcome:
    """Return the record of a run."""
    total = findings.tally.total
    return Outcome(
        seed=options.seed,
        thresholds=options.thresholds,
        seconds=findings.seconds,
        took=findings.took,
        written=findings.written,
        delivered=findings.delivered,
        checks=total.checks,
        skipped=total.skipped,
        violations={kind.value: total.violations.get(kind.value, 0) for kind in ViolationKind},
        outside=findings.split.outside,
        inside=findings.split.inside,
        staleness=total.staleness,
        faults=findings.faults,
        outages=findings.outages,
        outage_seconds=findings.outage_seconds,
        items=findings.items,
        differences=findings.differences,
        cpu_seconds=findings.cpu_seconds,
    )


def staleness_labels() -> list[str]:
    """Return the names of the buckets of the histogram."""
    bounds = [f"{bound:g}" for bound in STALENESS_BOUNDS]
    return [f"≤ {bounds[0]}", *(f"≤ {bound}" for bound in bounds[1:]), f"> {bounds[-1]}"]


def machine() -> dict[str, str]:
    """Return what this machine is."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "cores": f"{len(os.sched_getaffinity(0))}",
        "cpu": cpu,
        "python": platform.python_version(),
        "load": f"{os.getloadavg()[2]:.1f}",
    }


def now() -> str:
    """Return the date and time in UTC."""
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime())


def read(path: Path = PATH) -> Results:
    """Return the record of the newest run that was published."""
    return msgspec.json.decode(path.read_bytes(), type=Results)


def write(results: Results, path: Path = PATH) -> None:
    """Write the record."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
