"""The demo, in process: a live table mirrored, measured and compared."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.deadlines import wait_until
from tests.support.processes import descendants, is_alive, linux_only

from dynamirror.demo import servers
from dynamirror.demo.demo import Demo
from dynamirror.demo.totals import Totals
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB
from dynamirror.errors import ConfigError, DynamirrorError
from dynamirror.runner.delivery import Delivery
from dynamirror.views.view import Schema


def test_a_demo_fills_writes_drains_and_finds_no_difference(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    file.write_text(json.dumps([{"id": f"loaded {number}", "n": number} for number in range(700)]))
    with Demo(ids=10, rate=300, seed=3, load=str(file)) as demo:
        assert list(demo.fill()) == [500, 700]
        gone = list(demo.write(0.5, tick=0.1))
        assert gone == sorted(gone)
        assert gone[-1] >= 0.5
        # Where the loaded items are still on their way, nothing newer shows yet.
        wait_until(lambda: demo.totals.lags or not list(demo.write(0.5)))
        for _ in demo.drain():
            pass
        result = demo.compare()
        assert result.differences == 0
        assert result.items == result.entries >= 700
        assert demo.totals.loaded == 700
        assert demo.totals.written > 0
        assert demo.totals.applied >= 700
        assert (demo.totals.quarantined, demo.totals.failed) == (0, 0)
        assert demo.totals.lags
        assert set(demo.sample_entries()) == {f"users:{number}" for number in range(1, 6)}
        # What is not so must not be said to be well.
        demo.cache.call("users:loaded 1", b"SET", b"users:loaded 1", b"damaged")
        assert demo.compare().sample == {"different": ["users:loaded 1"]}


def test_who_waits_for_a_demo_is_not_disturbed_when_its_replicator_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Demo(ids=1, rate=1, seed=1) as demo:
        demo.stop_replicator()
        begin = Delivery.start

        def start(delivery: Delivery) -> None:
            assert demo.delivery.wait(0), "as somebody does who looks just then"
            begin(delivery)

        monkeypatch.setattr(Delivery, "start", start)
        demo.start_replicator()
        assert not demo.delivery.wait(0)


@linux_only
def test_a_demo_that_fails_to_start_stops_what_it_started(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []

    class Noted(EmbeddedDynamoDB):
        def __init__(self) -> None:
            super().__init__()
            started.extend([self.guard_pid, *descendants(self.guard_pid)])

    def broken() -> None:
        raise DynamirrorError("valkey did not start: no output")

    monkeypatch.setattr(servers, "EmbeddedDynamoDB", Noted)
    monkeypatch.setattr(servers, "EmbeddedValkey", broken)
    with pytest.raises(DynamirrorError, match="valkey did not start"):
        Demo(ids=1, rate=1, seed=1).__enter__()
    assert len(started) == 2
    wait_until(lambda: not any(map(is_alive, started)))


def test_views_of_two_tables_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "mirror.toml"
    views = [f'[[view]]\nname = "{t}"\ntable = "{t}"\nkey = "{t}:{{id}}"\n' for t in ("a", "b")]
    file.write_text("".join(views))
    with pytest.raises(ConfigError, match=r"mirror.toml: names the tables a, b; add a \[\["):
        Demo(ids=1, rate=1, seed=1, view=str(file))


def test_the_table_is_called_as_the_views_say(tmp_path: Path) -> None:
    file = tmp_path / "mirror.toml"
    file.write_text('[[view]]\ntable = "orders"\n')
    assert Demo(ids=1, rate=1, seed=1, view=str(file)).schema.table == "orders"


VIEWS = """
[[view]]
name = "orders"
key = "order:{PK}:{SK}"
when = { SK = { prefix = "ORDER#" } }
"""
TABLE = '[[table]]\nname = "shop"\nkeys = { PK = "S", SK = "S" }\n'


@pytest.mark.parametrize(
    ("views", "key", "table"), [(None, "PK,SK", "users"), (TABLE + VIEWS, None, "shop")]
)
def test_an_export_of_a_table_with_a_sort_key_is_mirrored_under_changes_of_its_items(
    tmp_path: Path, views: str | None, key: str | None, table: str
) -> None:
    rows = [
        {"PK": {"S": f"USER#{user}"}, "SK": {"S": f"{kind}#{number}"}, "n": {"N": str(number)}}
        for user in range(5)
        for kind in ("ORDER", "LINE")
        for number in range(10)
    ]
    (file := tmp_path / "data.json.gz").write_bytes(
        gzip.compress("\n".join(json.dumps({"Item": row}) for row in rows).encode())
    )
    (mirror_toml := tmp_path / "mirror.toml").write_text(views or "")
    view = str(mirror_toml) if views else None
    with Demo(ids=20, rate=300, seed=3, view=view, load=str(file), key=key) as demo:
        assert demo.loaded == f"{file}: 100 items, the key is PK and SK"
        assert demo.schema == Schema(table, ("PK", "SK"), ("S", "S"))
        assert list(demo.fill()) == [100]
        for _ in demo.write(0.5):
            pass
        for _ in demo.drain():
            pass
        result = demo.compare()
        assert (result.differences, result.unmappable) == (0, 0)
        assert 0 < result.entries <= result.items <= 100
        assert demo.totals.written > 0
        assert demo.totals.applied > 0
        assert any(demo.sample_entries().values())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id;name\n1;Ada\n", "1 item, the key is id"),
        ("code,name\n1,Ada\n2,Eve\n", "2 items, the key is id, taken from code"),
    ],
)
def test_a_demo_reports_what_it_loads_and_the_key_it_chose(
    tmp_path: Path, text: str, words: str
) -> None:
    (file := tmp_path / "people.csv").write_text(text)
    assert Demo(ids=1, rate=1, seed=1, load=str(file)).loaded == f"{file}: {words}"


@given(st.lists(st.floats(0, 10), max_size=200))
def test_the_lag_lies_within_what_was_measured(lags: list[float]) -> None:
    lag = Totals(lags=lags).lag_ms()
    if len(lags) < 2:
        assert lag == {"p50": None, "p99": None}
        return
    assert lag["p50"] is not None
    assert lag["p99"] is not None
    assert min(lags) * 1000 - 0.1 <= lag["p50"] <= lag["p99"] <= max(lags) * 1000 + 0.1
