"""Questions to the cache, as the inspector's messages carry them between invocations.

A message holds keys, versions and digests of values, and no values.
"""

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from math import floor
from typing import Annotated, Final, Self

import msgspec

from dynamirror.errors import ConfigError, RecordError
from dynamirror.functions.environment import convert
from dynamirror.inspection.expectation import Expectation
from dynamirror.inspection.judgement import DEFAULT_THRESHOLDS
from dynamirror.inspection.pending import NEVER
from dynamirror.inspection.watch import check_thresholds
from dynamirror.records.attribute_value import Item
from dynamirror.validation import Name

# SQS counts a message of more than 64 KB as several.
_MOST, _MOST_BYTES = 100, 60_000
# SQS's limit.
_LONGEST_DELAY: Final = 900


class InspectorSettings(
    msgspec.Struct, frozen=True, rename=lambda name: f"DYNAMIRROR_INSPECTOR_{name.upper()}"
):
    """Settings of the inspector, in the environment as DYNAMIRROR_INSPECTOR_….

    Args:
        queue: URL of the queue in which questions wait.
        judge: name of the function that asks the cache.
        share: share of the items that are inspected.
        thresholds: ages of a change at which the cache is asked, in seconds, separated by commas.
    """

    queue: Name = ""
    judge: Name = ""
    share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.01
    thresholds: Name = ",".join(f"{each:g}" for each in DEFAULT_THRESHOLDS)

    @classmethod
    def from_env(cls) -> Self:
        """Read the settings from the environment.

        Raises:
            ConfigError: a setting is wrong.
        """
        names = cls.__struct_encode_fields__
        variables = {name: os.environ[name] for name in names if os.environ.get(name)}
        settings: Self = convert(variables, cls, "environment")
        return settings

    @property
    def ages(self) -> tuple[float, ...]:
        """Return the thresholds as numbers.

        Raises:
            ConfigError: they are none.
        """
        try:
            ages = tuple(map(float, self.thresholds.split(",")))
        except ValueError:
            raise ConfigError(
                "environment: DYNAMIRROR_INSPECTOR_THRESHOLDS: must be seconds separated by "
                f"commas, not {self.thresholds!r}"
            ) from None
        check_thresholds(ages)
        return ages


class Question(msgspec.Struct, omit_defaults=True):
    """An expectation that waits.

    Args:
        expectation: the expectation.
        item: primary key of the item.
        seen: text of the newest change that the fence has shown so far; empty for none.
        shown: number of the last threshold at which the entry was consistent, NEVER or BEFORE.
    """

    expectation: Expectation
    item: Item
    seen: str = ""
    shown: int = NEVER


class Questions(msgspec.Struct, omit_defaults=True):
    """Questions about changes of one second, which are due at the same time.

    Args:
        table: name of the table.
        base: when the age of the changes is 0, in seconds since 1970.
        questions: the questions.
        stage: number of the next threshold.
        is_new: whether nobody has counted them yet.
    """

    table: str
    base: float
    questions: list[Question]
    stage: int = 0
    is_new: bool = True

    def delay(self, ages: tuple[float, ...], now: float) -> int:
        """Return the whole seconds that a message waits; what comes too early waits for the rest.

        Args:
            ages: the thresholds, in seconds.
            now: seconds since 1970.
        """
        seconds = floor(self.base + ages[self.stage] - now)
        return max(0, min(seconds, _LONGEST_DELAY))

    def to_json(self) -> str:
        """Return the text of a message."""
        return _encode(self).decode()

    @classmethod
    def from_json(cls, text: str) -> "Questions":
        """Read the text of a message.

        Raises:
            RecordError: the text is none.
        """
        try:
            return _decode(text)
        except msgspec.DecodeError as error:
            raise RecordError(f"message: cannot be read: {error}") from None


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Questions).decode


def all_questions(data: object) -> list[Questions]:
    """Return the messages in an event of the judge, or in its answer.

    Raises:
        ConfigError: they are none.
    """
    messages: list[Questions] = convert(data, list[Questions], "event")
    return messages


def divided(table: str, base: float, questions: Iterable[Question]) -> Iterator[Questions]:
    """Yield questions in messages that are not too large."""
    waiting = iter(questions)
    while some := list(islice(waiting, _MOST)):
        part: list[Question] = []
        size = 0
        for question in some:
            size += len(_encode(question))
            if part and size > _MOST_BYTES:
                yield Questions(table, base, part)
                part, size = [], len(_encode(question))
            part.append(question)
        yield Questions(table, base, part)
