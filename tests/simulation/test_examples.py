"""The worked examples of docs/ordering.md are true, in the model and in a real Valkey."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.support.histories import EPOCHS, FIRST_SECOND, FIRST_SEQUENCES

from dynamirror.cache.client import Cache
from dynamirror.cache.scripts import DELETE, PUT
from dynamirror.records.version import ChangeVersion, SnapshotVersion, Version, parse, supersedes
from dynamirror.views.keyspace import fence_key

PAGE = Path(__file__).parents[2] / "docs" / "ordering.md"
HEAD = "| # | reaches the cache | answer | entry | fence |\n|---|---|---|---|---|\n"
EXAMPLE = re.compile(rf"\*\*(?P<title>\d+\. [^*]+)\*\*[^|]*?{re.escape(HEAD)}(?P<rows>(?:\|.*\n)+)")
VERSION = re.compile(r"(?:(?P<stream>[cd])(?P<number>\d+)|row)@(?P<second>\d+)")
TTL = 93_600


class Line(NamedTuple):
    """One line of an example."""

    number: str
    comes: str
    answer: str
    entry: str
    fence: str


EXAMPLES = {
    found["title"]: [
        Line(*(cell.strip() for cell in row.strip("|").split("|")))
        for row in found["rows"].splitlines()
    ]
    for found in EXAMPLE.finditer(PAGE.read_text(encoding="utf-8"))
}


class Held(NamedTuple):
    """What the cache holds."""

    entry: str | None = None
    fence: Version | None = None


def version(text: str) -> Version | None:
    """Read `c2@11`, `d1@20`, `row@12` or `none`."""
    if text == "none":
        return None
    found = VERSION.fullmatch(text)
    assert found, text
    second = FIRST_SECOND + int(found["second"])
    if found["stream"] is None:
        return SnapshotVersion(second)
    stream = "cd".index(found["stream"])
    return ChangeVersion(EPOCHS[stream], FIRST_SEQUENCES[stream] + int(found["number"]), second)


def told(line: Line) -> Held:
    """What a line says the cache holds after it."""
    return Held(None if line.entry == "none" else line.entry, version(line.fence))


def written(line: Line) -> tuple[Version, str | None]:
    """The write that a line tells of: its version, and a value or nothing."""
    of, verb, *value = line.comes.split()
    incoming = version(of)
    assert incoming is not None
    assert (verb, len(value)) in {("put", 1), ("delete", 0)}, line
    return incoming, value[0] if value else None


def by_model(line: Line, before: list[Held]) -> tuple[str, Held]:
    """What the model answers to a line, and holds after it."""
    held = before[-1]
    if line.comes == "fence expires":
        return "", Held(held.entry)
    if line.comes.startswith("failover to "):
        return "", before[int(line.comes.split()[-1])]
    incoming, value = written(line)
    if not supersedes(incoming, held.fence):
        return "stale", held
    return "applied", Held(value, incoming)


def by_scripts(cache: Cache, line: Line, before: list[Held]) -> tuple[str, Held]:
    """What the real scripts answer to a line, and the cache holds after it."""
    fence = fence_key("k")
    answer = b""
    if line.comes == "fence expires":
        cache.call("k", b"DEL", fence)
    elif line.comes.startswith("failover to "):
        back = before[int(line.comes.split()[-1])]
        cache.call("k", b"SET", "k", back.entry or "")
        cache.call("k", b"SET", fence, str(back.fence))
    else:
        incoming, value = written(line)
        script, values = (DELETE, ()) if value is None else (PUT, (value,))
        command = script.command(b"k", fence.encode(), str(incoming), TTL, *values)
        (answer,) = cache.execute([command])
    entry, held = cache.call("k", b"GET", "k"), cache.call("k", b"GET", fence)
    return answer.decode(), Held(entry and entry.decode(), held and parse(held.decode()))


@pytest.mark.parametrize("title", EXAMPLES)
def test_a_worked_example_is_true_of_the_model(title: str) -> None:
    before = [Held()]
    for line in EXAMPLES[title]:
        answer, held = by_model(line, before)
        assert (answer, held) == (line.answer, told(line)), line
        before.append(held)


@pytest.mark.parametrize("title", EXAMPLES)
def test_a_worked_example_is_true_of_the_scripts(title: str, cache: Cache) -> None:
    before = [Held()]
    for line in EXAMPLES[title]:
        answer, held = by_scripts(cache, line, before)
        assert (answer, held) == (line.answer, told(line)), line
        before.append(held)


def test_no_worked_example_is_left_out() -> None:
    """All but the last, which is about two keys and is `test_moving.py`'s."""
    assert [title.split(".")[0] for title in EXAMPLES] == [str(n) for n in range(1, 17)]
