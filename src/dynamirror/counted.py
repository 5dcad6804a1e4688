"""Numbers of things in words."""

from typing import Final

_SINGULARS: Final = {"entries": "entry", "retries": "retry"}


def counted(number: int, plural: str) -> str:
    """Return a number with the name of what it counts.

    Args:
        number: the number.
        plural: name of two of them, as in "orphaned entries".
    """
    if number != 1:
        return f"{number:,} {plural}"
    *words, name = plural.split(" ")
    return " ".join(("1", *words, _SINGULARS.get(name, name.removesuffix("s"))))
