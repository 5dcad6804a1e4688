"""Find the commands, settings and code that README and docs show, and check them unrun."""

import ast
import os
import re
import runpy
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import typer

from dynamirror.cli.commands import app
from dynamirror.errors import ConfigError
from dynamirror.views import mirror_toml

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    ]
)
_FENCED = re.compile(r"^(`{3,})(\w*)\n(.*?)^\1$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_VARIABLE = re.compile(r"\b(?:ELASTICACHE|DYNAMIRROR|DYNAMODB)(?:_[A-Z]+)+\b")
_CONTEXT = re.compile(r"(?<=-c )\w+(?==)")
# Typer exports the class for a wrong value only, not what it has in common with a wrong option.
_USAGE_ERROR: Any = typer.BadParameter.__base__
_SEPARATORS = frozenset(";&|<>()")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, which may be empty, and its text."""

    language: str
    text: str


def blocks(text: str) -> list[Block]:
    """Return the fenced blocks of a page."""
    return [Block(language, body) for _fence, language, body in _FENCED.findall(text)]


def section(text: str, title: str) -> str:
    """Return the part of a page below a heading of the third level, up to the next heading."""
    return text.partition(f"\n### {title}\n")[2].partition("\n##")[0]


def spans(text: str) -> list[str]:
    """Return the code spans in the prose of a page."""
    return _SPAN.findall(_FENCED.sub("", text))


def commands(shell: str) -> Iterator[list[str]]:
    """Yield the `dynamirror` and `make` commands in shell text, each as its words."""
    for line in shell.replace("\\\n", " ").splitlines():
        if not re.search(r"\b(dynamirror|make) ", line):
            continue
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if not set(word) <= _SEPARATORS:
                words.append(word)
                continue
            if words and Path(words[0]).name in ("dynamirror", "make"):
                yield [Path(words[0]).name, *words[1:]]
            words = []


def faults(page: str) -> list[str]:
    """Return the false statements of a page, one sentence each."""
    found = []
    for block in blocks(page):
        match block.language:
            case "" | "sh" | "bash":
                for words in commands(block.text):
                    found += check_command(words)
            case "toml":
                found += check_toml(block.text)
            case "json":
                found += check_json(block.text)
            case "python":
                found += check_python(block.text)
    for span in spans(page):
        for words in commands(f"dynamirror {span}" if _is_short(span) else span):
            found += check_names(words)
    found += [
        f"{name}: no such option of the stack"
        for name in _CONTEXT.findall(page)
        if name not in context()  # `name` among them, as in `-c name=value`
    ]
    found += [
        f"{name}: no such variable"
        for name in sorted(set(_VARIABLE.findall(page)))
        if not re.search(rf"\b{name}\b", sources())
    ]
    return found


@cache
def _main() -> Any:
    return typer.main.get_command(app)


def _is_short(span: str) -> bool:
    """Return whether a span is a command without `dynamirror`, as in `verify --repair`."""
    first, _, rest = span.partition(" ")
    return first in _main().commands and rest.startswith("-")


def check_command(words: list[str]) -> list[str]:
    """Return why a command line does not parse as typed."""
    if words[0] == "make":
        return check_make(words[1:])
    command, arguments = _command(words[1:])
    if hasattr(command, "commands") and arguments and not arguments[0].startswith("-"):
        return [f"{shlex.join(words)}: no such command"]
    before = os.environ.get("DYNAMODB_TABLE")
    os.environ["DYNAMODB_TABLE"] = "users"
    try:
        command.make_context(words[0], list(arguments))
    except typer.Exit:  # --help and --version
        return []
    except _USAGE_ERROR as error:
        return [f"{shlex.join(words)}: {error}"]
    finally:
        os.environ.pop("DYNAMODB_TABLE")
        if before is not None:
            os.environ["DYNAMODB_TABLE"] = before
    return []


def check_names(words: list[str]) -> list[str]:
    """Return the unknown names in a command in prose, which may lack arguments."""
    if words[0] == "make":
        return check_make(words[1:])
    command, arguments = _command(words[1:])
    known = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
    options = [word.partition("=")[0] for word in arguments if word.startswith("-")]
    unknown = [name for name in options if name not in {*known, "--help"}]
    if hasattr(command, "commands") and arguments and not arguments[0].startswith("-"):
        unknown.append(arguments[0])
    return [f"{shlex.join(words)}: no {name}" for name in unknown]


def _command(words: list[str]) -> tuple[Any, list[str]]:
    command = _main()
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    return command, words


def check_make(words: list[str]) -> list[str]:
    """Return the targets and variables that the Makefile does not have."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    variables = set(re.findall(r"^([A-Z]+) [?:]?=", makefile, re.MULTILINE))
    return [
        f"make: no {word}"
        for word in words
        if word.partition("=")[0] not in (variables if "=" in word else targets)
        and word not in ("...", "…")
    ]


def check_toml(text: str) -> list[str]:
    """Return why a `mirror.toml`, or a part of one, is refused."""
    whole = text if "[[view]]" in text else f"[[view]]\n{text}"
    try:
        mirror_toml.parse_views(whole)
        mirror_toml.parse_tables(whole)
    except ConfigError as error:
        return [str(error)]
    return []


def check_json(text: str) -> list[str]:
    """Return why a text is not JSON."""
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        return [f"json: {error}"]
    return []


def check_python(text: str) -> list[str]:
    """Return the names that a program imports from dynamirror and that do not exist."""
    wrong = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("dynamirror"):
            continue
        path = ROOT / "src" / (node.module or "").replace(".", "/")
        files = [path.with_suffix(".py"), path / "__init__.py"]
        known = "".join(file.read_text(encoding="utf-8") for file in files if file.exists())
        wrong += [
            f"python: {node.module} has no {name.name}"
            for name in node.names
            if not re.search(rf"\b{name.name}\b", known)
        ]
    return wrong


@cache
def context() -> frozenset[str]:
    """Return the options of the stack, as its docstring names them."""
    entries = runpy.run_path(str(ROOT / "docs/reference.py"))["context"]()
    return frozenset(name for names in entries for name in names.split(", "))


@cache
def sources() -> str:
    """Return all of our code as one text."""
    return "\n".join(
        path.read_text(encoding="utf-8") for path in sorted((ROOT / "src").rglob("*.py"))
    )
