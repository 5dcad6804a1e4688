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
# For the answers of one exchange with a cache that is 1 ms away.
EXCHANGE_WAIT_US: Final = figures.BATCH_WAIT_US / 2
# An invocation of 15 minutes keeps a part of its time for its end.
INVOCATION_SECONDS: Final = 880
# The default quota of a table, a second.
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html
TABLE_READ_UNITS: Final = 40_000
# The prices that a job's dollars are made of, with the quantity of each.
_Quantities = Sequence[tuple[Price, float]]


class JobCost(msgspec.Struct, frozen=True, kw_only=True):
    """What a job takes for an item, as `make scale` measures it.

    Args:
        name: the job.
        worker_us: CPU time of the workers in microseconds, with what boto3 takes.
        commands: commands to the cache.
        exchanges: batches of commands whose answers are waited for.
        kilobytes: data from and to the cache in KB.
        scripts: those of the commands that run a script.
        keys: keys that are listed.
        read_units: read units.
        pages: pages of Scan.
        look_ups: requests of BatchGetItem.
        transitions: transitions of the state machine that each invocation costs.
        most_workers: most invocations at a time; None for any number.
    """

    name: str
    worker_us: float
    commands: float
    exchanges: float
    kilobytes: float
    scripts: float
    keys: float
    read_units: float
    pages: float
    look_ups: float
    transitions: float
    most_workers: int | None = None

    @property
    def microseconds(self) -> float:
        """Return the time of one worker for an item in microseconds, with its waits."""
        waits = (
            self.exchanges * EXCHANGE_WAIT_US
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
        seconds: time from its begin to its end.
        limit: what it has to wait for: workers, table or cache.
        read_units: read units.
        ecpus: ECPUs.
        gb_seconds: GB-seconds of Lambda, also for workers that wait.
        invocations: invocations.
        transitions: transitions of the state machine.
        dollars: what all that costs.
    """

    seconds: float
    limit: str
    read_units: float
    ecpus: float
    gb_seconds: float
    invocations: int
    transitions: float
    dollars: float


def forecast(
    job: JobCost,
    items: float,
    *,
    workers: int,
    parts: int = 1,
    cache_seconds: float = 0.0,
    memory_mb: int = figures.OPERATOR_MB,
) -> Forecast:
    """Return what a job takes for a table.

    Args:
        job: the job.
        items: items of the table, of the measured size.
        workers: invocations at a time.
        parts: parts of the job; each has an invocation of its own at least.
        cache_seconds: the time until the cache has given the job's ECPUs, if it limits them.
        memory_mb: memory of the worker in MB; less than one vCPU's would take longer.
    """
    workers = min(workers, job.most_workers or workers)
    read_units, ecpus = items * job.read_units, items * job.ecpus
    limits = {
        "workers": items * job.microseconds / MILLION / workers,
        "table": read_units / TABLE_READ_UNITS,
        "cache": cache_seconds,
    }
    limit = max(limits, key=limits.__getitem__)
    seconds = limits[limit]
    invocations = ceil(seconds * workers / INVOCATION_SECONDS) + parts
    gb_seconds = seconds * workers * memory_mb / 1024
    transitions = invocations * job.transitions
    bill: _Quantities = (
        (prices.REQUESTS, invocations / MILLION),
        (prices.GB_SECONDS_ARM64, gb_seconds),
        (prices.READ_UNITS, read_units / MILLION),
        (prices.ECPUS, ecpus / MILLION),
        (prices.TRANSITIONS, transitions / MILLION),
    )
    return Forecast(
        seconds=seconds,
        limit=limit,
        read_units=read_units,
        ecpus=ecpus,
        gb_seconds=gb_seconds,
        invocations=invocations,
        transitions=transitions,
        dollars=sum(price.dollars * quantity for price, quantity in bill),
    )
