"""What the properties of the ground floor range over."""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from decimal import Decimal
from random import Random
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from dynamirror.records.version import ChangeVersion, SnapshotVersion

PROMISE = settings(max_examples=50, database=None)
# For a promise that is asked of many things in turn.
PROMISE_OF_EACH = settings(PROMISE, max_examples=25)

sequences = st.integers(20, 39).flatmap(
    lambda digits: st.integers(10**digits, 10 ** (digits + 1) - 1)
)
seconds = st.integers(0, 10**10 - 1)
change_versions = st.builds(
    ChangeVersion, epoch=st.integers(0, 10**13 - 1), sequence=sequences, created=seconds
)
row_versions = st.builds(SnapshotVersion, as_of=seconds)

# Everything UTF-8 can carry: NUL, combining and astral characters too, but no lone surrogate.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def _spelt(digits: int, exponent: int) -> str:
    return str(digits) if exponent == 0 else f"{digits}E{exponent:+d}"


# In the range and precision that DynamoDB has, as it spells them: 38 digits, 1E-130 to 9.9E+125.
numbers = st.one_of(
    st.integers(-(10**38) + 1, 10**38 - 1).map(str),
    st.builds(_spelt, st.integers(-9, 9), st.integers(-130, 125)),
    st.builds(_spelt, st.integers(10**37, 10**38 - 1), st.integers(-130, 87)),
    st.decimals(-(10**9), 10**9, places=12).map(lambda number: f"{number:f}"),
)
binaries = st.binary(max_size=8)

scalars = st.one_of(
    st.fixed_dictionaries({"S": texts}),
    st.fixed_dictionaries({"N": numbers}),
    st.fixed_dictionaries({"B": binaries}),
    st.fixed_dictionaries({"BOOL": st.booleans()}),
    st.just({"NULL": True}),
)
sets = st.one_of(
    st.fixed_dictionaries({"SS": st.lists(texts, min_size=1, max_size=4, unique=True)}),
    st.fixed_dictionaries({"NS": st.lists(numbers, min_size=1, max_size=4, unique_by=Decimal)}),
    st.fixed_dictionaries({"BS": st.lists(binaries, min_size=1, max_size=4, unique=True)}),
)
values: st.SearchStrategy[dict[str, Any]] = st.recursive(
    scalars | sets,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"L": st.lists(inner, max_size=3)}),
        st.fixed_dictionaries({"M": st.dictionaries(texts, inner, max_size=3)}),
    ),
    max_leaves=8,
)
items = st.dictionaries(texts, values, max_size=5)

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["\ud800", "INSERT", "REMOVE", "1E+9999999", "9" * 50, "-1", "1_0"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["S", "N", "B", "M", "L", "NS", "BS", "NULL", "id", "Keys", "\ud800"]),
            inner,
            max_size=2,
        )
    ),
    max_leaves=5,
)


def retold(value: Mapping[str, Any], random: Random) -> dict[str, Any]:
    """The same value told another way: sets and objects in another order, binary as base64."""
    ((tag, content),) = value.items()
    match tag:
        case "B":
            return {"B": b64encode(content).decode()}
        case "BS":
            return {
                "BS": random.sample([b64encode(each).decode() for each in content], len(content))
            }
        case "SS" | "NS":
            return {tag: random.sample(content, len(content))}
        case "L":
            return {"L": [retold(each, random) for each in content]}
        case "M":
            return {"M": retold_item(content, random)}
        case _:
            return {tag: content}


def retold_item(item: Mapping[str, Any], random: Random) -> dict[str, Any]:
    """The same item told another way."""
    names = random.sample(list(item), len(item))
    return {name: retold(item[name], random) for name in names}


def settled(value: Mapping[str, Any]) -> dict[str, Any]:
    """The value with binary as bytes and sets sorted, so that equal values are equal."""
    ((tag, content),) = value.items()
    match tag:
        case "B":
            return {"B": _bytes(content)}
        case "BS":
            return {"BS": sorted(map(_bytes, content))}
        case "SS" | "NS":
            return {tag: sorted(content)}
        case "L":
            return {"L": [settled(each) for each in content]}
        case "M":
            return {"M": {name: settled(each) for name, each in content.items()}}
        case _:
            return {tag: content}


def _bytes(content: str | bytes) -> bytes:
    return content if isinstance(content, bytes) else b64decode(content, validate=True)


def is_one_sentence(error: BaseException) -> bool:
    """Whether the message reads as one: a single line, no full stop inside or at the end."""
    message = str(error)
    return bool(message) and "\n" not in message and ". " not in message and message[-1] != "."
