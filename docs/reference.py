"""Generate parts of the reference from the code: `python docs/reference.py`.

Each part stands in its page between `<!-- generated: NAME -->` and `<!-- end -->`. With `--check`,
nothing is written, and the exit status is 1 if a page is out of date. mkdocstrings generates the
pages of classes; it cannot show environment variables, context options or a command line.
"""

import ast
import inspect
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

from dynamirror.cache.acl import Role, access_string
from dynamirror.settings import Settings

_DOCS = Path(__file__).resolve().parent
_STACK = _DOCS.parent / "src/dynamirror/cdk/stack.py"


def command_line() -> str:
    """Return all commands and options, as Typer documents them from `--help`."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "typer",
            "dynamirror.cli.commands",
            "utils",
            "docs",
            "--name",
            "dynamirror",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    _title, _, rest = done.stdout.partition("\n")
    # Typer truncates the texts of these lists, which repeat the headings below.
    rest = re.sub(r"\*\*Commands\*\*:\n\n(\* .*\n)+\n?", "", rest)
    return rest.strip().replace("```console\n$ ", "```text\n")


def settings() -> str:
    """Return a table of the environment variables, from the docstring of `Settings`."""
    meanings = _entries(inspect.getdoc(Settings) or "", "Args:")
    fields = dict(zip(Settings.__struct_fields__, Settings.__struct_encode_fields__, strict=True))
    defaults = dict(
        zip(reversed(fields), reversed(Settings.__struct_defaults__), strict=False),
    )
    rows = ["| variable | meaning | default |", "|---|---|---|"]
    for field, variable in fields.items():
        meaning = meanings[field].removeprefix(f"{variable}, ")
        default = defaults.get(field)
        shown = "must be set" if field not in defaults else default
        rows.append(f"| `{variable}` | {meaning} | {_shown(shown)} |")
    return "\n".join(rows)


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else str(value).lower()


def context() -> dict[str, str]:
    """Return the meaning of each `-c name=value`, from the docstring of `DynamirrorStack`."""
    tree = ast.parse(_STACK.read_text(encoding="utf-8"))
    (stack,) = (
        node
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == "DynamirrorStack"
    )
    return _entries(ast.get_docstring(stack) or "", "Context:")


def cdk_options() -> str:
    """Return a table of the stack's options."""
    rows = ["| option | meaning |", "|---|---|"]
    for names, meaning in context().items():
        rows.append(f"| {', '.join(f'`{name}`' for name in names.split(', '))} | {meaning} |")
    return "\n".join(rows)


def access_strings() -> str:
    """Return each role with its access string, for one table in the default view."""
    meanings = _attributes(Role)
    parts = []
    for role in Role:
        string = access_string(role, patterns=["users:*"], tables=["users"])
        parts.append(f"**{role.capitalize()}**: {meanings[role.name]}\n\n```text\n{string}\n```")
    return "\n\n".join(parts)


def _attributes(documented: type) -> dict[str, str]:
    """Return the docstring below each attribute of a class."""
    (tree,) = ast.parse(inspect.getsource(documented)).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for assignment, text in pairwise(tree.body):
        match assignment, text:
            case (
                ast.Assign(targets=[ast.Name(id=name)]),
                ast.Expr(value=ast.Constant(value=str(meaning))),
            ):
                found[name] = meaning
    return found


def _entries(docstring: str, section: str) -> dict[str, str]:
    """Return the text for each name in a section of a docstring."""
    block = docstring.partition(f"{section}\n")[2].split("\n\n")[0]
    found: dict[str, str] = {}
    depth = min(len(line) - len(line.lstrip()) for line in block.splitlines())
    for line in block.splitlines():
        if len(line) - len(line.lstrip()) == depth:
            name, _, text = line.strip().partition(": ")
            found[name] = text
        else:
            found[name] += f" {line.strip()}"
    return {name: _as_markdown(text) for name, text in found.items()}


def _as_markdown(text: str) -> str:
    return text.strip().removesuffix(".").replace("|", r"\|")


def renewed(page: str, name: str, text: str) -> str:
    """Return a page with its generated part replaced.

    Raises:
        SystemExit: the page has no markers for that part.
    """
    begin, end = f"<!-- generated: {name} -->\n\n", "\n\n<!-- end -->"
    before, found, rest = page.partition(begin)
    _old, ended, after = rest.partition(end)
    if not (found and ended):
        sys.exit(f"no place for the {name}: {begin.strip()} and {end.strip()} are missing")
    return f"{before}{begin}{text}{end}{after}"


def main() -> int:
    """Write or check all pages, and return the exit status."""
    stale = []
    for name, title, text in (
        ("command-line.md", "commands", command_line()),
        ("settings.md", "settings", settings()),
        ("cdk-options.md", "context", cdk_options()),
        ("security.md", "access", access_strings()),
    ):
        before = (_DOCS / name).read_text(encoding="utf-8")
        after = renewed(before, title, text)
        if after != before:
            stale.append(name)
            if "--check" not in sys.argv:
                (_DOCS / name).write_text(after, encoding="utf-8")
    if stale and "--check" in sys.argv:
        print(f"out of date: {', '.join(stale)}; run python docs/reference.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
