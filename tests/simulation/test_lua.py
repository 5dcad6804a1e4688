"""The model and the real scripts in a real Valkey, compared state by state."""

import os
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from tests.support.histories import any_history
from tests.support.schedules import Explored, Write

from dynamirror.cache.client import Cache
from dynamirror.cache.scripts import DELETE, PUT, PUT_HASH, Command, Script
from dynamirror.records.version import Version, supersedes
from dynamirror.views.encoding import pack_fields
from dynamirror.views.keyspace import fence_key

SEED = int(os.environ.get("SIMULATION_SEED", "20261123"))
SCHEDULES = 4_000
TTL = 93_600

Value = bytes | dict[bytes, bytes] | None


class Held(NamedTuple):
    """What the cache holds of an item, by the model."""

    value: Value = None
    fence: Version | None = None


class Step(NamedTuple):
    """A write, and the verb that carries it; or the fence expires."""

    write: Write | None
    verb: Script

    def __str__(self) -> str:
        return f"{self.verb.name}:{self.write.name}" if self.write else "fence-expires"

    def after(self, held: Held) -> tuple[bytes, Held]:
        """What the cache answers, by the model, and holds then."""
        if self.write is None:
            return b"", Held(held.value)
        if not supersedes(self.write.version, held.fence):
            return b"stale", held
        return b"applied", Held(self.value(), self.write.version)

    def value(self) -> Value:
        """What the entry is to hold."""
        if self.write is None or self.write.value is None:
            return None
        text = self.write.value.encode()
        return {b"value": text, b"field of " + text: text} if self.verb is PUT_HASH else text

    def command(self, key: str) -> Command:
        """The real command; a fence that expires is one that is gone."""
        fence = fence_key(key).encode()
        if self.write is None:
            return Command(key.encode(), (b"DEL", fence))
        value = self.value()
        packed = pack_fields(value) if isinstance(value, dict) else value
        arguments = () if packed is None else (packed,)
        return self.verb.command(key.encode(), fence, str(self.write.version), TTL, *arguments)


class Checked(NamedTuple):
    """A step of a schedule, and what is expected of it."""

    trail: str
    answer: bytes
    held: Held


def schedule(chance: random.Random) -> list[Step]:
    """Some order of some history's writes, with duplicates, and with a fence that expires."""
    history = any_history(chance)
    writes = [*history.changes(), *history.readings()]
    chosen: list[Write | None] = [w for w in writes for _ in range(chance.randint(0, 3))]
    chosen += [None] * chance.choice((0, 0, 0, 1))
    chance.shuffle(chosen)
    return [Step(write, _verb(write, chance)) for write in chosen]


def _verb(write: Write | None, chance: random.Random) -> Script:
    return DELETE if write is None or write.value is None else chance.choice((PUT, PUT_HASH))


def reading(key: str, value: Value) -> tuple[bytes, ...]:
    """The command that reads an entry of the expected type; of another type, it fails."""
    return (b"HGETALL" if isinstance(value, dict) else b"GET", key.encode())


def as_value(answer: Any) -> Any:
    """What was read, as the model writes it."""
    return dict(zip(answer[::2], answer[1::2], strict=True)) if isinstance(answer, list) else answer


def commands(schedules: list[list[Step]], checks: list[Checked]) -> Iterator[Command]:
    """After each step, read entry and fence; notes what is expected."""
    for number, steps in enumerate(schedules):
        key, held, trail = f"schedule-{number}", Held(), ""
        for step in steps:
            trail += f" {step}"
            answer, held = step.after(held)
            checks.append(Checked(f"{key}:{trail}", answer, held))
            yield step.command(key)
            yield Command(key.encode(), reading(key, held.value))
            yield Command(key.encode(), (b"GET", fence_key(key).encode()))


@pytest.fixture
def chance() -> random.Random:
    """Set SIMULATION_SEED to try others."""
    return random.Random(SEED)


def test_the_scripts_do_what_the_model_does_after_every_step(
    cache: Cache, chance: random.Random, tried: list[Explored]
) -> None:
    schedules = [schedule(chance) for _ in range(SCHEDULES)]
    checks: list[Checked] = []
    for script in (PUT, PUT_HASH, DELETE):  # what is sent again loses its place in the order
        cache.broadcast(b"SCRIPT", b"LOAD", script.source)
    answers = iter(cache.execute(commands(schedules, checks)))
    for trail, expected, held in checks:
        answer, value, fence = next(answers), next(answers), next(answers)
        about = f"SIMULATION_SEED={SEED} {trail}"
        assert answer == expected or not expected, about
        assert as_value(value) == held.value, about
        assert fence == (str(held.fence).encode() if held.fence else None), about
    tried.append(Explored(SCHEDULES, len(checks)))


def test_the_sample_has_every_kind_of_step(chance: random.Random) -> None:
    """A sample that left one out would prove nothing of it."""
    met = set()
    for steps in (schedule(chance) for _ in range(SCHEDULES)):
        held = Held()
        for step in steps:
            answer, after = step.after(held)
            if step.write is not None:
                kinds = tuple(str(v)[0] if v else "-" for v in (step.write.version, held.fence))
                met.add((*kinds, step.verb.name, answer))
            held = after
    verbs = [verb.name for verb in (PUT, PUT_HASH, DELETE)]
    assert met == {
        (incoming, fence, verb, answer)
        for incoming in "cr"
        for fence in "cr-"
        for verb in verbs
        for answer in (b"applied", b"stale")
        if (fence, answer) != ("-", b"stale")
    }
