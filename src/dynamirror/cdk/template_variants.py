"""Merges templates of one stack, synthesized with different options, into one with conditions."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final, TypeVar

Template = dict[str, Any]
Variant = TypeVar("Variant")
# Names the condition under which one of these variants is deployed, and declares it.
Condition = Callable[[frozenset[Any]], str]

NO_VALUE: Final = {"Ref": "AWS::NoValue"}
_ABSENT: Final = object()
# CloudFormation evaluates functions in these parts of a resource only.
_EVALUATED: Final = ("Properties", "Metadata")


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
            # CloudFormation ignores a dependency on a resource whose condition is false.
            present = [value for value in values.values() if value is not _ABSENT]
            merged[field] = sorted({name for value in present for name in _list(value)})
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
    return _choose(sorted(groups, key=len), values, condition)


def _choose(
    groups: list[frozenset[Any]], values: Mapping[Any, Any], condition: Condition
) -> Any:
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
