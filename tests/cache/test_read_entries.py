"""How many entries are read at a time, by what the last ones held."""

from collections.abc import Iterable
from typing import Any

import pytest
from tests.support.builders import item, view

from dynamirror.cache.entry_state import EntryLocation, read_entries
from dynamirror.cache.scripts import Command

COUNT = 500


class Answering:
    """A cache whose entries all hold the same value."""

    def __init__(self, value: bytes | None) -> None:
        self.asked: list[int] = []
        self._value = value

    def execute(self, commands: Iterable[Command]) -> list[Any]:
        """Answer commands, and note how many there were."""
        answers = [self._value for _ in commands]
        self.asked.append(len(answers))
        return answers


@pytest.mark.parametrize(
    ("value", "asked"),
    [(None, [100, 400]), (b"x" * 1_024, [100, 400]), (b"x" * 400_000, [100] * 5)],
    ids=["missing", "small", "large"],
)
def test_small_entries_are_read_with_fewer_exchanges_and_large_ones_few_at_a_time(
    value: bytes | None, asked: list[int]
) -> None:
    cache: Any = Answering(value)
    mirrored = view()
    locations = (
        EntryLocation(mirrored, f"users:{number}", item(str(number))) for number in range(COUNT)
    )
    assert [state.value for state in read_entries(cache, locations)] == [value] * COUNT
    assert cache.asked == asked
