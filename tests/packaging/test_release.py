"""One version everywhere, and a dated list of its changes."""

import re
import tomllib
from datetime import date
from pathlib import Path

from dynamirror import __version__

ROOT = Path(__file__).parents[2]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
# A section for what comes next may precede the releases.
RELEASES = re.findall(r"^## (\d\S*) - (\S+)$", CHANGELOG, re.MULTILINE)


def test_package_and_project_have_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == __version__


def test_the_newest_release_in_the_changelog_is_this_version_and_has_a_date() -> None:
    headings = re.findall(r"^## (.*)$", CHANGELOG, re.MULTILINE)
    assert len(headings) - len(RELEASES) in (0, headings.count("Unreleased"))
    assert RELEASES[0][0] == __version__
    days = [date.fromisoformat(day) for _version, day in RELEASES]
    assert days == sorted(days, reverse=True)
