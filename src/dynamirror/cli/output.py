"""Output of commands: JSON for machines, and text that is safe on a terminal."""

import msgspec
import typer


def print_json(value: object) -> None:
    """Print a value as one line of JSON."""
    typer.echo(msgspec.json.encode(value).decode())


def printable(text: str) -> str:
    """Return text from a table with its control characters escaped."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
