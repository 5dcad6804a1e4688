"""Every example mirrors its own items, whatever becomes of them."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.support.deadlines import wait_until
from tests.support.strategies import is_one_sentence

from dynamirror.cli import main
from dynamirror.demo.demo import Demo
from dynamirror.demo.demos import Demos
from dynamirror.demo.example import Example, load_example
from dynamirror.errors import ConfigError
from dynamirror.settings import load_tables, load_views
from dynamirror.views.explain import sample
from dynamirror.views.mirror_toml import parse_tables

EXAMPLES = Path(__file__).parents[2] / "examples"
ALL = ("original", "single-table", "session-store")
WITH_ITEMS = ("single-table", "session-store")
Command = Callable[..., tuple[int, str, str]]


def file(example: str) -> str:
    return str(EXAMPLES / example / "mirror.toml")


def example_of(name: str) -> Example:
    example = load_example(file(name))
    assert example is not None
    return example


@pytest.mark.parametrize("name", ALL)
def test_an_example_is_mirrored_without_a_difference_in_any_view(name: str) -> None:
    with Demo(ids=20, rate=400, seed=5, view=file(name)) as demo:
        for _ in demo.fill():
            pass
        for _ in demo.write(1.0):
            pass
        for _ in demo.drain():
            pass
        result = demo.compare()
        assert (result.differences, result.unmappable) == (0, 0)
        assert (demo.totals.quarantined, demo.totals.failed) == (0, 0)
        assert result.entries > 0
        assert demo.sample_entries()


def test_all_tables_of_an_example_are_mirrored_at_once_without_a_difference() -> None:
    with Demos(rate=400, seed=5, view=file("five-tables")) as demos:
        assert list(demos.fill())[-1] == demos.totals.loaded > 50
        for _ in demos.write(1.0):
            pass
        for _ in demos.drain():
            pass
        results = demos.compare()
        assert tuple(results) == ("customers", "orders", "products", "stock", "carts")
        assert [result.differences for result in results.values()] == [0] * 5
        assert all(result.entries for result in results.values())
        assert all(demo.totals.written for demo in demos.demos)
        assert demos.totals.written == sum(demo.totals.written for demo in demos.demos)
        assert (demos.totals.quarantined, demos.totals.failed) == (0, 0)
        assert set(demos.inspection().tables) == set(results)
        wait_until(lambda: all(demo.inspection().total.checks for demo in demos.demos))
        assert demos.inspection().violations == 0
        assert len(demos.sample_entries()) == 5
        assert demos.sample_command() == ("GET", "customer:c1")
        # What is not so must not be said to be well.
        demos.demos[3].cache.call("stock:1:mug", b"SET", b"stock:1:mug", b"damaged")
        sums = {name: result.differences for name, result in demos.compare().items()}
        assert sums == dict.fromkeys(results, 0) | {"stock": 1}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[view]]\nname = "x"\ntable = "x"\n', r"view x: there is no \[\[table\]\] x; add one"),
        ('[[view]]\nkey = "all:{id}"\n', "could both write one key"),
    ],
)
def test_views_of_several_tables_are_refused_before_a_server_starts(
    tmp_path: Path, text: str, said: str
) -> None:
    (view := tmp_path / "mirror.toml").write_text(
        "".join(f'[[table]]\nname = "{name}"\nkeys = {{ id = "S" }}\n' for name in "ab") + text
    )
    (tmp_path / "items").mkdir()
    for name in "ab":
        (tmp_path / f"items/{name}.json").write_text('[{"id": "1"}]')
    with pytest.raises(ConfigError, match=said) as caught:
        Demos(rate=1, seed=1, view=str(view))
    assert is_one_sentence(caught.value)


def test_the_items_of_each_of_several_tables_have_a_file(tmp_path: Path) -> None:
    (view := tmp_path / "mirror.toml").write_text(
        "".join(f'[[table]]\nname = "{name}"\nkeys = {{ id = "S" }}\n' for name in "ab")
    )
    with pytest.raises(ConfigError, match=r"items/a.json: is missing; put some items of table a"):
        Demos(rate=1, seed=1, view=str(view))


@pytest.mark.parametrize("name", WITH_ITEMS)
def test_every_view_of_an_example_shows_some_of_its_items(name: str) -> None:
    example = example_of(name)
    for spec in load_views(file(name)):
        assert sample(spec.bind(example.schema), example.items), spec.name


@pytest.mark.parametrize("name", WITH_ITEMS)
def test_the_changes_of_an_example_move_items_from_view_to_view(name: str) -> None:
    example = example_of(name)
    views = [spec.bind(example.schema) for spec in load_views(file(name))]
    changes = example.changes(Random(1), lambda: 1_790_000_000.0)
    drawn = [next(changes) for _ in range(300)]
    assert any(change.item is None for change in drawn)
    seen: dict[str, set[tuple[bool, ...]]] = {}
    for change in drawn:
        if change.item is not None:
            shows = tuple(view.render(change.item) is not None for view in views)
            seen.setdefault(json.dumps(change.key), set()).add(shows)
    assert any(len(shows) > 1 for shows in seen.values())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[table]]\nname = "t"', "keys: is missing"),
        ('[[table]]\nname = "t"\nkeys = {}', "keys"),
        ('[[table]]\nname = "t"\nkeys = { a = "X" }', "must be B, N or S, not 'X'"),
        ('[[table]]\nname = "t"\nkeys = { a = "S", b = "S", c = "S" }', "keys"),
        ('[[table]]\nname = "t"\nkeys = { a = "S" }\n' * 2, "names must differ"),
        ('[[tables]]\nname = "t"', "did you mean 'table'"),
    ],
)
def test_a_wrong_table_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_tables(f"[[view]]\n{text}")


@pytest.mark.parametrize(
    ("items", "said"),
    [
        (None, "items.json: is missing"),
        ("{", "is not JSON"),
        ("[]", "holds no rows"),
        ("[1]", "row 1: is not an object"),
        ('[{"a": "x"}]', "row 1: lacks the key attribute pk of type S"),
        ('[{"pk": {"S": "x"}}, {"pk": {"N": "1"}}]', "row 2: lacks the key attribute pk of type"),
    ],
)
def test_wrong_items_are_refused(tmp_path: Path, items: str | None, said: str) -> None:
    path = tmp_path / "mirror.toml"
    path.write_text('[[view]]\n[[table]]\nname = "t"\nkeys = { pk = "S" }\n', encoding="utf-8")
    if items is not None:
        (tmp_path / "items.json").write_text(items, encoding="utf-8")
    with pytest.raises(ConfigError, match=said) as caught:
        load_example(str(path))
    assert is_one_sentence(caught.value)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command line, and return exit status, output and errors."""

    def command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dynamirror", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        output, errors = capsys.readouterr()
        return int(caught.value.code or 0), output, errors

    return command


