"""Output of commands: JSON for machines, lines that fit the terminal for people."""

import shutil
import sys
import textwrap

import msgspec
import typer


def print_json(value: object) -> None:
    """Print a value as one line of JSON."""
    typer.echo(msgspec.json.encode(value).decode())


def fitted(text: str, indent: int = 2) -> str:
    """Break lines between words where a terminal is narrower, which would break them anywhere.

    Args:
        text: one line or more; unchanged unless standard output is a terminal.
        indent: columns before the rest of a line.
    """
    if not sys.stdout.isatty():
        return text
    width = shutil.get_terminal_size().columns
    wrapper = textwrap.TextWrapper(
        width,
        subsequent_indent=" " * min(indent, width // 8),
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    )
    return "\n".join(
        "\n".join(wrapper.wrap(line)) if len(line) > width else line for line in text.split("\n")
    )
