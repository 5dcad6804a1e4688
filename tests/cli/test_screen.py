"""The demo's panels fit terminals of every width, and name each figure."""

import ast
import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

from dynamirror.cli.output import fitted
from dynamirror.cli.screen import Screen, live_panel, summary_panel
from dynamirror.demo.totals import Totals
from dynamirror.inspection.tally import Tally, ViewTally, Within

TOTALS = Totals(
    loaded=28_123, written=4_000, applied=3_767, coalesced=48, stale=1_234_567, lags=[0.004, 0.0254]
)
ENTRIES = {"users:1": b'{"id":"1","name":"Ada"}', "users:2": None}
SUMMARY: dict[str, Any] = {
    "loaded": 28_123,
    "written": 4_000,
    "applied": 3_767,
    "coalesced": 48,
    "stale": 0,
    "quarantined": 0,
    "items": 28_172,
    "entries": 28_170,
    "differences": 0,
    "lag_ms": TOTALS.lag_ms(),
}
NINES = "at least 3.1 nines (95%), 4,000 checks"
INSPECTION = Tally(
    tables={
        "users": {
            "users": ViewTally(
                checks=4_012,
                within={
                    "1": Within(4_000, 3_999),
                    "10": Within(2_000, 2_000),
                    "60": Within(),
                },
                violations={"missing": 1},
            )
        }
    }
)
NAMES = ("loaded", "written", "applied", "coalesced", "stale", "quarantined", "failed", "lag p50")
WIDTHS = (120, 80, 40)
SRC = Path(__file__).parents[2] / "src/dynamirror"
SPEAKING = ("cli", "demo", "metrics", "operations", "page", "recovery", "runner", "views")


