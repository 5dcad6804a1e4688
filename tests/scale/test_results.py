"""The promises of `make scale`: a run that breaks one of them misses that one, and no other."""

import msgspec
import pytest
from scale.boto3_cost import Boto3Cost
from scale.jobs import UNDISTURBED, Job
from scale.results import Results, all_kept

SIZES = (1_000_000, 10_000_000)
NAMES = ("backfill", "verify, 64 parts")


def job_of(name: str, items: int, *, nodes: int = 1, parts: int = 64) -> Job:
    """Return a job that costs each item the same."""
    is_undisturbed = name.endswith(UNDISTURBED)
    return Job(
        name=name,
        items=items,
        nodes=nodes,
        parts=parts,
        concurrency=2,
        seconds=items * 30e-6,
        invocations=100,
        transitions=300,
        resumed=0 if is_undisturbed else 20,
        kills=0 if is_undisturbed else 3,
        timeouts=0,
        errors=0,
        invocation_seconds=items * 30e-6,
        worker_seconds=items * 20e-6,
        table_seconds=items * 2e-6,
        server_seconds=items * 10e-6,
        commands=2 * items,
        exchanges=items // 100,
        scripts=items,
        keys=2 * items,
        megabytes=items * 200e-6,
        read_units=items / 40,
        requests=items // 10_000,
        scanned=items,
        looked_up=0,
        peak_mb=50.0,
        memory_mb=items * 500e-6,
        wrong=[],
        yardstick=0.01,
    )


def results_of(**changes: object) -> Results:
    """Return a run; the changes are those of the last job of the largest table."""
    jobs = [job_of("verify, 64 parts", 300_000, nodes=3)]
    jobs += [
        job_of(f"verify, {parts} parts{UNDISTURBED}", SIZES[0], parts=parts) for parts in (1, 64)
    ]
    jobs += [job_of(name, size) for size in SIZES for name in NAMES]
    jobs[-1] = msgspec.structs.replace(jobs[-1], **changes)
    return Results("", {}, 1.0, {}, 100, Boto3Cost(18.0, 24.0), jobs)


def missed(results: Results) -> list[str]:
    """Return the names of the promises that are not kept."""
    names = [promise.name for promise in results.promises() if not promise.is_kept]
    assert all_kept(results.promises()) is not bool(names)
    return names


def test_a_run_whose_costs_grow_as_its_tables_keeps_all_promises() -> None:
    promises = results_of().promises()
    assert len(promises) == 4 * len(NAMES) + 3 + 4
    assert missed(results_of()) == []


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"worker_seconds": 10 * 25e0}, "CPU time an item"),
        ({"server_seconds": 10 * 15e0}, "CPU time an item"),
        ({"yardstick": 0.0086}, "CPU time an item"),
        ({"peak_mb": 55.5}, "peak RSS"),
        ({"commands": 21_100_000}, "commands an item"),
        ({"read_units": 265_000.0}, "read units an item"),
        ({"wrong": ["missing: 39, not 40"]}, "wrong result"),
        ({"timeouts": 1}, "longer than they may"),
        ({"resumed": 7}, "resumed less than 5 times"),
        ({"resumed": 20, "kills": 0}, "no worker was killed"),
    ],
)
def test_a_run_that_breaks_a_promise_misses_it(changes: dict[str, object], name: str) -> None:
    (found,) = missed(results_of(**changes))
    assert name in found


def test_a_machine_that_is_slower_for_a_while_breaks_no_promise() -> None:
    slower = {"worker_seconds": 10 * 30e0, "server_seconds": 10 * 15e0, "yardstick": 0.015}
    assert missed(results_of(**slower)) == []


@pytest.mark.parametrize("field", ["worker_seconds", "read_units", "commands"])
def test_more_parts_that_cost_more_are_a_miss(field: str) -> None:
    results = results_of()
    (index,) = (
        place
        for place, job in enumerate(results.jobs)
        if job.name.endswith(UNDISTURBED) and job.parts == 64
    )
    job = results.jobs[index]
    results.jobs[index] = msgspec.structs.replace(job, **{field: 2 * getattr(job, field)})
    (found,) = missed(results)
    assert "64 parts, to 1 part" in found
