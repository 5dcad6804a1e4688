"""The hash-locked requirements: complete, and from no particular place."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))


def pinned(lock: Path) -> set[str]:
    """Return the names of the packages in a lock."""
    return set(re.findall(r"^([a-z0-9-]+)(?===)", lock.read_text(encoding="utf-8"), re.MULTILINE))


def names(requirements: list[str]) -> set[str]:
    """Return the names of required packages, without our own."""
    found = {re.split(r"[^\w.-]", requirement)[0] for requirement in requirements}
    return {re.sub(r"[-_.]+", "-", name).lower() for name in found} - {"dynamirror"}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_has_a_hash_for_each_package_and_names_no_place(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert "//" not in text
    assert not re.search(r"^-", text, re.MULTILINE)
    entries = re.split(r"^(?=\S)", text, flags=re.MULTILINE)[1:]
    assert len(entries) > 20
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []


def test_the_widest_lock_has_every_extra_and_the_development_tools() -> None:
    required = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]]
    for extra in PROJECT["project"]["optional-dependencies"].values():
        required += extra
    assert names(required) - pinned(ROOT / "requirements/dev.txt") == set()


def test_the_demo_needs_no_development_tools() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    demo = pinned(ROOT / "requirements/demo.txt")
    assert names([*extras["cli"], *extras["local"], *extras["page"]]) - demo == set()
    # The demo's own dependencies need these, too.
    shared = {"certifi", "flit-core", "markdown-it-py", "pyyaml"}
    assert names(PROJECT["dependency-groups"]["dev"]) & demo <= shared


def test_the_image_needs_the_command_line_and_traces_in_the_versions_of_the_widest_lock() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    run = pinned(ROOT / "requirements/run.txt")
    needed = [*PROJECT["project"]["dependencies"], *extras["cli"], *extras["otel"]]
    assert names(needed) - run == set()
    assert names([*extras["local"][1:], *extras["cdk"]]) & run == set()
    versions = {
        lock: set(re.findall(r"^\S+==[^ \\]+", (ROOT / lock).read_text("utf-8"), re.MULTILINE))
        for lock in ("requirements/run.txt", "requirements/dev.txt")
    }
    assert versions["requirements/run.txt"] <= versions["requirements/dev.txt"]
