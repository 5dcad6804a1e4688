"""Which items are chosen, and how counts are added up."""

from base64 import b64encode
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from dynamirror.inspection.judgement import ViolationKind
from dynamirror.inspection.sampling import canonical_key, is_sampled, key_hash
from dynamirror.inspection.tally import STALENESS_BOUNDS, Tally, ViewTally, Violation, merged

KEYS = ("pk", "sk")


def key(number: int) -> bytes:
    """Return a canonical key."""
    return canonical_key({"pk": {"S": f"user-{number}"}}, ("pk",))


def test_a_share_of_the_items_is_chosen_and_a_larger_share_has_all_of_a_smaller_one() -> None:
    chosen = {
        share: {number for number in range(10_000) if is_sampled(key(number), share)}
        for share in (0.01, 0.1, 0.5, 1.0)
    }
    assert [round(len(each) / 1000) for each in chosen.values()] == [0, 1, 5, 10]
    assert 60 < len(chosen[0.01]) < 140
    assert chosen[0.01] < chosen[0.1] < chosen[0.5] < chosen[1.0]


def test_the_choice_is_the_same_in_every_process_and_version() -> None:
    assert [number for number in range(40) if is_sampled(key(number), 0.1)] == [4, 8, 30, 33]
    assert key_hash(key(1)) == "bd5cdc6b8ac1558e"


def test_a_key_is_the_same_in_any_spelling_and_no_two_keys_are() -> None:
    one = {"pk": {"B": b64encode(b"a").decode()}, "sk": {"N": "1"}}
    other: Any = {"sk": {"N": "1.0"}, "pk": {"B": b"a"}, "more": {"S": "x"}}
    assert canonical_key(one, KEYS) == canonical_key(other, KEYS)
    shifted = [{"pk": {"S": "a"}, "sk": {"S": "bc"}}, {"pk": {"S": "ab"}, "sk": {"S": "c"}}]
    assert len({canonical_key(each, KEYS) for each in shifted}) == 2


def tally(table: str, *, asked: int, consistent: int, kind: ViolationKind | None) -> Tally:
    """Return the counts of an inspection of one view."""
    counts = ViewTally.begun((1.0, 60.0))
    counts.checks = asked
    counts.within["60"].asked, counts.within["60"].consistent = asked, consistent
    counts.add_staleness(3.0)
    total = Tally(0.5, 100.0, 200.0, {table: {"default": counts}})
    if kind is not None:
        named: Any = {"at": 150.0, "table": table, "view": "default", "item": "00", "age": 60.0}
        total.add_violation(Violation(**named, kind=kind, expected="c", seen="r"))
    return total


def test_counts_of_several_inspections_are_added() -> None:
    one = tally("users", asked=100, consistent=99, kind=ViolationKind.MISSING)
    two = tally("users", asked=50, consistent=50, kind=None)
    other = tally("orders", asked=1, consistent=1, kind=None)
    total = merged([one, two, other])
    assert total.total.checks == 151
    assert total.violations == 1
    found = total.to_json()
    within = found["tables"]["users"]["default"]["within"]["60"]
    assert (within["asked"], within["consistent"]) == (150, 149)
    assert within["proven"] == "at least 1.5 nines (95%), 150 checks, 1 failed"
    assert found["violations"] == {kind.value: int(kind == "missing") for kind in ViolationKind}
    assert found["staleness"]["counts"][STALENESS_BOUNDS.index(5.0)] == 3
    assert [each["kind"] for each in found["recent"]] == ["missing"]
    assert one.total.checks == 100, "what is added is not changed"


@given(st.lists(st.integers(0, 100), max_size=5))
def test_json_says_the_same_after_a_round_trip(asked: list[int]) -> None:
    parts = [tally("users", asked=each, consistent=each, kind=None) for each in asked]
    total = merged(parts)
    again = msgspec.json.decode(msgspec.json.encode(total), type=Tally)
    assert again.to_json() == total.to_json() == total.copy().to_json()
    assert total.total.checks == sum(asked)
