"""The record of a run, and what is promised of it."""

import hashlib
import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from dynamirror.costs.whole_table import JobCost
from scale.boto3_cost import Boto3Cost
from scale.jobs import UNDISTURBED, Job

PATH: Final = Path(__file__).with_name("results.json")
# What is promised, as ratios of one run.
_MOST_TIME: Final = 1.15
_MOST_MEMORY: Final = 1.1
_MOST_COMMANDS: Final = 1.05
_MOST_COST_OF_PARTS: Final = 1.15
_FEWEST_RESUMPTIONS: Final = 5
_LOOKED_UP_AT_ONCE: Final = 100


class Promise(msgspec.Struct, frozen=True):
    """A promise, and what was measured.

    Args:
        name: the promise.
        value: what was measured.
        bound: the most that is promised.
    """

    name: str
    value: float
    bound: float

    @property
    def is_kept(self) -> bool:
        """Return whether the promise is kept."""
        return self.value <= self.bound


class Results(msgspec.Struct, frozen=True):
    """One run.

    Args:
        date: when it ended, in UTC.
        machine: what it ran on.
        seconds: how long it took.
        options: sizes, limit and seed.
        item_bytes: size of an item.
        boto3: CPU time of boto3.
        jobs: the jobs.
    """

    date: str
    machine: dict[str, str]
    seconds: float
    options: dict[str, str]
    item_bytes: int
    boto3: Boto3Cost
    jobs: list[Job]

    @property
    def single(self) -> list[Job]:
        """Return the jobs on a cache of one node."""
        return [job for job in self.jobs if job.nodes == 1]

    @property
    def _workers(self) -> int:
        return max(job.concurrency for job in self.jobs)

    @property
    def cpu_seconds(self) -> float:
        """Return the CPU time of all workers, the stand-in, and the cache."""
        return sum(job.worker_seconds + job.table_seconds + job.server_seconds for job in self.jobs)

    def fingerprint(self) -> str:
        """Return a digest that marks the picture, so that a stale one is found."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()

    def promises(self) -> list[Promise]:
        """Return what is promised, as far as the run measured it."""
        return [*self._by_size(), *self._by_parts(), *self._always()]

    def _by_size(self) -> Iterator[Promise]:
        smallest, largest = (
            {job.name: job for job in self.single if job.items == size}
            for size in (edge(job.items for job in self.single) for edge in (min, max))
        )
        for name, big in largest.items():
            small = smallest.get(name)
            if small is None or small is big:
                continue
            sizes = f"{big.items:,} items to {small.items:,}"
            yield Promise(
                f"{name}: CPU time an item, {sizes}",
                big.paced / small.paced,
                _MOST_TIME,
            )
            yield Promise(
                f"{name}: peak RSS of a worker, {sizes}", big.peak_mb / small.peak_mb, _MOST_MEMORY
            )
            for what, unit in (("commands", "commands"), ("read_units", "read units")):
                per_item = [getattr(job, what) / job.items for job in (big, small)]
                yield Promise(
                    f"{name}: {unit} an item, {sizes}", per_item[0] / per_item[1], _MOST_COMMANDS
                )

    def _by_parts(self) -> Iterator[Promise]:
        compared = [job for job in self.single if job.name.endswith(UNDISTURBED)]
        if len(compared) != 2:
            return
        one, many = sorted(compared, key=lambda job: job.parts)
        what = f"verify with {many.parts} parts, to 1 part, {one.items:,} items"
        for name, ratio in {
            "CPU time": many.paced / one.paced,
            "read units": many.read_units / one.read_units,
            "commands": many.commands / one.commands,
        }.items():
            yield Promise(f"{name} of {what}", ratio, _MOST_COST_OF_PARTS)

    def _always(self) -> Iterator[Promise]:
        yield Promise("jobs with a wrong result", sum(bool(job.wrong) for job in self.jobs), 0)
        late = sum(job.timeouts for job in self.jobs)
        yield Promise("invocations that took longer than they may", late, 0)
        largest = max(job.items for job in self.single)
        whole = [
            job
            for job in self.single
            if job.items == largest and not job.name.endswith(UNDISTURBED)
        ]
        yield Promise(
            f"jobs with {largest:,} items that resumed less than {_FEWEST_RESUMPTIONS} times, "
            "beside those after a kill",
            sum(job.resumed - job.kills < _FEWEST_RESUMPTIONS for job in whole),
            0,
        )
        killable = [job for job in self.jobs if not job.name.endswith(UNDISTURBED)]
        unharmed = sum(not job.kills for job in killable)
        yield Promise("jobs in which no worker was killed", unharmed, 0)

    def costs(self) -> list[JobCost]:
        """Return what each job takes for an item, from the largest table."""
        largest = max(job.items for job in self.single)
        return [
            self._cost(job)
            for job in self.single
            if job.items == largest and not job.name.endswith(UNDISTURBED)
        ]

    def _cost(self, job: Job) -> JobCost:
        boto3 = job.scanned * self.boto3.scanned + job.looked_up * self.boto3.looked_up
        look_ups = job.looked_up / _LOOKED_UP_AT_ONCE
        return JobCost(
            name=job.name,
            worker_us=(job.worker_seconds * 1e6 + boto3) / job.items,
            commands=job.commands / job.items,
            exchanges=job.exchanges / job.items,
            kilobytes=job.megabytes * 1000 / job.items,
            scripts=job.scripts / job.items,
            keys=job.keys / job.items,
            read_units=job.read_units / job.items,
            pages=job.scanned * self.item_bytes / (1 << 20) / job.items,
            look_ups=look_ups / job.items,
            transitions=job.transitions / job.invocations,
            most_workers=job.concurrency if job.concurrency < self._workers else None,
        )


def read(path: Path = PATH) -> Results:
    """Read the record of the newest run.

    Raises:
        msgspec.ValidationError: it is not one.
    """
    return msgspec.json.decode(path.read_bytes(), type=Results)


def write(results: Results, path: Path = PATH) -> None:
    """Write the record, for people and `git diff` too."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(_rounded(results)), indent=1) + b"\n")


def _rounded(results: Results) -> Results:
    """Return the record with numbers of six digits: more would only be noise."""

    def rounded(value: object) -> object:
        return float(f"{value:.6g}") if isinstance(value, float) else value

    jobs = [
        msgspec.structs.replace(
            job, **{name: rounded(getattr(job, name)) for name in job.__struct_fields__}
        )
        for job in results.jobs
    ]
    return msgspec.structs.replace(results, jobs=jobs, seconds=round(results.seconds))


def machine() -> dict[str, str]:
    """Return what this machine is."""
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8") if info.exists() else ""
    names = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    return {
        "cpu": names[0] if names else platform.machine(),
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
    }


def all_kept(promises: Sequence[Promise]) -> bool:
    """Return whether all promises are kept."""
    return all(promise.is_kept for promise in promises)
