"""Walks through every order in which writes can reach the cache.

A script is atomic, so two appliers at once, a crash, a retry and a zombie all amount to some order
of the same writes. Where two orders lead to the same state they are followed as one from there on,
and counted as two.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from dynamirror.records.version import Version, supersedes

S = TypeVar("S", bound=Hashable)
NOTHING = -1


class Explored(NamedTuple):
    """How much was tried: schedules, and the different states they led through."""

    schedules: int
    states: int


class ViolationError(AssertionError):
    """A schedule that breaks a promise, step by step."""

    def __init__(self, promise: str, trail: Sequence[str]) -> None:
        super().__init__(f"{promise}: {' '.join(trail)}")
        self.trail = tuple(trail)


def explore(
    start: S,
    moves: Callable[[S], Iterable[tuple[str, S]]],
    broken: Callable[[S], str | None],
    done: Callable[[S], bool],
) -> Explored:
    """Visit every state that any schedule leads to.

    Args:
        start: the first state.
        moves: what can happen next, by name, and the state after it; must not go on for ever.
        broken: the promise that a state breaks, if any.
        done: whether a schedule may end in that state.

    Raises:
        ViolationError: a schedule leads to a state that breaks a promise.
    """
    counts: dict[S, int] = {}
    trail: list[str] = []

    def visit(state: S) -> int:
        if (known := counts.get(state)) is not None:
            return known
        if promise := broken(state):
            raise ViolationError(promise, trail)
        count = int(done(state))
        for name, after in moves(state):
            trail.append(name)
            count += visit(after)
            trail.pop()
        counts[state] = count
        return count

    return Explored(visit(start), len(counts))


class Write(NamedTuple):
    """One write that may reach the cache: a change or a row.

    Args:
        name: what a trail calls it.
        version: its version.
        value: what the entry is after it; None for nothing.
        includes: how many changes of the history the value includes.
        surely: how many of them it includes for sure, by the time it was read at.
        key: which of the view's keys it concerns, counted from 0.
    """

    name: str
    version: Version
    value: str | None
    includes: int
    surely: int
    key: int = 0


class State(NamedTuple):
    """How often each write may still come, and which write each entry and its fence are from."""

    left: tuple[int, ...]
    held: tuple[int, ...]


class Deliveries:
    """Writes that reach the cache in any order, each up to so many times, or never.

    Args:
        writes: the writes.
        most: how often each comes at the most.
        keys: how many keys they concern.
    """

    def __init__(self, writes: Sequence[Write], most: Sequence[int], *, keys: int = 1) -> None:
        self.writes = tuple(writes)
        self.start = State(tuple(most), (NOTHING,) * keys)
        # By index: of what comes in, then of what is held; the last column is for nothing.
        versions: list[Version | None] = [*(write.version for write in writes), None]
        self.wins = [[supersedes(write.version, held) for held in versions] for write in writes]

    def moves(self, state: State) -> Iterator[tuple[str, State]]:
        """Each write that may still come reaches the cache."""
        left, held = state
        for index, times in enumerate(left):
            if times:
                yield (
                    self.writes[index].name,
                    State(
                        (*left[:index], times - 1, *left[index + 1 :]),
                        self.written(index, held),
                    ),
                )

    def written(self, index: int, held: tuple[int, ...]) -> tuple[int, ...]:
        """What is held once a write has met the fence."""
        key = self.writes[index].key
        if not self.wins[index][held[key]]:
            return held
        return (*held[:key], index, *held[key + 1 :])

    def came(self, left: Sequence[int]) -> Iterator[int]:
        """Which writes have come at least once."""
        return (index for index, times in enumerate(left) if times < self.start.left[index])

    def shown(self, held: int) -> int:
        """How many changes are included in what an entry shows."""
        return self.writes[held].includes if held != NOTHING else 0

    def looks_back(self, state: State) -> str | None:
        """No entry may show less than what has reached it includes for sure."""
        left, held = state
        for index in self.came(left):
            write = self.writes[index]
            if self.shown(held[write.key]) < write.surely:
                return f"older than {write.name} is shown after it came"
        return None
