"""Merges templates of one stack, synthesized with different options, into one with conditions."""

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

Template = dict[str, Any]
Variant = TypeVar("Variant")
# Names the condition under which one of these variants is deployed, and declares it.
Condition = Callable[[frozenset[Any]], str]

NO_VALUE: Final = {"Ref": "AWS::NoValue"}
_ABSENT: Final = object()
# The parts into which texts are divided before they are compared: JSON's members.
_WORDS: Final = re.compile(r"[^,]*,|[^,]+$")
# CloudFormation evaluates functions there, and in Metadata, which CDK's resources lack.
_EVALUATED: Final = ("Properties",)


def merge_templates(templates: Mapping[Variant, Template], condition: Condition) -> Template:
    """Merge templates into one that deploys as each of them, as its conditions choose.

    Args:
        templates: the templates by variant. A resource of the same logical ID has one type.
        condition: names the condition under which one of the given variants is deployed.

    Raises:
        ValueError: what CloudFormation cannot make conditional differs between templates.
    """
    merged: Template = {"Resources": {}, "Outputs": {}}
    for part, merge_entry in (("Resources", _merge_resource), ("Outputs", _merge_output)):
        for name in _names(template.get(part, {}) for template in templates.values()):
            entries = {
                variant: template[part][name]
                for variant, template in templates.items()
                if name in template.get(part, {})
            }
            entry = merge_entry(entries, condition)
            own = entry.pop("Condition", None)
            names = [own] if own else []
            if len(entries) < len(templates):
                names.append(condition(frozenset(entries)))
            if names:
                entry = {"Condition": " ".join(names), **entry}
            merged[part][name] = entry
    return merged


def _merge_resource(resources: Mapping[Any, Template], condition: Condition) -> Template:
    merged: Template = {}
    for field in _names(resources.values()):
        values = {variant: it.get(field, _ABSENT) for variant, it in resources.items()}
        if field == "DependsOn":
            names = {
                variant: [] if value is _ABSENT else _list(value)
                for variant, value in values.items()
            }
            always = set.intersection(*map(set, names.values()))
            merged[field] = sorted(always)
            # DependsOn has no conditions. A reference is a dependency, too.
            references = {
                variant: [{"Ref": name} for name in sorted({*own} - always)]
                for variant, own in names.items()
            }
            if any(references.values()):
                merged["Metadata"] = {"After": _merge(references, condition)}
        elif field in _EVALUATED:
            merged[field] = _merge(values, condition)
        else:
            first, *others = values.values()
            if any(other != first for other in others):
                raise ValueError(f"{field} differs between the variants of a resource: {values}")
            merged[field] = first
    return merged


def _merge_output(outputs: Mapping[Any, Template], condition: Condition) -> Template:
    values = {variant: output["Value"] for variant, output in outputs.items()}
    return {"Value": _merge(values, condition)}


def _merge(values: Mapping[Any, Any], condition: Condition) -> Any:
    groups = _groups(values)
    if len(groups) == 1:
        return _present(next(iter(values.values())))
    kinds = list(values.values())
    if all(isinstance(value, dict) and not _is_function(value) for value in kinds):
        return {
            key: _merge({v: value.get(key, _ABSENT) for v, value in values.items()}, condition)
            for key in _names(kinds)
        }
    if all(isinstance(value, list) for value in kinds) and len(set(map(len, kinds))) == 1:
        return [
            _merge({v: value[index] for v, value in values.items()}, condition)
            for index in range(len(kinds[0]))
        ]
    if all(_is_concatenation(value) for value in kinds):
        return _merge_concatenations({v: _pieces(it) for v, it in values.items()}, condition)
    return _choose(sorted(groups, key=len), values, condition)


def _merge_concatenations(pieces: Mapping[Any, list[Any]], condition: Condition) -> Any:
    """Merge texts from the pieces that they have in common at both ends, and what is between."""
    shortest = min(map(len, pieces.values()))
    lists = list(pieces.values())
    begin = _common(lists, shortest)
    end = _common([it[::-1] for it in lists], shortest - begin)
    groups: dict[Any, Any] = {
        variant: concatenate(it[begin : len(it) - end]) for variant, it in pieces.items()
    }
    chosen = _choose(sorted(_groups(groups), key=len), groups, condition)
    first = lists[0]
    return concatenate([*first[:begin], chosen, *first[len(first) - end :]])


def concatenate(pieces: Iterable[Any]) -> Any:
    """Return the concatenation of texts and functions, as few pieces as possible."""
    flat: list[Any] = []
    for piece in pieces:
        for item in piece["Fn::Join"][1] if _is_concatenation(piece) else [piece]:
            if flat and isinstance(item, str) and isinstance(flat[-1], str):
                flat[-1] += item
            else:
                flat.append(item)
    if len(flat) <= 1 and all(isinstance(it, str) for it in flat):
        return "".join(flat)
    return {"Fn::Join": ["", flat]}


def _common(lists: Sequence[Sequence[Any]], longest: int) -> int:
    """Return the number of first elements that all lists have in common."""
    first = lists[0]
    for index in range(longest):
        if any(it[index] != first[index] for it in lists):
            return index
    return longest


def _is_concatenation(value: Any) -> bool:
    return isinstance(value, dict) and value.get("Fn::Join", [None])[0] == ""


def _pieces(value: Any) -> list[Any]:
    """Return the pieces of a concatenation, each text divided at its commas."""
    return [
        part
        for piece in value["Fn::Join"][1]
        for part in (_WORDS.findall(piece) if isinstance(piece, str) else [piece])
    ]


def _choose(groups: list[frozenset[Any]], values: Mapping[Any, Any], condition: Condition) -> Any:
    """Return a function that chooses the value of a group; the largest needs no condition."""
    first, *others = groups
    value = _present(values[next(iter(first))])
    if not others:
        return value
    return {"Fn::If": [condition(first), value, _choose(others, values, condition)]}


def _groups(values: Mapping[Any, Any]) -> list[frozenset[Any]]:
    """Return the variants, grouped by equal values."""
    groups: dict[str, set[Any]] = {}
    for variant, value in values.items():
        text = "" if value is _ABSENT else json.dumps(value, sort_keys=True)
        groups.setdefault(text, set()).add(variant)
    return [frozenset(group) for group in groups.values()]


def _present(value: Any) -> Any:
    return NO_VALUE if value is _ABSENT else value


def _is_function(value: Mapping[str, Any]) -> bool:
    return len(value) == 1 and (
        (name := next(iter(value))) in ("Ref", "Condition") or name.startswith("Fn::")
    )


def _names(documents: Iterable[Collection[str]]) -> list[str]:
    """Return the keys of all documents, each once, in the order of their first appearance."""
    return list(dict.fromkeys(name for document in documents for name in document))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
