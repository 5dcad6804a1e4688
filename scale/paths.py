"""Paths and intrinsic functions of Amazon's States Language.

https://docs.aws.amazon.com/step-functions/latest/dg/intrinsic-functions.html
"""

import json
import re
from collections.abc import Callable
from typing import Any

_STEP = re.compile(r"\.(\w+)|\[(\*|\d+)\]|\['([^']+)'\]")
_CALL = re.compile(r"^States\.(\w+)\((.*)\)$", re.DOTALL)


def value_at(path: str, data: Any, context: Any = None) -> Any:
    """Return the value at a path.

    Args:
        path: begins with `$`, or with `$$` for the context.
        data: the state's input.
        context: the execution's context.

    Raises:
        LookupError: there is none.
    """
    value, rest = (context, path[2:]) if path.startswith("$$") else (data, path[1:])
    return _walk(value, rest, path)


def _walk(value: Any, rest: str, path: str) -> Any:
    while rest:
        step = _STEP.match(rest)
        if step is None:
            raise NotImplementedError(f"path {path}")
        rest = rest[step.end() :]
        if step[2] == "*":
            return [_walk(each, rest, path) for each in value]
        name = int(step[2]) if step[2] else step[1] or step[3]
        try:
            value = value[name]
        except (KeyError, IndexError, TypeError):
            raise LookupError(f"nothing is at {path}") from None
    return value


def put(path: str | None, data: Any, result: Any) -> Any:
    """Return a state's input with a result at a path; the result alone at `$`."""
    if path is None:
        return data
    if path == "$":
        return result
    *parents, last = path.removeprefix("$.").split(".")
    copy = {**data}
    place = copy
    for name in parents:
        place[name] = {**place.get(name, {})}
        place = place[name]
    place[last] = result
    return copy


def resolve(template: Any, data: Any, context: Any) -> Any:
    """Return a template with its paths and intrinsic functions replaced by their values."""
    if isinstance(template, dict):
        return {
            name.removesuffix(".$"): _evaluated(value, data, context)
            if name.endswith(".$")
            else resolve(value, data, context)
            for name, value in template.items()
        }
    if isinstance(template, list):
        return [resolve(each, data, context) for each in template]
    return template


def _evaluated(text: str, data: Any, context: Any) -> Any:
    text = text.strip()
    if text.startswith("$"):
        return value_at(text, data, context)
    if call := _CALL.match(text):
        arguments = [_evaluated(each, data, context) for each in _split(call[2])]
        return _FUNCTIONS[call[1]](*arguments)
    if text.startswith("'"):
        return text[1:-1]
    return json.loads(text)


def _split(text: str) -> list[str]:
    """Split arguments at the commas that stand in no brackets and quotes."""
    parts, depth, is_quoted = [""], 0, False
    for letter in text:
        is_quoted ^= letter == "'"
        depth += 0 if is_quoted else (letter in "([") - (letter in ")]")
        if letter == "," and not depth and not is_quoted:
            parts.append("")
        else:
            parts[-1] += letter
    return [part for part in parts if part.strip()]


def _length(values: Any) -> int:
    if not isinstance(values, list):
        raise TypeError(f"States.ArrayLength takes an array, not {values!r}")
    return len(values)


def _formatted(template: str, *values: Any) -> str:
    for value in values:
        text = value if isinstance(value, str) else json.dumps(value)
        template = template.replace("{}", text, 1)
    return template


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "Array": lambda *values: list(values),
    "ArrayGetItem": lambda values, index: values[index],
    "ArrayLength": _length,
    "ArrayPartition": lambda values, size: [
        values[first : first + size] for first in range(0, len(values), size)
    ],
    "ArrayRange": lambda first, last, step: list(range(first, last + 1, step)),
    "Format": _formatted,
    "JsonMerge": lambda first, second, _deep: {**first, **second},
    "JsonToString": json.dumps,
    "MathAdd": lambda first, second: first + second,
    "StringToJson": json.loads,
}
