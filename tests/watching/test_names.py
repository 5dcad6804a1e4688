"""Rules and dashboard use the names that `run --metrics` serves, and the dashboard all of them."""

import runpy
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from tests.support.deadlines import wait_until
from tests.support.processes import environment, linux_only, start
from tests.support.streams import Source
from tests.support.watching import DASHBOARD, ROOT, expressions, names, panels

from dynamirror.cache.client import Cache
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB
from dynamirror.emulators.valkey import EmbeddedValkey

SUFFIXES = ("_bucket", "_count", "_sum")


def samples(url: str) -> set[str]:
    """Return the names of the samples that a scraper gets."""
    accepted = {"Accept": "application/openmetrics-text; version=1.0.0"}
    request = urllib.request.Request(url, headers=accepted)  # noqa: S310 - http, ours
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - same
        parse: Any = text_string_to_metric_families
        families = list(parse(answer.read().decode()))
    return {sample.name for family in families for sample in family.samples}


@pytest.fixture
def url(
    dynamodb: EmbeddedDynamoDB, valkey: EmbeddedValkey, cache: Cache, tmp_path: Path
) -> Iterator[str]:
    """Run a mirror with all that it can measure, and provide the address of its metrics."""
    cache.broadcast(b"CONFIG", b"SET", b"maxmemory", b"1000000000")
    env = environment(
        tmp_path, AWS_ENDPOINT_URL=dynamodb.endpoint_url, **valkey.settings().to_env()
    )
    options = ("--metrics", "0", "--canary", "1", "--inspect", "1")
    process = start("run", "--table", Source(dynamodb).name, *options, env=env)
    try:
        assert process.stdout
        line = next(line for line in process.stdout if line.startswith("metrics at "))
        yield line.split()[-1]
    finally:
        process.kill()
        process.communicate()
        cache.broadcast(b"CONFIG", b"SET", b"maxmemory", b"0")


@linux_only
def test_rules_and_dashboard_name_what_is_served_and_the_dashboard_all_of_it(url: str) -> None:
    used = set().union(*map(names, expressions()))
    wait_until(lambda: used <= samples(url))
    shown = set().union(*(names(target["expr"]) for one in panels() for target in one["targets"]))
    served = {name for name in samples(url) if not name.endswith(SUFFIXES)}
    assert served <= shown


def test_the_dashboard_is_written_from_the_catalogue() -> None:
    program = runpy.run_path(str(ROOT / "deploy/grafana_dashboard.py"))
    assert DASHBOARD.read_text(encoding="utf-8") == program["written"](), (
        "renew it: python deploy/grafana_dashboard.py"
    )


def test_no_panels_overlap_and_each_has_its_own_number() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        mine = {
            (place["x"] + column, place["y"] + line)
            for column in range(place["w"])
            for line in range(place["h"])
        }
        assert not cells & mine
        assert max(column for column, _line in mine) < 24
        cells |= mine
    assert len({panel["id"] for panel in panels()}) == len(panels())
    assert len({panel["title"] for panel in panels()}) == len(panels())


def test_two_mirrors_of_one_table_are_shown_apart_and_each_panel_is_of_the_chosen_ones() -> None:
    for panel in panels():
        assert panel["datasource"]["uid"] == "${datasource}", panel["title"]
        for target in panel["targets"]:
            expression = target["expr"]
            assert target["datasource"]["uid"] == "${datasource}"
            for name in names(expression):
                assert f'{name}{{job=~"$job", table=~"$table"}}' in expression
            if " by (" in expression:
                assert " by (job, table" in expression, panel["title"]
                assert "{{job}} {{table}}" in target["legendFormat"]
