"""README and docs show existing commands, settings and files only."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.written_docs import PAGES, ROOT, blocks, commands, context, faults, spans

from dynamirror.deployment.overrides import NAMES
from dynamirror.views.mirror_toml import TableSpec, _File, _ViewTable


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_shows_existing_names_only(page: Path) -> None:
    assert faults(page.read_text(encoding="utf-8")) == []


def test_commands_are_found_in_pages() -> None:
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    typed = [words for text in texts for block in blocks(text) for words in commands(block.text)]
    prose = [words for text in texts for span in spans(text) for words in commands(span)]
    assert len([words for words in typed if words[0] == "dynamirror"]) > 30
    assert len([words for words in typed if words[0] == "make"]) > 15
    assert len(prose) > 20


@pytest.mark.parametrize(
    ("page", "fault"),
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
def test_a_false_statement_is_found(page: str, fault: str) -> None:
    (found, *_more) = faults(page)
    assert fault in found


def test_the_reference_pages_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs/reference.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


GENERATED = ("command-line.md", "settings.md", "cdk-options.md", "mirror-toml.md")


def test_a_reference_page_that_is_out_of_date_is_refused(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for name in ("reference.py", *GENERATED):
        text = (ROOT / "docs" / name).read_text(encoding="utf-8")
        (tmp_path / "docs" / name).write_text(text.replace("`--repair`", "`--mend`"))
    (tmp_path / "src").symlink_to(ROOT / "src")
    script = [sys.executable, str(tmp_path / "docs/reference.py")]
    done = subprocess.run([*script, "--check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.count("command-line.md")) == (1, 1)
    subprocess.run(script, check=True)
    renewed = (tmp_path / "docs/command-line.md").read_text(encoding="utf-8")
    assert renewed == (ROOT / "docs/command-line.md").read_text(encoding="utf-8")


def test_the_page_of_options_names_every_name_of_context() -> None:
    assert context() == set(NAMES)


def test_the_page_of_mirror_toml_names_every_field_and_no_other() -> None:
    page = (ROOT / "docs/mirror-toml.md").read_text(encoding="utf-8")
    sections = dict(
        re.findall(r"^## `(\[\[\w+\]\])`\n(.*?)(?=^## )", page, re.MULTILINE | re.DOTALL)
    )
    assert set(sections) == {"[[view]]", "[[table]]"}
    described = re.findall(r"^### `\[([\w.]+)\]`$", page, re.MULTILINE)
    others = set(_File.__struct_fields__) - {"view", "table"}
    assert set(described) == {*others, "cache.existing"}
    for name, kind in (("[[view]]", _ViewTable), ("[[table]]", TableSpec)):
        firsts = re.findall(r"^\| (`.*?) \|", sections[name], re.MULTILINE)
        documented = [field for first in firsts for field in re.findall(r"`(\w+)`", first)]
        assert sorted(documented) == sorted(kind.__struct_fields__)
