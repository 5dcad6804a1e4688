"""A typing error in any name of a `mirror.toml`, or of context, is refused with the right name."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from dynamirror.deployment.file import Sections, check_sections
from dynamirror.deployment.overrides import NAMES, check_names
from dynamirror.deployment.sections import ExistingCache
from dynamirror.errors import ConfigError
from dynamirror.settings import load_views
from dynamirror.views import mirror_toml

VIEW = '[[view]]\nname = "abc"\n'
TABLE = '[[table]]\nname = "abc"\nkeys = { id = "S" }\n'


def mistyped(name: str) -> str:
    """Return a name with its last two different neighbours in the wrong order."""
    place = max(place for place in range(1, len(name)) if name[place - 1] != name[place])
    return name[: place - 1] + name[place] + name[place - 1] + name[place + 1 :]


def fields() -> Iterator[tuple[str, str, str]]:
    """Yield what stands before each field, and the two parts of its path."""
    kinds = [
        (VIEW, "view[0].", mirror_toml._ViewTable),
        (f"{VIEW}[view.index]\n", "view[0].index.", mirror_toml._IndexTable),
        (VIEW + TABLE, "table[0].", mirror_toml.TableSpec),
        (f"{VIEW}[cache.existing]\n", "cache.existing.", ExistingCache),
        *(
            (f"{VIEW}[{section.name}]\n", f"{section.name}.", section.type)
            for section in msgspec.structs.fields(Sections)
        ),
    ]
    for before, path, kind in kinds:
        yield from ((before, path, field.name) for field in msgspec.structs.fields(kind))


def refused(text: str, folder: Path) -> str:
    """Return the sentence of a command that reads a file."""
    (file := folder / "mirror.toml").write_text(text)
    # Those of a deployment are not read with the views.
    for read in (check_sections, load_views):
        try:
            read(str(file))
        except ConfigError as error:
            return str(error).removeprefix(f"{file}: ")
    return ""


def test_a_mistyped_field_is_refused_with_the_right_one(tmp_path: Path) -> None:
    tried = list(fields())
    assert len(tried) > 90
    for before, path, name in tried:
        wrong = mistyped(name)
        assert refused(f"{before}{wrong} = 1\n", tmp_path) == (
            f"{path}{wrong}: there is no such field; did you mean {name!r}?"
        )


@pytest.mark.parametrize("name", msgspec.structs.fields(mirror_toml._File), ids=lambda f: f.name)
def test_a_mistyped_section_is_refused_with_the_right_one(
    tmp_path: Path, name: msgspec.structs.FieldInfo
) -> None:
    wrong = mistyped(name.name)
    hint = f"{wrong}: there is no such field; did you mean {name.name!r}?"
    assert refused(f"{VIEW}[{wrong}]\n", tmp_path) == hint
    assert refused(f"{VIEW}[[{wrong}]]\n", tmp_path) == hint


def test_a_mistyped_option_of_context_is_refused_with_the_right_one() -> None:
    for name in NAMES:
        with pytest.raises(ConfigError) as error:
            check_names([mistyped(name)])
        sentence = f"context: {mistyped(name)}: there is no such option; did you mean {name}?"
        assert str(error.value) == sentence


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (f"{VIEW}include = 'a'", "view[0].include: must be a list, and not empty, each of it text"),
        (f"{VIEW}when = 'a'", "view[0].when: must be a table of fields, not 'a'"),
        (
            f"{VIEW}index = 'a'",
            "view[0].index: must be a table of fields, as in { partition = \"customer\" }, not 'a'",
        ),
        (
            f"{VIEW}rename = {{ 'a.b' = 3 }}",
            "view[0].rename.a.b: must be text, and not empty, not 3",
        ),
        (f"{VIEW}rename = {{ '' = 'a' }}", "view[0].rename: has a name that is empty"),
        (f"{VIEW}ttl = true", "view[0].ttl: must be text, and not empty, not true"),
        (f"{VIEW}exclusive = 'yes'", "view[0].exclusive: must be true or false, not 'yes'"),
        (
            f"{VIEW}{TABLE}view_type = 'NEW'",
            "table[0].view_type: must be KEYS_ONLY, NEW_AND_OLD_IMAGES, NEW_IMAGE or OLD_IMAGE",
        ),
        (
            f"{VIEW}{TABLE}keys.sk = 'x'".replace('keys = { id = "S" }\n', ""),
            "table[0].keys.sk: must be B, N or S, not 'x'",
        ),
        (
            f"{VIEW}{TABLE}".replace('"S"', '"S", b = "S", c = "S"'),
            "table[0].keys: must be one or two attributes and their types, as in",
        ),
        (f"{VIEW}[[cache]]\nmax_gb = 3", "cache: write [cache], with one bracket on either side"),
        (f"{VIEW}[[cache.existing]]", "cache.existing: write [cache.existing], with one bracket"),
        (f"{VIEW}[table]\nname = 'a'", "table: write [[table]], with two brackets on either side"),
    ],
)
def test_what_a_field_must_be_is_described_in_words(
    tmp_path: Path, text: str, sentence: str
) -> None:
    assert refused(text, tmp_path).startswith(sentence)
