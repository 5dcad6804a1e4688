"""The how-to pages work as they are written."""

import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from tests.support.deadlines import wait_until
from tests.support.pasted import paste, script_of, scripts_of
from tests.support.processes import alive, linux_only
from tests.support.written_docs import PAGES, ROOT, blocks

from dynamirror.settings import load_tables, load_views
from dynamirror.views.mirror_toml import parse_tables, parse_views

EXAMPLE = ROOT / "examples/single-table"
# Each page with `bash` blocks, and the module that runs them.
RUN_BY = {
    "load-data.md": "test_howtos.py",
    "single-table.md": "test_howtos.py",
    "testing.md": "test_howtos.py",
    "try.md": "test_tutorial.py",
    "upgrade.md": "test_upgrade.py",
}


def page_blocks(page: str, language: str) -> list[str]:
    """Return the blocks of one language in a page of docs/."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return [block.text for block in blocks(text) if block.language == language]


def test_every_page_with_bash_blocks_is_run_by_a_test() -> None:
    with_blocks = {
        page.name
        for page in PAGES
        if any(block.language == "bash" for block in blocks(page.read_text(encoding="utf-8")))
    }
    assert with_blocks == set(RUN_BY)
    for page, module in RUN_BY.items():
        tests = Path(__file__).with_name(module).read_text("utf-8")
        assert re.search(rf'\bscripts?_of\("{page}"\)', tests)


@linux_only
def test_own_data_of_each_format_is_loaded_and_mirrored(tmp_path: Path) -> None:
    """Run the blocks at once, each in its own shell; the last needs a file of another."""
    *scripts, last = scripts_of("load-data.md")
    with ThreadPoolExecutor() as pool:
        pasted = [*pool.map(partial(paste, folder=tmp_path), scripts), paste(last, tmp_path)]
    assert len(pasted) == 6
    for status, output in pasted:
        assert status == 0, output
        assert output.count("in sync") == 1, output
        assert len(re.findall(r"\b0 differences", output)) == 1, output
    wait_until(lambda: not alive(tmp_path))


@linux_only
def test_the_views_of_a_single_table_design_are_checked_and_mirrored(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    status, output = paste(script_of("single-table.md"), tmp_path)
    assert status == 0, output
    assert "in sync" in output
    wait_until(lambda: not alive(tmp_path))


def test_the_steps_to_a_single_table_design_lead_to_the_example() -> None:
    steps = "\n".join(page_blocks("single-table.md", "toml"))
    file = str(EXAMPLE / "mirror.toml")
    assert parse_views(steps) == load_views(file)
    assert parse_tables(steps) == load_tables(file)


def test_the_picture_shows_what_the_views_make_of_the_items() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs/single_table_picture.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@linux_only
def test_the_application_of_the_example_is_tested_as_shown(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    status, output = paste(script_of("testing.md"), tmp_path)
    assert status == 0, output
    assert re.search(r"\b4 passed", output), output
    wait_until(lambda: not alive(tmp_path))


def test_the_programs_of_the_page_on_testing_are_those_of_the_example() -> None:
    files = [path.read_text(encoding="utf-8") for path in EXAMPLE.glob("*.py")]
    programs = page_blocks("testing.md", "python")
    assert len(programs) == 4
    for program in programs:
        assert any(program.strip() in file for file in files), program


@pytest.mark.parametrize(
    ("page", "common", "details"),
    [
        ("views.md", ["Which items", "Keys", "Expiry", "Collections"], "Edge cases"),
        ("reading.md", ["Read items", "How fresh an answer is"], "In detail"),
    ],
)
def test_the_common_case_comes_before_the_edge_cases(
    page: str, common: list[str], details: str
) -> None:
    """Sections below the details are parts of them, or a reference for another language."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    sections = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert [name for name in sections if name in common] == common
    assert sections.index(details) > max(map(sections.index, common))
    others = {"Connect any client to ElastiCache", "Other languages"}
    assert set(sections[sections.index(details) + 1 :]) <= others
    shown = text.index("\n```") - text.index("# ")
    assert shown < 800  # a program or a view to copy, within the first screen
