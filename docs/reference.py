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

import msgspec
from msgspec.structs import FieldInfo, fields

from dynamirror.cache.acl import Role, access_string
from dynamirror.deployment.file import Sections
from dynamirror.deployment.overrides import FIELDS, OFFLINE
from dynamirror.deployment.sections import ExistingCache
from dynamirror.settings import Settings
from dynamirror.validation import describe

_DOCS = Path(__file__).resolve().parent
_SECTIONS: dict[str, type[msgspec.Struct]] = {field.name: field.type for field in fields(Sections)}
# The default of a field that may be left out.
_UNSET = re.compile(r"; None for (.*)$")
_TABLE_OPTIONS = {
    "tableArn": "ARN of an existing table: one of the [[table]], or the only one without a file",
    "streamArn": "ARN of the stream of that table; must be set",
    "keys": "names of its key attributes, partition key first, separated by a comma",
    "viewType": "view type of its stream",
    "tableKeyArn": "ARN of the customer-managed KMS key that encrypts it",
}


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
    """Return the meaning of each `-c name=value`."""
    meanings = {
        "config": "path of a `mirror.toml`",
        OFFLINE: "whether synthesis leaves out the preflight",
        **_TABLE_OPTIONS,
    }
    for name, (section, field) in FIELDS.items():
        meanings[name] = _Section.of(section).meaning(field)
    return meanings


def cdk_options() -> str:
    """Return a table of the options of CDK context."""
    meanings = context()
    rows = ["| option | field of `mirror.toml` | meaning |", "|---|---|---|"]
    rows += [f"| `{name}` | | {meanings[name]} |" for name in ("config", OFFLINE, *_TABLE_OPTIONS)]
    for name, (section, field) in FIELDS.items():
        link = f"[`[{section}]`](mirror-toml.md#{section}) `{field}`"
        rows.append(f"| `{name}` | {link} | {meanings[name]} |")
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


def deployment() -> str:
    """Return a table for each section of `mirror.toml` that describes a deployment."""
    names = list(_SECTIONS)
    names.insert(names.index("cache") + 1, "cache.existing")
    return "\n\n".join(_Section.of(name).table() for name in names)


class _Section:
    """A section of `mirror.toml`.

    Args:
        name: name of the section, as in cache.existing.
        kind: its struct.
    """

    def __init__(self, name: str, kind: type[msgspec.Struct]) -> None:
        self._name = name
        self._kind = kind
        self._meanings = _entries(inspect.getdoc(kind) or "", "Args:")

    @classmethod
    def of(cls, name: str) -> "_Section":
        """Return the section of a name."""
        return cls(name, ExistingCache if name == "cache.existing" else _SECTIONS[name])

    def meaning(self, field: str) -> str:
        """Return the meaning of a field, without its default."""
        return _UNSET.sub("", self._meanings[field])

    def table(self) -> str:
        """Return a heading, and a table of the fields."""
        title, _, about = (inspect.getdoc(self._kind) or "").splitlines()[0].partition(": ")
        rows = [
            f"### `{title}`",
            "",
            f"{about[0].upper()}{about[1:]}",
            "",
            "| field | meaning | value | default |",
            "|---|---|---|---|",
        ]
        for field in fields(self._kind):
            if field.name == "existing":
                continue
            meaning, shape = self.meaning(field.name), describe(self._kind, field.name)
            rows.append(f"| `{field.name}` | {meaning} | {shape} | {self._default(field)} |")
        return "\n".join(rows)

    def _default(self, field: FieldInfo) -> str:
        if field.required:
            return "must be set"
        if unset := _UNSET.search(self._meanings[field.name]):
            return unset[1]
        if field.default is msgspec.NODEFAULT or field.default in (None, ""):
            return "none"
        default = field.default
        return f"`{str(default).lower() if isinstance(default, bool) else default}`"


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
        ("mirror-toml.md", "deployment", deployment()),
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
