"""The prose check finds each breach of its rules, and every decision has a status."""

import runpy
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from tests.support.written_docs import ROOT

SCRIPT = ROOT / "tools/prose.py"
RULES: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["prose"]
LONG = " ".join(["word"] * (RULES["longest-sentence"] + 1))


def findings(page: str) -> list[tuple[int, str]]:
    return list(runpy.run_path(str(SCRIPT))["findings"](page, RULES))


@pytest.mark.parametrize(
    ("page", "line", "problem"),
    [
        (f"# Title\n\nShort. {LONG}.\n", 3, "26 words in one sentence"),
        (f"- an item\n- {LONG}\n", 2, "26 words in one sentence"),
        (f"| a |\n|---|\n| {LONG} |\n", 3, "26 words in one sentence"),
        ("The log\ntells the reason.\n", 1, "'tells'"),
        ("## What becomes of an item\n", 1, "'What becomes of'"),
        ("It stops. Else it goes on.\n", 1, "'Else'"),
    ],
)
def test_a_breach_is_found_with_its_line(page: str, line: int, problem: str) -> None:
    ((where, found),) = findings(page)
    assert where == line
    assert found.startswith(problem)


@pytest.mark.parametrize(
    "page",
    [
        "Run `make test` first. The file is `.venv/bin/python`.\n",
        f"```\n{LONG} tells\n```\n",
        f"`{LONG} tells` is one word.\n",
        "He retells it.\n",
        f"{' '.join(['word'] * 20)}. {' '.join(['word'] * 20)}.\n",
    ],
)
def test_code_and_short_sentences_pass(page: str) -> None:
    assert findings(page) == []


def test_the_check_fails_with_the_place_of_each_finding(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("Fine.\n\nIt says so.\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(page)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout.startswith("page.md:3: 'says': ")


def test_every_decision_has_a_status_that_leads_somewhere() -> None:
    records = sorted((ROOT / "docs/decisions").glob("*.md"))
    assert records
    for record in records:
        status = record.read_text(encoding="utf-8").split("\n\n")[1]
        assert status.startswith(("**Status.** Accepted", "**Status.** Superseded by [")), record
