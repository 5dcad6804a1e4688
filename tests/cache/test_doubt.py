"""When a mirror is doubtful because its cache evicted keys."""

from collections.abc import Callable

import pytest

from dynamirror.cache import doubt
from dynamirror.cache.client import Cache
from dynamirror.cache.doubt import Evictions, note_part, note_written, noted_evictions
from dynamirror.cache.eviction import NodeMemory, limit, policy
from dynamirror.views.keyspace import evictions_key

TABLE = "users"


def seen(cache: Cache, *counts: int, at: float = 100.0) -> Evictions:
    """What is known once the nodes report counts."""
    nodes = [NodeMemory(f"run-{n}", evicted_keys=count) for n, count in enumerate(counts)]
    return doubt.read_evictions(cache, TABLE, nodes, now=lambda: at)


@pytest.fixture
def note(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Evictions]:
    """Note what the nodes report at some time."""

    def note(*counts: int, at: float, names: str = "abc", pause: float = 0.0) -> Evictions:
        nodes = [NodeMemory(name, evicted_keys=n) for name, n in zip(names, counts, strict=False)]
        monkeypatch.setattr(doubt, "read_memory", lambda _cache: nodes)
        doubt.note_evictions(cache, TABLE, pause=pause, now=lambda: at)
        return noted_evictions(cache, TABLE)

    return note


def test_a_cache_that_evicted_nothing_is_not_doubted(cache: Cache) -> None:
    assert not seen(cache, 0, 0).is_doubtful
    assert not seen(cache).is_doubtful, "what is not reported is not known"


def test_more_evictions_are_noticed_by_who_only_reads(cache: Cache) -> None:
    assert seen(cache, 0, 3).is_doubtful
    assert not noted_evictions(cache, TABLE).is_doubtful


def test_evictions_are_noted_once(note: Callable[..., Evictions]) -> None:
    assert note(3, at=100).at == 102
    assert note(3, at=200).at == 102
    assert note(4, at=300, pause=500).at == 102
    assert note(4, at=300).at == 302


def test_another_process_of_a_node_counts_from_nothing(note: Callable[..., Evictions]) -> None:
    note(3, at=100)
    assert note(0, at=200, names="b").at == 102, "it has evicted nothing"
    assert note(2, at=300, names="b").at == 302, "it has, though fewer"
    assert note(1, at=400, names="b").at == 402, "its count was reset, and grew again"


def test_a_rebuild_that_began_later_ends_the_doubt(
    cache: Cache, note: Callable[..., Evictions]
) -> None:
    note(3, at=100)
    for as_of, is_doubtful in ((102, True), (103, False), (90, False)):
        note_written(cache, TABLE, as_of)
        assert noted_evictions(cache, TABLE).is_doubtful == is_doubtful
    assert note(4, at=101.5).is_doubtful is False
    assert note(5, at=200).is_doubtful


def audited(cache: Cache, *audits: tuple[int, int], of: int = 3, is_true: bool = True) -> bool:
    """Whether the mirror is doubtful after audits of parts at some times."""
    for part, began in audits:
        note_part(cache, TABLE, part, of, began=began, is_true=is_true)
    return noted_evictions(cache, TABLE).is_doubtful


def test_a_whole_round_of_audits_ends_the_doubt(
    cache: Cache, note: Callable[..., Evictions]
) -> None:
    note(3, at=100)
    assert audited(cache, (1, 110), (2, 120))
    assert not audited(cache, (0, 130))
    assert noted_evictions(cache, TABLE).cleared == 110


@pytest.mark.parametrize(
    "audits",
    [
        [(1, 102), (2, 120), (0, 130)],  # began too early
        [(1, 110), (0, 130), (1, 140)],  # one part failed
        [(1, 110), (2, 120), (2, 130)],
    ],
)
def test_less_than_a_round_does_not(
    cache: Cache, note: Callable[..., Evictions], audits: list[tuple[int, int]]
) -> None:
    note(3, at=100)
    assert audited(cache, *audits)


def test_evictions_within_a_round_begin_it_again(
    cache: Cache, note: Callable[..., Evictions]
) -> None:
    note(3, at=100)
    audited(cache, (1, 110), (2, 120))
    note(4, at=125)
    assert audited(cache, (0, 130), (1, 140))
    assert not audited(cache, (2, 150))


def test_a_part_with_differences_that_stay_begins_it_again(
    cache: Cache, note: Callable[..., Evictions]
) -> None:
    note(3, at=100)
    audited(cache, (1, 110), (2, 120))
    assert audited(cache, (0, 130), is_true=False)
    assert audited(cache, (1, 140), (2, 150))
    assert not audited(cache, (0, 160))


def test_other_parts_than_before_begin_it_again(
    cache: Cache, note: Callable[..., Evictions]
) -> None:
    note(3, at=100)
    audited(cache, (1, 110), (2, 120))
    assert audited(cache, (0, 130), of=1) is False, "one part is all"


def test_what_a_damaged_note_held_is_not_known(cache: Cache) -> None:
    key = evictions_key(TABLE)
    cache.call(key, b"HSET", key, b"counts", b"?", b"at", b"[]", b"round", b"{}")
    assert noted_evictions(cache, TABLE) == Evictions()


def test_the_limit_of_a_cache_is_that_of_all_nodes() -> None:
    nodes = [NodeMemory("a", 100, "noeviction"), NodeMemory("b", 100, "volatile-lru")]
    assert limit(nodes) == 200
    assert policy(nodes) == "noeviction"
    assert limit([*nodes, NodeMemory("c", 0, "allkeys-lru")]) is None
    assert policy([*nodes, NodeMemory("c", 0, "allkeys-lru")]) == "allkeys-lru"
    assert limit([]) is None
    assert policy([*nodes, NodeMemory()]) is None