def test_view_check_tells_what_the_views_do_and_what_they_cost(run: Command) -> None:
    status, output, _errors = run("view", "check", file("single-table"))
    assert status == 0
    for words in (
        "for items where SK is 'PROFILE' of table shop",
        "status is one of 'placed', 'paid', 'shipped'",
        "SK begins with 'LINE#' and quantity >= 1",
        "the entries of one PK can be read in the order of SK",
        "product is called name",
        "currency is always 'EUR'",
        "without PK, SK, password_hash",
        "for instance user:USER#17  →  {",
        '"price":79,',  # 79.0 in the file, which DynamoDB stores as 79
        "index member 8",
        'users: {"dynamodb": {"Keys": {"SK": {"S": ["PROFILE"]}}}}',
    ):
        assert words in output


def test_view_check_has_an_answer_for_machines(run: Command) -> None:
    status, output, _errors = run("view", "check", file("session-store"), "--json")
    told: Any = json.loads(output)
    assert status == 0
    assert [one["view"] for one in told["views"]] == ["sessions", "devices"]
    assert told["filters"] == []
    assert [one["unknown"] for one in told["views"]] == [[], []]
    cost = told["views"][0]["entry"]["bytes"]
    assert cost["sum"] == cost["key"] + cost["value"] + cost["fence"]
    # What is said of the fence is so.
    assert cost["fence"] == len("dynamirror:fence:{}") + cost["key"] + 64


def test_view_check_makes_an_item_up_where_there_is_none(run: Command) -> None:
    status, output, _errors = run("view", "check", file("original"), "--table", "users")
    assert status == 0
    assert "for instance 1  →  Ada (a made-up item)" in output
    assert "its keys have no prefix" not in output  # it is exclusive


