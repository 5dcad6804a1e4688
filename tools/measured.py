"""Write what the last soak measured into README: `python tools/measured.py`.

The number is that of docs/consistency.md, which `make soak` makes. Without that page, README has no
number.
"""

import re
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
README = _ROOT / "README.md"
PAGE = _ROOT / "docs/consistency.md"
_BEGIN, _END = "<!-- measured -->\n", "<!-- /measured -->\n"
# The line that a run ends with.
_CLAIM = re.compile(
    r"^(?P<checks>[\d,]+ checks), (?P<violations>[\d,]+ violations?)\b.*"
    r"(?P<nines>at least \d+\.\d nines \(95%\))$",
    re.MULTILINE,
)
_HOW = (
    "An inspector that trusts nothing of the replicator reads the changes itself, and asks the\n"
    "cache as a client would. `make demo` shows the number for your machine, and\n"
    "`dynamirror run --inspect 1` for your tables.\n"
)


def claim(page: str) -> str:
    """Return what a page claims, as in "at least 6.0 nines (95%): 0 violations in 9 checks".

    Raises:
        ValueError: the page has no such line.
    """
    found = _CLAIM.search(page)
    if found is None:
        raise ValueError(f"{PAGE.name} has no line of a run")
    return f"{found['nines']}: {found['violations']} in {found['checks']}"


def paragraph(page: str | None) -> str:
    """Return README's paragraph about the measured consistency.

    Args:
        page: the text of docs/consistency.md; None where no soak has made it.
    """
    if page is None:
        return f"**How right is it?** [The page](docs/page.md) shows it, while it runs.\n{_HOW}"
    number = (
        f"**Measured: {claim(page)}**, under faults of every kind ([how](docs/consistency.md)).\n"
    )
    return f"{number}{_HOW}"


def written(readme: str, page: str | None) -> str:
    """Return README with that paragraph between its marks."""
    before, _mark, rest = readme.partition(_BEGIN)
    _old, mark, after = rest.partition(_END)
    if not mark:
        raise ValueError(f"{README.name} has no marks {_BEGIN.strip()} and {_END.strip()}")
    return f"{before}{_BEGIN}{paragraph(page)}{_END}{after}"


def measured_page() -> str | None:
    """Return docs/consistency.md; None if it is not there."""
    return PAGE.read_text("utf-8") if PAGE.exists() else None


if __name__ == "__main__":
    README.write_text(written(README.read_text("utf-8"), measured_page()), "utf-8")