def shown(panel: RenderableType, width: int) -> list[str]:
    """Return what stands between the borders of a panel on a terminal."""
    console = Console(file=StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(panel, highlight=False)
    assert isinstance(console.file, StringIO)
    lines = console.file.getvalue().splitlines()
    assert all(len(line) <= width for line in lines)
    assert len({len(line) for line in lines}) == 1, "no line sticks out of the frame"
    return [line.strip("│ ") for line in lines]


@pytest.mark.parametrize("width", WIDTHS)
def test_each_figure_of_a_running_demo_has_a_line_with_its_name(width: int) -> None:
    lines = shown(live_panel("writing", TOTALS, ENTRIES, measured=NINES, width=width), width)
    assert len(lines) <= 24, "fits a terminal of the usual height"
    for name in NAMES:
        (line,) = (line for line in lines if line.startswith(name))
        assert "…" not in line
    assert any(line.split()[:2] == ["stale", "1,234,567"] for line in lines)


@pytest.mark.parametrize("width", [120, 80])
def test_each_figure_of_a_running_demo_is_explained_where_there_is_room(width: int) -> None:
    lines = shown(live_panel("writing", TOTALS, ENTRIES, measured=NINES, width=width), width)
    explained = {
        "written": "random writes to the table; some delete nothing",
        "applied": "changes that the cache took",
        "coalesced": "left out: a newer change was in the same batch",
        "stale": "refused: the cache held one at least as new",
        "quarantined": "set aside: cannot become an entry",
        "failed": "not taken at once, and delivered again",
        "lag p99": "from write to cache, for 99 of 100 writes",
    }
    for name, meaning in explained.items():
        assert any(line.startswith(name) and line.endswith(meaning) for line in lines)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_long_value_leaves_room_for_its_key(width: int) -> None:
    entries = {"users:1": b"v" * 500, "order:" + "k" * 100: b"short", "users:3": None}
    lines = shown(live_panel("writing", TOTALS, entries, measured=NINES, width=width), width)
    assert any(line.startswith("users:1 ") and line.endswith("…") for line in lines)
    assert any(line.startswith("order:kkk") and "…  short" in line for line in lines)
    assert any(line.startswith("users:3 ") and line.endswith("(no entry)") for line in lines)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_summary_breaks_no_figure_in_two(width: int) -> None:
    lines = shown(summary_panel(SUMMARY, INSPECTION, width=width), width)
    for figure in (
        *("28,123 loaded", "4,000 written", "28,172 items now"),
        *("3,767 applied", "48 coalesced", "0 stale", "28,170 entries now"),
        *("p50 14.7 ms", "p99 25.2 ms", "all of it: 0 differences"),
    ):
        assert any(figure in line for line in lines), figure


@pytest.mark.parametrize("width", WIDTHS)
def test_the_nines_stand_in_the_panel_and_in_the_summary(width: int) -> None:
    running = live_panel("writing", TOTALS, ENTRIES, measured=NINES, width=width)
    assert NINES in " ".join(" ".join(shown(running, width)).split())
    text = " ".join(" ".join(shown(summary_panel(SUMMARY, INSPECTION, width=width), width)).split())
    assert "measured at least 2.9 nines (95%), 4,000 checks, 1 failed" in text
    assert "99.975% of 4,000 within 1 s" in text
    assert "100% of 2,000 within 10 s" in text
    assert "60 s" not in text, "nothing is that old yet"


@pytest.mark.parametrize("width", WIDTHS)
def test_the_summary_of_several_tables_has_a_line_for_each(width: int) -> None:
    part = {"written": 4_000, "applied": 3_767, "items": 72, "entries": 72, "differences": 1}
    tables = {"cache": part, "customers": part | {"differences": 0}}
    lines = shown(summary_panel(SUMMARY | {"tables": tables}, INSPECTION, width=width), width)
    assert sum(line.startswith("cache ") for line in lines) == 2
    assert sum(line.startswith("customers ") for line in lines) == 1
    for figure in ("4,000 written", "72 items", "72 entries", "1 difference", "0 differences"):
        assert any(figure in line for line in lines), figure


def test_what_the_table_got_is_written_and_what_the_cache_took_is_applied() -> None:
    lines = shown(summary_panel(SUMMARY, INSPECTION, width=80), 80)
    (table,) = (line for line in lines if line.startswith("table"))
    (cache,) = (line for line in lines if line.startswith("cache"))
    assert "4,000 written" in table
    assert "3,767 applied, 48 coalesced" in cache
    assert "written" not in cache


def test_no_text_calls_what_the_cache_took_written() -> None:
    sources = [path for name in SPEAKING for path in (SRC / name).glob("*.py")]
    texts = [
        node.value
        for path in sources
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert len(texts) > 1000
    wrong = re.compile(r"entries (?:not )?written|written to the cache|superseded", re.IGNORECASE)
    assert [text for text in texts if wrong.search(text)] == []


@pytest.mark.parametrize("width", WIDTHS)
def test_text_of_the_table_cannot_disturb_the_panel(width: int) -> None:
    entries = {"[/red]": b"[/x] [bold]", "k\n": b"\x1b[2J\xff" * 100, "long" * 40: b"v" * 500}
    lines = shown(
        live_panel("writing: table [/t]", TOTALS, entries, measured=NINES, width=width), width
    )
    assert any("[/red]" in line and "[/x]" in line for line in lines)
    assert not any("\x1b" in line for line in lines)


@pytest.mark.parametrize("width", WIDTHS)
def test_prose_breaks_between_words_on_a_terminal_only(width: int) -> None:
    text = "table users gets 200 random changes a second; its stream carries them into Valkey"
    file = StringIO()
    Screen(Console(file=file, width=width, force_terminal=True)).say(text, is_prose=True)
    assert file.getvalue().split() == text.split()
    assert all(len(line) <= width for line in file.getvalue().splitlines())
    for is_prose, is_terminal in ((False, True), (True, False)):
        file = StringIO()
        console = Console(file=file, width=width, force_terminal=is_terminal)
        Screen(console).say(text, is_prose=is_prose)
        assert file.getvalue() == f"{text}\n", "what is copied, or read by programs, stays whole"


def test_a_line_is_broken_between_words_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "  stream      arn:aws:dynamodb:us-east-1:000000000000:table/users is read to its end"
    monkeypatch.setenv("COLUMNS", "40")
    assert fitted(line, 14) == line
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    broken = fitted(f"{line}\nshort", 14).splitlines()
    assert broken == [
        "  stream",
        "     arn:aws:dynamodb:us-east-1:000000000000:table/users",
        "     is read to its end",
        "short",
    ]
    monkeypatch.setenv("COLUMNS", "100")
    assert fitted(line, 14) == line