@pytest.mark.parametrize("name", ALL)
def test_view_check_shows_an_entry_of_every_view_of_the_examples(run: Command, name: str) -> None:
    _status, output, _errors = run("view", "check", file(name))
    assert output.count("for instance ") == len(load_views(file(name)))
    assert "no sample" not in output


def test_view_check_asks_for_items_where_a_made_up_one_has_no_entry(
    run: Command, tmp_path: Path
) -> None:
    path = tmp_path / "mirror.toml"
    path.write_text('[[view]]\nkey = "user:{id}"\nwhen = { type = "user" }\n')
    _status, output, _errors = run("view", "check", str(path))
    assert "no sample: put some items into items.json beside the views, or name a file" in output
    (items := tmp_path / "scan.json").write_text('{"Items": [{"id": {"S": "7"}}], "Count": 1}')
    _status, output, _errors = run("view", "check", str(path), "--item", str(items))
    assert "none of the items has an entry here" in output


def test_view_check_shows_each_pattern_once_with_the_views_that_need_it(
    run: Command, tmp_path: Path
) -> None:
    path = tmp_path / "mirror.toml"
    path.write_text(
        """
        view = [
            { name = "a", key = "a:{id}", when = { type = "user" } },
            { name = "b", key = "b:{id}", when = { type = "user", age = { ">" = 3 } } },
            { name = "c", key = "c:{id}", when = { id = { prefix = "x" } } },
        ]
        """
    )
    _status, output, _errors = run("view", "check", str(path))
    keys = {"id": {"S": [{"prefix": "x"}, "dynamirror:canary"]}}
    _, _, shown = output.partition("Lambda gets the records that fit one of these:\n")
    assert shown.splitlines() == [
        '  a, b: {"dynamodb": {"NewImage": {"type": {"S": ["user"]}}}}, or the same with OldImage',
        f"  c, the canary: {json.dumps({'dynamodb': {'Keys': keys}})}",
    ]
    _status, output, _errors = run("view", "check", str(path), "--json")
    answer = json.loads(output)
    assert [len(view["filters"]) for view in answer["views"]] == [2, 2, 1]
    assert len(answer["filters"]) == 3


def test_view_check_names_the_views_that_need_every_record(run: Command, tmp_path: Path) -> None:
    path = tmp_path / "mirror.toml"
    path.write_text(
        """
        view = [
            { name = "a", key = "a:{id}", when = { id = { prefix = "x" } } },
            { name = "b", key = "b:{id}", when = { age = { ">" = 3 } } },
            { name = "c", key = "c:{id}" },
        ]
        """
    )
    _status, output, _errors = run("view", "check", str(path))
    assert output.endswith(
        "Lambda gets every record: its filter cannot express the needs of b and c\n"
    )


def test_view_check_does_not_quote_numbers(run: Command, tmp_path: Path) -> None:
    path = tmp_path / "mirror.toml"
    path.write_text(
        """
        [[view]]
        key = "a:{id}"
        when = { n = { in = [1, 2.5, "3"] }, flag = true }
        constants = { version = 3, rate = 0.25, draft = false, currency = "EUR" }
        """
    )
    _status, output, _errors = run("view", "check", str(path))
    for words in (
        "n is one of 1, 2.5, '3' and flag is true",
        "version is always 3",
        "rate is always 0.25",
        "draft is always false",
        "currency is always 'EUR'",
    ):
        assert f"{words}\n" in output or words in output.partition("\n")[2]


ITEMS = """[
    {"id": "1", "type": "user", "address": {"city": "Rome"}, "expires_at": 1, "secret": "x"},
    {"id": "2", "type": "order", "total": 3}
]"""


