"""What a job over a whole table takes in AWS: backfill, sweep, verification, audit."""

from collections.abc import Sequence
from math import ceil
from typing import Final

import msgspec

from dynamirror.costs import figures, prices
from dynamirror.costs.prices import MILLION, Price

# Assumed: a request to DynamoDB, until its answer is there.
PAGE_WAIT_US: Final = 50_000.0  # a page of Scan, of 1 MB
LOOK_UP_WAIT_US: Final = 10_000.0  # a BatchGetItem, of 100 items
# An invocation of 15 minutes keeps a part of its time for its end.
INVOCATION_SECONDS: Final = 880
# The prices that a job's dollars are made of, with the quantity of each.
_Quantities = Sequence[tuple[Price, float]]


class JobCost(msgspec.Struct, frozen=True, kw_only=True):
    """What a job takes for an item, as `make scale` measures it.

    Args:
        name: the job.
        worker_us: CPU time of the workers in microseconds, with what boto3 takes.
        commands: commands to the cache.
        kilobytes: data from and to the cache in KB.
        scripts: those of the commands that run a script.
        keys: keys that are listed.
        read_units: read units.
        pages: pages of Scan.
        look_ups: requests of BatchGetItem.
        transitions: transitions of the state machine that each invocation costs.
    """

    name: str
    worker_us: float
    commands: float
    kilobytes: float
    scripts: float
    keys: float
    read_units: float
    pages: float
    look_ups: float
    transitions: float

    @property
    def microseconds(self) -> float:
        """Return the time of one worker for an item in microseconds, with its waits."""
        waits = (
            self.commands * figures.RECORD_WAIT_US
            + self.pages * PAGE_WAIT_US
            + self.look_ups * LOOK_UP_WAIT_US
        )
        return self.worker_us + waits

    @property
    def ecpus(self) -> float:
        """Return the ECPUs of an item.

        A command counts 1, or its time in that of a SET; all count at least their data.
        """
        counted = self.commands + self.scripts * (figures.CHANGE_ECPUS - 1)
        return max(self.kilobytes, counted + self.keys * figures.SCANNED_KEY_ECPUS)


class Forecast(msgspec.Struct, frozen=True):
    """What a job over a table takes.

    Args:
        lambda_hours: hours of all invocations together.
        read_units: read units.
        ecpus: ECPUs.
        gb_seconds: GB-seconds of Lambda.
        invocations: invocations.
        transitions: transitions of the state machine.
        dollars: what all that costs.
    """

    lambda_hours: float
    read_units: float
    ecpus: float
    gb_seconds: float
    invocations: int
    transitions: float
    dollars: float

    def hours(self, concurrency: int) -> float:
        """Return the hours that the job takes with some invocations at a time."""
        return self.lambda_hours / concurrency

    def ecpus_a_second(self, concurrency: int) -> float:
        """Return the ECPUs that the job takes each second meanwhile."""
        return self.ecpus / (self.hours(concurrency) * 3600)

    def read_units_a_second(self, concurrency: int) -> float:
        """Return the read units that the job takes each second meanwhile."""
        return self.read_units / (self.hours(concurrency) * 3600)


def forecast(job: JobCost, items: float, *, memory_mb: int = figures.OPERATOR_MB) -> Forecast:
    """Return what a job takes for a table.

    Args:
        job: the job.
        items: items of the table, of the measured size.
        memory_mb: memory of the worker in MB; less than one vCPU's would take longer.
    """
    seconds = items * job.microseconds / 1e6
    invocations = ceil(seconds / INVOCATION_SECONDS)
    gb_seconds = seconds * memory_mb / 1024
    transitions = invocations * job.transitions
    bill: _Quantities = (
        (prices.REQUESTS, invocations / MILLION),
        (prices.GB_SECONDS_ARM64, gb_seconds),
        (prices.READ_UNITS, items * job.read_units / MILLION),
        (prices.ECPUS, items * job.ecpus / MILLION),
        (prices.TRANSITIONS, transitions / MILLION),
    )
    return Forecast(
        lambda_hours=seconds / 3600,
        read_units=items * job.read_units,
        ecpus=items * job.ecpus,
        gb_seconds=gb_seconds,
        invocations=invocations,
        transitions=transitions,
        dollars=sum(price.dollars * quantity for price, quantity in bill),
    )
