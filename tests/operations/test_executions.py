"""The names of executions: one table's rebuild does not hold up that of another one."""

import re
from uuid import UUID

import pytest

from dynamirror.operations.executions import execution_name, may_rebuild

TABLES = ["a", "a-b", "a_b", "a.b", "none", "rebuild-a", "x" * 255, "x" * 254 + "y"]
ID = UUID("5ca3275b-dcd9-4f91-ab92-07f546767e49")
IDS = ["none-498805", "1790000000-498805", UUID(int=0).hex[:24], ID.hex[:24]]


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("action", ["backfill", "rebuild", "verify", "repair"])
def test_a_rebuild_holds_up_its_own_table_only(action: str, table: str) -> None:
    for id_ in IDS:
        name = execution_name(action, table, id_)
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,80}", name)
        held_up = {other for other in TABLES if may_rebuild(name, other)}
        assert held_up == ({table} if action in {"backfill", "rebuild"} else set())


@pytest.mark.parametrize(
    ("name", "held_up"),
    [
        # Names of the version before.
        ("rebuild-none-498805", True),
        ("rebuild-1790000000-498805", True),
        (f"backfill-{ID}", True),
        (f"verify-{ID}", False),
        (f"repair-{ID}", False),
        ("by-hand", True),
        ("", True),
    ],
)
def test_an_execution_that_names_no_table_may_be_of_any(name: str, *, held_up: bool) -> None:
    assert [may_rebuild(name, table) for table in TABLES] == [held_up] * len(TABLES)