@pytest.mark.parametrize(
    ("view", "sentences"),
    [
        (
            'ttl = "expire_at"',
            ["no sample item has expire_at, which `ttl` names; did you mean expires_at?"],
        ),
        (
            'include = ["Total", "type"]',
            ["no sample item has Total, which `include` names; did you mean total?"],
        ),
        (
            'exclude = ["secrets"]',
            ["no sample item has secrets, which `exclude` names; did you mean secret?"],
        ),
        (
            'rename = { tpye = "kind" }',
            ["no sample item has tpye, which `rename` names; did you mean type?"],
        ),
        (
            'key = "city:{address.town}:{id}"',
            ["no sample item has address.town, which `key` names; did you mean address.city?"],
        ),
        (
            'key = "c:{adress.x}:{id}"\nwhen = { "adress.x" = { exists = true } }',
            ["no sample item has adress.x, which `key` and `when` names; did you mean address?"],
        ),
        ('when = { zzz = "user" }', ["no sample item has zzz, which `when` names"]),
        (
            'encoding = "attribute"\nattribute = "nmae"',
            ["no sample item has nmae, which `attribute` names"],
        ),
        (
            'name = "abc"\nindex = { partition = "tpye", sort = "totl" }',
            [
                "no sample item has tpye, which `index` names; did you mean type?",
                "no sample item has totl, which `index` names; did you mean total?",
            ],
        ),
        (
            'name = "abc"\nindex = {}\nscore = "expire_at"',
            ["no sample item has expire_at, which `score` names; did you mean expires_at?"],
        ),
        # Values of another type count as none: an entry never expires, or there is no entry.
        (
            'ttl = "secret"',
            ["no sample item has secret as a number, which `ttl` names"],
        ),
        (
            'name = "abc"\nindex = { partition = "type" }\nscore = "address.city"',
            ["no sample item has address.city as a number, which `score` names"],
        ),
        (
            'name = "abc"\nindex = { partition = "address" }',
            ["no sample item has address as text, a number or binary, which `index` names"],
        ),
        # A view is about the items that it selects.
        (
            'when = { type = "order" }\ninclude = ["secret", "total"]',
            ["no sample item of this view has secret, which `include` names"],
        ),
        # What a view makes is not sought in items.
        ('encoding = "attribute"\nattribute = "kind"\nrename = { type = "kind" }', []),
        ('encoding = "attribute"\nattribute = "v"\nconstants = { v = 1 }', []),
        ('include = ["address"]\nkey = "{address.city}:{id}"\nttl = "expires_at"', []),
    ],
)
def test_view_check_names_an_attribute_that_no_item_has(
    run: Command, tmp_path: Path, view: str, sentences: list[str]
) -> None:
    path = tmp_path / "mirror.toml"
    path.write_text(f"[[view]]\n{view}\n")
    (tmp_path / "items.json").write_text(ITEMS)
    status, output, _errors = run("view", "check", str(path))
    assert status == 0
    lines = [line.strip() for line in output.splitlines() if "no sample item" in line]
    assert lines == sentences
    _status, output, _errors = run("view", "check", str(path), "--json")
    (explained,) = json.loads(output)["views"]
    assert len(explained["unknown"]) == len(sentences)


def test_view_check_refuses_a_wrong_file_in_one_sentence(run: Command, tmp_path: Path) -> None:
    path = tmp_path / "mirror.toml"
    for text in ("[[view]]\nkeys = 1", '[[view]]\nkey = "x:{name}"', "", "[[view]]\nwhen = {}"):
        path.write_text(text, encoding="utf-8")
        status, output, errors = run("view", "check", str(path))
        assert (status, output) == (1, "")
        assert errors.startswith("dynamirror: ")
        assert errors.count("\n") == 1
    status, _output, errors = run("view", "check", file("single-table"), "--table", "nobody")
    assert (status, "has no [[table]] nobody; it has shop" in errors) == (2, True)


def test_the_table_of_an_example_is_its_own() -> None:
    (table,) = load_tables(file("single-table"))
    assert (table.name, table.schema.keys, table.schema.types) == ("shop", ("PK", "SK"), ("S", "S"))


def test_view_check_warns_of_keys_that_serverless_refuses(run: Command, tmp_path: Path) -> None:
    path = tmp_path / "mirror.toml"
    path.write_text(
        '[[view]]\n[[table]]\nname = "t"\nkeys = { pk = "S", sk = "N" }\n', encoding="utf-8"
    )
    items = [{"pk": {"S": ":" * 1400}, "sk": {"N": "7"}}, {"pk": {"S": "a"}, "sk": {"N": "7"}}]
    (tmp_path / "items.json").write_text(json.dumps(items), encoding="utf-8")
    status, output, _errors = run("view", "check", str(path))
    assert status == 0
    assert "a key can have up to 6,193 bytes, and in ElastiCache Serverless no more than" in output
    assert "warning: 1 of 2 items have a key that is too long for ElastiCache Serverless" in output


def test_each_access_pattern_is_answered_by_the_mirror() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider"],
        cwd=EXAMPLES / "access-patterns",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 passed" in done.stdout
