"""Lambda's event filter: which records the views need, as AWS's patterns."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

from dynamirror.views import canary
from dynamirror.views.condition import Combined, Condition, Test
from dynamirror.views.view import Schema, View, ViewSpec, bind_views

# https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventfiltering.html
CANARY = "the canary"
_MOST = 5
_LONGEST = 4096
# What an attribute's text must be: one of these, each a text or a prefix.
_Texts = tuple[Any, ...]
_Alternative = Mapping[str, _Texts]


class FilterPattern(NamedTuple):
    """A pattern of the event filter.

    Args:
        pattern: AWS's pattern.
        views: names of the views that need its records; `CANARY` among them for the canary's.
    """

    pattern: dict[str, Any]
    views: tuple[str, ...]


def patterns(
    specs: Sequence[ViewSpec], schema: Schema, view_type: str
) -> tuple[dict[str, Any], ...]:
    """Return the patterns of the records that any view needs; none if it may need all.

    Every record that makes an entry of any view fits one of them, and so does the canary's. What a
    pattern cannot say is left out, so that others fit, too: numbers are text in a record, and
    whether there is an attribute of any type cannot be asked.

    Args:
        specs: the views.
        schema: of the table.
        view_type: of its stream.

    Raises:
        ConfigError: a view does not fit the table.
    """
    views = bind_views(specs, schema)
    return tuple(found.pattern for found in patterns_of_views(views, view_type))


def patterns_of_views(views: Sequence[View], view_type: str) -> tuple[FilterPattern, ...]:
    """Return the patterns with the views that need each; none if a view may need all records.

    Args:
        views: all views of a table.
        view_type: of its stream.
    """
    keys = views[0].schema.keys
    carries_old = view_type == "NEW_AND_OLD_IMAGES"
    # Without old images, only the key shows which entry an item may have had.
    knowns = (None, keys) if carries_old else (keys,)
    for known, most in product(knowns, range(_MOST, 0, -1)):
        found = _with_canary(_patterns(views, keys, known, most), keys[0])
        if found and len(found) <= _MOST and all(length(one.pattern) <= _LONGEST for one in found):
            return found
    return ()


def length(pattern: Mapping[str, Any]) -> int:
    """Return how long a pattern is as AWS gets it: JSON without spaces, in bytes of UTF-8.

    AWS counts characters; no text has fewer bytes.
    """
    return len(json.dumps(pattern, ensure_ascii=False, separators=(",", ":")).encode())


def _patterns(
    views: Iterable[View], keys: Collection[str], known: Collection[str] | None, most: int
) -> list[FilterPattern]:
    """Return the patterns; none if a view needs any record."""
    found: list[FilterPattern] = []
    for view in views:
        for alternative in _alternatives(view.when, keys, known, most):
            if not alternative:
                return []
            fields = {name: {"S": list(texts)} for name, texts in alternative.items()}
            of_key = alternative.keys() <= set(keys)
            for image in ("Keys",) if of_key else ("NewImage", "OldImage"):
                _add(found, {"dynamodb": {image: fields}}, view.name)
    return found


def _add(found: list[FilterPattern], pattern: dict[str, Any], view: str) -> None:
    for index, other in enumerate(found):
        if other.pattern == pattern:
            found[index] = FilterPattern(pattern, tuple(dict.fromkeys((*other.views, view))))
            return
    found.append(FilterPattern(pattern, (view,)))


def _with_canary(found: Sequence[FilterPattern], partition: str) -> tuple[FilterPattern, ...]:
    """Add the canary to a pattern of the partition key alone, or as one more pattern."""
    if not found:
        return ()
    for index, (pattern, views) in enumerate(found):
        fields: dict[str, Any] = pattern["dynamodb"].get("Keys", {})
        if fields.keys() == {partition}:
            texts = [*fields[partition]["S"], canary.NAME]
            extended = {"dynamodb": {"Keys": {partition: {"S": texts}}}}
            return (
                *found[:index],
                FilterPattern(extended, (*views, CANARY)),
                *found[index + 1 :],
            )
    own = {"dynamodb": {"Keys": {partition: {"S": [canary.NAME]}}}}
    return (*found, FilterPattern(own, (CANARY,)))


def _alternatives(
    condition: Condition | None, keys: Collection[str], known: Collection[str] | None, most: int
) -> list[_Alternative]:
    """Return at most `most` alternatives, of which one is true where the condition holds.

    The empty alternative is true of any item.
    """
    match condition:
        case Combined(together=together, parts=parts):
            of_parts = [_alternatives(part, keys, known, most) for part in parts]
            if together is any:
                either = _merged(one for alternatives in of_parts for one in alternatives)
                return either if len(either) <= most else [{}]
            return _all_of_parts(of_parts, most)
        case Test(name=name) if known is None or name in known:
            # What leads into maps is another field in a record.
            plain = name in keys or ("." not in name and not name.startswith("$"))
            texts = _texts(condition) if plain else ()
            return [{name: texts} if texts else {}]
        case _:
            return [{}]


def _all_of_parts(parts: Iterable[list[_Alternative]], most: int) -> list[_Alternative]:
    """Return the alternatives where all parts hold; drop parts that make too many."""
    together: list[_Alternative] = [{}]
    for part in sorted(parts, key=len):  # those that multiply nothing come first
        more = _merged(_all_of(chosen) for chosen in product(together, part))
        if len(more) <= most:
            together = more
    return together


def _all_of(alternatives: Iterable[_Alternative]) -> _Alternative:
    """Join alternatives; a pattern can state only one thing of an attribute."""
    together: dict[str, _Texts] = {}
    for one in alternatives:
        together = {**one, **together}
    return together


def _merged(alternatives: Iterable[_Alternative]) -> list[_Alternative]:
    """Merge alternatives of one attribute, whose texts stand side by side."""
    merged: list[_Alternative] = []
    for one in alternatives:
        if one in merged:
            continue
        for index, other in enumerate(merged):
            if len(one) == 1 and one.keys() == other.keys():
                ((name, texts),) = one.items()
                merged[index] = {name: (*other[name], *texts)}
                break
        else:
            merged.append(one)
    return merged


def _texts(test: Test) -> _Texts:
    """Return the texts that the attribute can have, if a pattern can state them."""
    match test.operator, test.operand:
        case "equals", str(text):
            return (text,)
        case "prefix", str(text):
            return ({"prefix": text},)
        case "in", tuple(texts) if all(isinstance(text, str) for text in texts):
            return texts
        case _:
            return ()
