"""Every whole-table job, in short invocations that are killed, over tables that fit into a test."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from scale.caches import servers
from scale.jobs import Jobs
from scale.run import run
from scale.sandboxes import Sandboxes
from scale.table import NAME

from scale import boto3_cost, definitions, document, results

if TYPE_CHECKING:
    from scale.results import Results


@pytest.fixture(scope="module")
def machines() -> Mapping[str, Any]:
    """Return the state machines, which take CDK some seconds."""
    return definitions.read()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, machines: Mapping[str, Any]) -> "Results":
    """Run all jobs, at two sizes on one node, and at one on three."""
    options = argparse.Namespace(
        sizes=(3_000, 6_000),
        several=1_000,
        parts=4,
        audit_parts=4,
        workers=2,
        limit=0.15,
        grace=30.0,
        kills=2,
        seed=18,
    )
    log = tmp_path_factory.mktemp("scale") / "functions.log"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boto3_cost, "_LOOKED_UP", 300)  # more of them only make the figure steadier
        return run(options, machines, log)


def test_jobs_that_are_killed_anywhere_end_with_an_exact_mirror(made: "Results") -> None:
    assert {job.name for job in made.jobs} >= {"backfill and sweep", "rebuild after a flush"}
    assert [job.wrong for job in made.jobs if job.wrong] == []
    assert {job.nodes for job in made.jobs} == {1, 3}
    assert [job.name for job in made.jobs if not job.kills and "no kills" not in job.name] == []


def test_a_difference_that_is_missed_and_one_that_was_not_planted_are_wrong_results(
    machines: Mapping[str, Any], tmp_path: Path
) -> None:
    items = 400
    with servers(1) as cache:
        environment = {**cache.settings.to_env(), "DYNAMODB_TABLE": NAME, "AWS_REGION": "us-east-1"}
        with Sandboxes(
            environment,
            items=items,
            seed=18,
            seconds=30,
            grace=30,
            kill_every=None,
            log=tmp_path / "log",
        ) as sandboxes:
            jobs = Jobs(cache, sandboxes, machines, items=items, seed=18, concurrency=1)
            assert jobs.backfill(1).wrong == []
            assert jobs.verify(2).wrong == []
            cache.flush()
            found = jobs.verify(2).wrong
            jobs.close()
    assert found == [
        f"missing: {items - 40}, not 40",
        "different: 0, not 40",
        "left_over: 0, not 40",
        f"entries: 0, not {items - 40}",
    ]


def test_an_invocation_ends_in_time_and_the_next_one_goes_on(made: "Results") -> None:
    whole = [job for job in made.jobs if job.name == "verify, 1 part, no kills"]
    assert [job.timeouts for job in made.jobs if job.timeouts] == []
    assert all(job.resumed > job.kills for job in whole)


def test_what_a_job_costs_does_not_grow_with_the_table_or_the_parts(made: "Results") -> None:
    units = [promise for promise in made.promises() if "read units" in promise.name]
    assert units
    # A killed invocation reads some of its pages again: in so small a table, that is much.
    assert [promise.name for promise in units if promise.value > 2] == []


def test_the_costs_in_aws_follow_from_what_was_measured(made: "Results") -> None:
    for job in made.costs():
        assert job.worker_us > 0
        assert job.ecpus > 0
    assert "100 million" in document.render(made)


def test_the_record_is_read_as_it_was_written(made: "Results", tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    results.write(made, path)
    again = results.read(path)
    assert [job.name for job in again.jobs] == [job.name for job in made.jobs]
    assert len(again.promises()) == len(made.promises())


def test_the_page_and_its_picture_are_those_of_the_recorded_run() -> None:
    recorded = results.read()
    assert document.PAGE.read_text(encoding="utf-8") == document.render(recorded), (
        "run python -m scale.document"
    )
    assert recorded.fingerprint() in document.PICTURE.read_text(encoding="utf-8")


def test_the_recorded_run_kept_its_promises_of_exactness() -> None:
    assert [job.wrong for job in results.read().jobs if job.wrong] == []
