"""Text that is safe on a terminal."""


def printable(text: str) -> str:
    """Return text from a table, a file or an option with its control characters escaped."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
