"""The runbook has a page for each alarm, and what it says to type can be typed."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest
import typer
from botocore import xform_name
from tests.support.cloudwatch import Definition

from dynamirror.cli.commands import app
from dynamirror.deployment.overrides import NAMES

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/runbook.md").read_text(encoding="utf-8")
PAGES = dict(re.findall(r"^## ([a-z-]+)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))
PARTS = ("**Means**", "**Readers s", "**No data** ", "**Look**", "ade to happen**")
# What the AWS command line has beside the services' own operations.
CUSTOM = {("logs", "tail"): {"since", "format", "filter-pattern"}}
GLOBAL = {"query", "output"}


def test_each_alarm_has_a_page_and_each_page_an_alarm(alarms: dict[str, list[Definition]]) -> None:
    assert set(PAGES) == set(alarms)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_what_is_needed_at_night(page: str) -> None:
    text = PAGES[page]
    assert [part for part in PARTS if part not in text] == []
    assert "**Fix**" in text or "**fix**" in text
    (made,) = re.findall(r"ade to happen\*\*: (.+?)\n\n", text + "\n\n", re.DOTALL)
    files = re.findall(r"`(tests/[\w/.]+)`", made)
    assert files or "as cache-near-storage-limit" in made
    assert all((ROOT / file).exists() for file in files)


def test_links_lead_somewhere() -> None:
    headings = {
        re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", TEXT, re.MULTILINE)
    }
    for link in re.findall(r"\]\(([^)]+)\)", TEXT):
        file, _, anchor = link.partition("#")
        if link.startswith("#"):
            assert anchor in headings, link
        elif not link.startswith("https://"):
            assert (ROOT / "docs" / file).exists(), link


def commands() -> Iterator[str]:
    """Every command in the runbook, the inner ones first; what they give is a word."""
    blocks = re.findall(r"^```\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```\n.*?^```$", "", TEXT, flags=re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`([^`]+)`", prose)
    for line in (*("\n".join(blocks).replace("\\\n", " ").splitlines()), *inline):
        outer = " ".join(line.split())
        while found := re.search(r"\$\(([^()]*)\)|output\(\) \{ (.*); \}", outer):
            yield found[1] or found[2]
            outer = outer.replace(found[0], "given")
        yield outer


def words(first: str) -> list[list[str]]:
    """The commands that begin with a word, split."""
    found = (shlex.split(one, comments=True) for one in commands() if one.startswith(f"{first} "))
    return [one for one in found if len(one) > 1]


def options(command: list[str]) -> set[str]:
    return {one[2:].partition("=")[0] for one in command if one.startswith("--")}


def test_our_commands_have_these_options() -> None:
    ours: Any = typer.main.get_command(app)
    found = words("dynamirror")
    assert len(found) > 10
    for _name, verb, *rest in found:
        known = {
            option.removeprefix("--")
            for parameter in ours.commands[verb].params
            for option in (*parameter.opts, *parameter.secondary_opts)
        }
        assert options(rest) <= known, (verb, rest)


def test_commands_of_aws_have_these_options() -> None:
    session = botocore.session.get_session()
    found = words("aws")
    assert len(found) > 15
    for _name, service, verb, *rest in found:
        if (service, verb) in CUSTOM:
            known = CUSTOM[service, verb]
        else:
            model: Any = session.get_service_model(service)
            names = {xform_name(name, "-"): name for name in model.operation_names}
            shape = model.operation_model(names[verb]).input_shape
            known = {xform_name(name, "-") for name in (shape.members if shape else ())}
        assert options(rest) - GLOBAL <= known, (service, verb, rest)


def test_options_of_the_stack_are_those_that_it_has() -> None:
    known = set(NAMES)
    asked = set(re.findall(r"-c (\w+)=", TEXT))
    assert len(asked) > 5
    assert asked <= known, asked - known
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`?make ([a-z-]+)", TEXT)) <= targets
