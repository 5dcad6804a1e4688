"""Validation errors as one sentence: the field, what is wrong, and the fix."""

import re
from typing import Annotated

import msgspec

_SCALARS = {"bool": "true or false", "int": "a whole number", "float": "a number"}
_LIMITS = {">": "above", "<": "below", ">=": "of at least", "<=": "of at most"}

# Text that is not empty.
Name = Annotated[str, msgspec.Meta(min_length=1)]


def explain_validation_error(message: str, names: tuple[str, ...]) -> str:
    """Turn msgspec's message into one that begins with the field and ends with the fix."""
    what, _, path = message.partition(" - at `")
    where = path.rstrip("`").removeprefix("$").lstrip(".")
    if unknown := re.search(r"unknown field `(.*)`", what):
        # Only an error needs it, and every start of a function would pay for it.
        from difflib import get_close_matches  # noqa: PLC0415

        # A field of another section may have that very name.
        others = [name for name in names if name != unknown[1]]
        near = get_close_matches(unknown[1], others, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(names)}"
        field = f"{where}.{unknown[1]}" if where else unknown[1]
        return f"{field}: there is no such field; {hint}"
    if missing := re.search(r"missing required field `(.*)`", what):
        field = f"{where}.{missing[1]}" if where else missing[1]
        return f"{field}: is missing; " + (
            "add at least one [[view]]" if missing[1] == "view" else "set it"
        )
    if invalid := re.search(r"Invalid enum value (.*)", what):
        known = "json, dynamodb-json, hash, attribute"
        if ".keys" in where:
            known = "S, N, B"
        elif where == "ELASTICACHE_KIND":
            known = "serverless, node-based"
        elif where == "ELASTICACHE_CA":
            known = "system, amazon; the path of a PEM file belongs in ELASTICACHE_CA_FILE"
        return f"{where}: {invalid[1]} is not one of {known}"
    if scalar := re.fullmatch(
        r"Expected `(bool|int|float)`(?: ([<>]=?) (\S+))?(?:, got .*)?", what
    ):
        limit = f" {_LIMITS[scalar[2]]} {float(scalar[3]):g}" if scalar[2] else ""
        return f"{where}: must be {_SCALARS[scalar[1]]}{limit}"
    if what == "Expected `array`, got `object`" and where in ("view", "table"):
        return f"{where}: write [[{where}]], with two brackets on either side"
    what = what[0].lower() + what[1:] if what.startswith("Expected") else what
    return f"{where}: {what}" if where else what
