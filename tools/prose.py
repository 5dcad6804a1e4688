"""Check the English of README and docs/: `python tools/prose.py [PAGE ...]`.

The rules are in pyproject.toml, under `[tool.prose]`; docs/decisions/0023 has the reasons.
"""

import os
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token
from sentencex import segment

_ROOT = Path(__file__).resolve().parents[1]
_MARKDOWN = MarkdownIt("commonmark").enable("table")
# A code span counts as one word, and none of the rules looks into it.
_CODE = "CODE"


def findings(page: str, rules: dict[str, Any]) -> Iterator[tuple[int, str]]:
    """Yield each breach of the rules in a page, as its line number and one sentence."""
    words = {
        re.compile(rf"\b(?:{w})\b", re.IGNORECASE): use for w, use in rules["instead-of"].items()
    }
    for line, text in _paragraphs(page):
        for sentence in map(str.strip, segment("en", text)):
            count = len(re.findall(r"\w[^\s/]*", sentence))
            if count > rules["longest-sentence"]:
                yield line, f"{count} words in one sentence: {sentence[:60]} ..."
            for pattern, use in words.items():
                for match in pattern.finditer(sentence):
                    yield line, f"{match[0]!r}: {use}"


def _paragraphs(page: str) -> Iterator[tuple[int, str]]:
    """Yield paragraphs, headings, list items and table cells, with their line numbers."""
    line = 1
    for token in _MARKDOWN.parse(page):
        if token.map:
            line = token.map[0] + 1
        if token.type == "inline":
            yield line, "".join(_text(child) for child in token.children or ())


def _text(token: Token) -> str:
    match token.type:
        case "text":
            return token.content
        case "code_inline":
            return _CODE
        case "softbreak" | "hardbreak":
            return " "
    return ""


def main(pages: list[str]) -> int:
    """Print the findings in the pages, by default in all, and return the status."""
    with (_ROOT / "pyproject.toml").open("rb") as file:
        rules = tomllib.load(file)["tool"]["prose"]
    checked = sorted({*_matching(rules["pages"])})
    reports = [
        f"{os.path.relpath(path)}:{line}: {problem}"
        for path in [Path(page) for page in pages] or checked
        for line, problem in findings(path.read_text(encoding="utf-8"), rules)
    ]
    print(*reports, sep="\n", end="\n" if reports else "")
    return 1 if reports else 0


def _matching(patterns: list[str]) -> Iterator[Path]:
    for pattern in patterns:
        yield from _ROOT.glob(pattern)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
