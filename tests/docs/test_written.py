"""What README and docs tell people to type is there, and a page that errs is found out."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs.written import PAGES, ROOT, blocks, commands, context, faults, spans
from dynamirror.config import TableSpec, _File, _ViewTable


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_tells_to_type_is_there(page: Path) -> None:
    assert faults(page.read_text(encoding="utf-8")) == []


def test_pages_are_not_passed_over() -> None:
    """Commands, programs and files were found at all."""
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    typed = [words for text in texts for block in blocks(text) for words in commands(block.text)]
    prose = [words for text in texts for span in spans(text) for words in commands(span)]
    assert len([words for words in typed if words[0] == "dynamirror"]) > 30
    assert len([words for words in typed if words[0] == "make"]) > 15
    assert len(prose) > 20


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("```\ndynamirror mirror --table users\n```", "mirror --table users: no such command"),
        ("```\n.venv/bin/dynamirror run --tabel users\n```", "No such option: --tabel"),
        (
            "```bash\ntrue && dynamirror verify --settle soon | tail -1\n```",
            "--settle soon: Input should be a valid number",
        ),
        ("```\ndynamirror view check\n```", "Missing parameter: file"),
        ("Run `dynamirror verify --mend`.", "no --mend"),
        ("Run `verify --mend`.", "no --mend"),
        ("Run `dynamirror heal`.", "no heal"),
        ("```\nmake coffee SUGAR=2\n```", "make: no coffee"),
        ("Run `make test SUGAR=2`.", "make: no SUGAR=2"),
        ('```\nmake cdk ARGS="deploy -c tabelArn=x"\n```', "tabelArn: no such option of the stack"),
        ("Set `DYNAMIRROR_COLOUR`.", "DYNAMIRROR_COLOUR: no such variable"),
        ('```toml\nkye = "{id}"\n```', "did you mean 'key'?"),
        ("```json\n{\n```", "json: "),
        ("```python\nfrom dynamirror import Writer\n```", "dynamirror has no Writer"),
    ],
)
def test_a_page_that_errs_is_found_out(page: str, said: str) -> None:
    (fault, *_more) = faults(page)
    assert said in fault


def test_the_reference_pages_are_as_the_code_is() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs/reference.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_reference_page_that_is_not_as_the_code_is_is_refused(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for name in ("reference.py", "command-line.md", "settings.md", "cdk-options.md"):
        text = (ROOT / "docs" / name).read_text(encoding="utf-8")
        (tmp_path / "docs" / name).write_text(text.replace("`--repair`", "`--mend`"))
    (tmp_path / "src").symlink_to(ROOT / "src")
    script = [sys.executable, str(tmp_path / "docs/reference.py")]
    done = subprocess.run([*script, "--check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.count("command-line.md")) == (1, 1)
    subprocess.run(script, check=True)
    mended = (tmp_path / "docs/command-line.md").read_text(encoding="utf-8")
    assert mended == (ROOT / "docs/command-line.md").read_text(encoding="utf-8")


def test_the_stack_tells_all_options_that_it_asks_for() -> None:
    asked = set()
    for path in (ROOT / "src/dynamirror/cdk").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(attr="text" | "flag" | "number"),
                    args=[ast.Constant(value=str(name)), *_],
                ):
                    asked.add(name)
    assert {"batchSize", "config", "heal"} <= asked <= context()


def test_the_page_of_mirror_toml_names_every_field_and_no_other() -> None:
    page = (ROOT / "docs/mirror-toml.md").read_text(encoding="utf-8")
    sections = dict(
        re.findall(r"^## `(\[\[\w+\]\])`\n(.*?)(?=^## )", page, re.MULTILINE | re.DOTALL)
    )
    assert set(sections) == {f"[[{name}]]" for name in _File.__struct_fields__}
    for name, kind in (("[[view]]", _ViewTable), ("[[table]]", TableSpec)):
        firsts = re.findall(r"^\| (`.*?) \|", sections[name], re.MULTILINE)
        told = [field for first in firsts for field in re.findall(r"`(\w+)`", first)]
        assert sorted(told) == sorted(kind.__struct_fields__)
