"""One run: every job, at every size, on one node and on several."""

import argparse
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from scale import boto3_cost
from scale.caches import Servers, servers
from scale.jobs import Job, Jobs
from scale.results import Results, machine
from scale.sandboxes import Sandboxes
from scale.table import NAME, Table

# So few segments that each takes longer than one invocation of a large table.
_SEGMENTS: Final = 4
# To count and list the keys of each slot.
_SLOT_COMMANDS: Final = 2 * 16_384


def run(
    options: argparse.Namespace,
    definitions: Mapping[str, Any],
    log: Path,
    report: Callable[[Job], object] = lambda _job: None,
) -> Results:
    """Run all jobs, and return what was measured.

    Args:
        options: of the command line.
        definitions: the state machines.
        log: receives what the functions print.
        report: called with each job.
    """
    begun, jobs = perf_counter(), list[Job]()
    table = Table(max(options.sizes), options.seed)
    boto3 = boto3_cost.measure(table)
    sizes = [(size, 1) for size in options.sizes]
    if options.several:
        sizes.insert(0, (options.several, 3))
    for size, nodes in sizes:
        is_first = size == options.sizes[0] and nodes == 1
        for job in _jobs(size, nodes, options, definitions, log, with_parts=is_first):
            jobs.append(job)
            report(job)
    return Results(
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        machine=machine(),
        seconds=perf_counter() - begun,
        options={
            "sizes": ", ".join(f"{size:,}" for size in options.sizes),
            "limit": f"{options.limit:g}",
            "kills": f"{options.kills}",
            "workers": f"{options.workers}",
            "seed": f"{options.seed}",
        },
        item_bytes=table.item_bytes,
        boto3=boto3,
        jobs=jobs,
    )


def _jobs(
    size: int,
    nodes: int,
    options: argparse.Namespace,
    definitions: Mapping[str, Any],
    log: Path,
    *,
    with_parts: bool,
) -> Iterator[Job]:
    with servers(nodes) as cache, _sandboxes(cache, size, options, log) as sandboxes:
        jobs = Jobs(
            cache,
            sandboxes,
            definitions,
            items=size,
            seed=options.seed,
            concurrency=options.workers,
        )
        try:
            yield jobs.backfill(_SEGMENTS)
            yield jobs.verify(options.parts)
            if with_parts:
                for parts in (1, options.parts):
                    yield jobs.verify(parts, kills=False)
            yield jobs.audit(options.audit_parts)
            yield jobs.rebuild()
        finally:
            jobs.close()


def _sandboxes(cache: Servers, size: int, options: argparse.Namespace, log: Path) -> Sandboxes:
    environment = {
        **cache.settings.to_env(),
        "DYNAMODB_TABLE": NAME,
        "AWS_REGION": "us-east-1",
        "DYNAMIRROR_AUDIT_PARTS": str(options.audit_parts),
        "DYNAMIRROR_AUDIT_SETTLE": "0",
    }
    return Sandboxes(
        environment,
        items=size,
        seed=options.seed,
        seconds=options.limit,
        grace=options.grace,
        # As often for a large table as for a small one: what is done again grows with the parts.
        # Each of the workers does its share of the commands, and must not be done before.
        kill_every=(size + _SLOT_COMMANDS) // (options.kills + options.workers)
        if options.kills
        else None,
        log=log,
    )
