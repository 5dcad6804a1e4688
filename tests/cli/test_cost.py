"""`dynamirror cost` prints what the model says, and takes items and bytes from a table."""

import json
import re
import sys
from typing import Any
from uuid import uuid4

import pytest

from dynamirror.cli import main
from dynamirror.costs.model import monthly, total
from dynamirror.costs.workload import Workload
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB, create_table


class Run:
    """Runs the command in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def text(self, *arguments: str, status: int | None = 0) -> str:
        """Return what a run prints; errors for another status."""
        self._monkeypatch.setattr(sys, "argv", ["dynamirror", "cost", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        assert (caught.value.code or 0) == status
        output, errors = self._capsys.readouterr()
        return errors if status else output

    def json(self, *arguments: str) -> Any:
        """Return what a run prints with --json."""
        return json.loads(self.text("--json", *arguments))


@pytest.fixture
def cost(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(monkeypatch, capsys)


def test_the_table_has_each_part_the_sum_and_the_alternatives(cost: Run) -> None:
    work = Workload(changes=100, items=2_500_000, window=1, reads=50)
    given = ("--changes", "100", "--items", "2500000", "--window", "1", "--reads", "50")
    lines = cost.text(*given).splitlines()
    for part in monthly(work):
        (line,) = (line for line in lines if line.strip().startswith(f"{part.name} "))
        assert f" {part.dollars:,.2f} " in line
    (line,) = (line for line in lines if line.strip().startswith("sum "))
    assert f"{total(monthly(work)):,.2f}" in line
    text = "\n".join(lines)
    assert "2 nodes cache.t4g.medium" in text
    assert "3 nodes dax.t3.small" in text
    assert "us-east-1, April 2026 to November 2026" in text
    assert "A change waits 0.63 s for Lambda on average, 1.25 s at most" in text


@pytest.mark.parametrize("width", [80, 40])
def test_nothing_is_cut_off_on_a_narrow_terminal(
    cost: Run, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # by which rich takes the output for a terminal
    monkeypatch.setenv("COLUMNS", str(width))
    table = cost.text("--changes", "100").partition("A change waits")[0]
    table = re.sub(r"\x1b\[[0-9;]*m", "", table)
    assert "…" not in table
    assert max(map(len, table.splitlines())) <= width
    words = set(table.split())
    for part in monthly(Workload(changes=100)):
        assert {*part.less.replace("`", "").split(), *part.name.split()} <= words


def test_json_has_the_same_with_prices_dates_and_sources(cost: Run) -> None:
    found = cost.json("--changes", "1000", "--bytes", "2000", "--shards", "8", "--audit-every", "0")
    work = Workload(changes=1_000, item_bytes=2_000, shards=8, audit_minutes=None)
    assert found["total"] == pytest.approx(total(monthly(work)))
    assert [part["name"] for part in found["parts"]] == [part.name for part in monthly(work)]
    assert not [part for part in found["parts"] if part["name"].startswith("auditor")]
    assert {"name", "dollars", "unit", "as_of", "source"} == set(found["prices"][0])
    assert len(found["alternatives"]) == 3
    assert found["region"] == "us-east-1"


def test_lines_of_each_batch_are_counted_if_asked_for(cost: Run) -> None:
    def logs(*arguments: str) -> float:
        parts = cost.json("--changes", "100", *arguments)["parts"]
        (dollars,) = (part["dollars"] for part in parts if part["name"] == "replicator: logs")
        return float(dollars)

    assert logs("--log-batches") > 20 * logs()


def test_a_table_gives_items_and_bytes(
    cost: Run, dynamodb: EmbeddedDynamoDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", dynamodb.endpoint_url)
    client, name = dynamodb.aws.dynamodb(), f"t-{uuid4().hex[:12]}"
    create_table(client, name, {"id": "S"})
    for number in range(3):
        client.put_item(TableName=name, Item={"id": {"S": str(number)}})
    work = cost.json("--table", name)["workload"]
    description = client.describe_table(TableName=name)["Table"]
    size = description["TableSizeBytes"] / 3
    assert (work["items"], work["item_bytes"]) == (3, size)
    work = cost.json("--table", name, "--items", "7", "--bytes", "9")["workload"]
    assert (work["items"], work["item_bytes"]) == (7, 9)


def test_a_missing_table_is_one_sentence(cost: Run, dynamodb: EmbeddedDynamoDB) -> None:
    arguments = ("--table", "nobody", "--endpoint-url", dynamodb.endpoint_url)
    assert cost.text(*arguments, status=1) == (
        "dynamirror: table nobody: it does not exist in this account and region; check the name "
        "and AWS_REGION\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        *(("--changes", value) for value in ("-1", "nan", "inf", "1e9", "many", "")),
        *(("--items", value) for value in ("-1", "nan", "1e13")),
        *(("--bytes", value) for value in ("0", "409601", "nan")),
        *(("--shards", value) for value in ("0", "1.5", "1000000")),
        *(("--window", value) for value in ("-1", "10.5", "nan")),
        ("--reads", "inf"),
        ("--audit-every", "1441"),
    ],
    ids=" ".join,
)
def test_a_value_that_makes_no_sense_is_refused(cost: Run, arguments: tuple[str, ...]) -> None:
    errors = cost.text(*arguments, status=2)
    assert f"Invalid value for '{arguments[0]}'" in " ".join(errors.split())
    assert "Traceback" not in errors
