"""A violation raises its alarm, and the runbook's query leads from it to the replicator's batch."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.alarm_watch import Watch
from tests.support.builders import Time, record
from tests.support.judged import questions_of
from tests.support.world import World

from dynamirror import handler
from dynamirror.functions import judge
from dynamirror.inspection import settling
from dynamirror.settings import load_views
from dynamirror.views.view import Schema, Views

RUNBOOK = Path(__file__).parents[2] / "docs/runbook.md"
LAST = 4


@pytest.fixture(autouse=True)
def looks_without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "PAUSES", (0.0, 0.0, 0.0))


def changed(world: World, sequence: int, item_id: str = "1") -> dict[str, Any]:
    """Write an item, and return the record of it."""
    world.put(item_id)
    new = {"id": {"S": item_id}}
    return record(sequence, new) | {"eventSourceARN": world.arn}


def asked(change: dict[str, Any]) -> Any:
    """Return the event that asks for a change at the last age."""
    views = Views(load_views(None), lambda table, _keys: Schema(table, ("id",)))
    return [msgspec.to_builtins(questions_of(change, views, age=600, stage=LAST))]


def test_consistency_violated_is_raised_by_an_entry_that_is_lost(watch: Watch) -> None:
    change = changed(watch.world, 1)
    watch.invoke(handler.handler, {"Records": [change]})
    event = asked(change)
    watch.pass_minutes(3, lambda: watch.invoke(judge.handler, event))
    assert watch.state("consistency-violated") == "OK"
    key = f"{watch.world.table}:1"
    watch.world.cache.call(key, b"UNLINK", key.encode())
    watch.pass_minutes(1, lambda: watch.invoke(judge.handler, event))
    assert watch.state("consistency-violated") == "ALARM"
    watch.invoke(handler.handler, {"Records": [changed(watch.world, 2)]})
    watch.pass_minutes(6, lambda: watch.invoke(judge.handler, event))
    assert watch.state("consistency-violated") == "OK"


def query(number: str) -> str:
    """Return the filter of the runbook's query, for a sequence number."""
    text = RUNBOOK.read_text(encoding="utf-8")
    (found,) = re.findall(r"\| filter (sequence_number .*?)\| sort", text, re.DOTALL)
    return " ".join(found.replace("$NUMBER", number).split())


def fits(line: dict[str, Any], text: str) -> bool:
    """Return whether a line passes a filter of Logs Insights: a missing field fits nothing."""
    names = set(re.findall(r"\w*sequence_number", text))
    values = {name: str(line.get(name, "")) for name in names}
    expression = re.sub(r"(?<![<>])=", "==", text)
    return bool(eval(expression, {"__builtins__": {}}, values))  # noqa: S307 - our own page


def test_one_query_leads_from_a_violation_to_the_batch_that_had_it(
    world: World, sandbox: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    begin = 10**20
    for first in (begin + 10, begin + 20, begin + 30):
        sandbox(log_sequences=True)  # each in one of its own
        records = [changed(world, first + number, str(first + number)) for number in range(3)]
        handler.handler({"Records": records}, Time())
    lost = changed(world, begin + 21, str(begin + 21))
    key = f"{world.table}:{begin + 21}"
    world.cache.call(key, b"UNLINK", key.encode())
    judge.handler(asked(lost), Time())
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (violation,) = [line for line in lines if line.get("message") == "consistency violated"]
    found = [line for line in lines if fits(line, query(violation["sequence_number"]))]
    assert violation in found
    (batch,) = [line for line in found if "Records" in line]
    assert batch["first_sequence_number"] == str(begin + 20)
    assert batch["last_sequence_number"] == str(begin + 22)
    assert batch["Applied"] == 3


def test_the_query_finds_items_in_quarantine_and_batches_that_failed() -> None:
    text = query("120")
    assert fits({"message": "item quarantined", "sequence_number": "120"}, text)
    assert not fits({"message": "item quarantined", "sequence_number": "121"}, text)
    batch = {"first_sequence_number": "110", "last_sequence_number": "120"}
    assert fits({"message": "batch not wholly applied", **batch}, text)
    assert not fits({"message": "mirror incomplete"}, text)
