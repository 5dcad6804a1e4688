"""A tiny `make fences`: every form keeps the order, and only keys are evicted."""

import io

import pytest
from bench.fences import FORMS, Cost, measure, table
from rich.console import Console


@pytest.fixture(scope="module")
def costs() -> dict[str, Cost]:
    return {form.name: measure(form, 2_000) for form in FORMS}


def test_a_full_cache_evicts_keys_that_expire_and_no_fields_that_do(
    costs: dict[str, Cost],
) -> None:
    assert {name: cost.evicted > 0.9 for name, cost in costs.items()} == {
        "key, 64 letters": True,
        "key, 29 bytes": True,
        "field, 64 letters": False,
        "field, 29 bytes": False,
    }
    assert costs["field, 64 letters"].evicted == 0


def test_fields_are_no_keys_that_a_scan_passes(costs: dict[str, Cost]) -> None:
    assert costs["key, 64 letters"].scanned_keys == 2
    assert costs["field, 64 letters"].scanned_keys < 1.1


def test_a_shorter_version_takes_less(costs: dict[str, Cost]) -> None:
    assert costs["key, 29 bytes"].size < costs["key, 64 letters"].size
    assert costs["field, 29 bytes"].size < costs["field, 64 letters"].size


def test_the_table_has_a_row_for_each_form(costs: dict[str, Cost]) -> None:
    console = Console(file=io.StringIO(), width=120, record=True)
    console.print(table(list(costs.values())))
    shown = console.export_text()
    assert all(form.name in shown for form in FORMS)


def test_versions_of_either_width_keep_their_order() -> None:
    for form in FORMS:
        versions = [form.version(number) for number in (0, 1, 255, 256, 10**6)]
        assert sorted(versions) == versions
        assert {len(version) for version in versions} in ({64}, {29})
