"""An option that would be ignored is refused, with one sentence and exit status 2."""

import os
import sys
from pathlib import Path
from typing import get_args

import pytest
from typer.main import get_command

from dynamirror.cli import main
from dynamirror.cli.commands import app

ROOT = Path(__file__).parents[2]
TABLE = ("--table", "users")


def refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> str:
    """Run a command that must be refused, and return the sentence."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "ELASTICACHE_", "DYNAMIRROR_", "DYNAMODB_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DYNAMODB_TABLE", "of-the-environment")
    monkeypatch.setattr(sys, "argv", ["dynamirror", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    output, errors = capsys.readouterr()
    assert (caught.value.code, output) == (2, "")
    (sentence,) = errors.splitlines()
    return sentence.removeprefix("dynamirror: ")


@pytest.mark.parametrize(
    ("arguments", "option", "needed"),
    [
        (("demo", "--key", "id"), "--key", "--load"),
        (("demo", "--env", "demo.env"), "--env", "--keep"),
        (("demo", "--no-page", "--open"), "--open", "--page"),
        (("demo", "--no-page", "--page-port", "8080"), "--page-port", "--page"),
        (("run", *TABLE, "--page-port", "8080"), "--page-port", "--page"),
        (("run", *TABLE, "--no-auto-rebuild", "--rate", "5"), "--rate", "--auto-rebuild"),
        (("run", *TABLE, "--lease", "5"), "--lease", "--ha"),
        (("status", *TABLE, "--interval", "1"), "--interval", "--watch"),
        (("verify", *TABLE, "--new-views"), "--new-views", "--repair"),
        (("cost", "--endpoint-url", "http://127.0.0.1:1"), "--endpoint-url", "--table"),
        (
            ("cost", "--audit-every", "0", "--audit-units", "5"),
            "--audit-units",
            "an --audit-every above 0",
        ),
        (
            ("view", "check", "x.toml", "--endpoint-url", "http://127.0.0.1:1"),
            "--endpoint-url",
            "--indexes",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_an_option_without_the_one_that_it_needs_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    option: str,
    needed: str,
) -> None:
    sentence = refused(monkeypatch, capsys, *arguments)
    assert sentence == f"{option}: applies only with {needed}"


@pytest.mark.parametrize("command", ["status", "backfill", "verify", "quarantine", "redrive"])
@pytest.mark.parametrize("option", [("--cache", "x"), ("--no-tls",), ("--config", "x")], ids=str)
def test_an_option_of_the_mirror_is_refused_where_a_function_has_its_own(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    option: tuple[str, ...],
) -> None:
    sentence = refused(monkeypatch, capsys, command, "--via", "Dynamirror", *option)
    name = option[0].replace("--no-", "--")
    assert sentence == f"{name}: does not apply with --via, whose function has its own"


@pytest.mark.parametrize(
    "command", [("verify", "--repair"), ("backfill",), ("redrive",)], ids=" ".join
)
def test_new_views_are_refused_where_a_function_has_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    sentence = refused(monkeypatch, capsys, *command, "--via", "Dynamirror", "--new-views")
    assert sentence.startswith("--new-views: does not apply with --via")


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (("run", *TABLE, "--tls", "--no-tls"), "--tls"),
        (("simulate", *TABLE, "--seed", "1", "--seed", "2"), "--seed"),
        (("demo", "--seconds", "1", "--seconds", "2"), "--seconds"),
        (("view", "check", "x.toml", "--table", "a", "--table", "b"), "--table"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_an_option_that_is_given_twice_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    option: str,
) -> None:
    sentence = refused(monkeypatch, capsys, *arguments)
    assert sentence == f"{option}: is given 2 times; give it once"


@pytest.mark.parametrize("how", [("--offline",), ("-c", "offline=true")], ids=" ".join)
def test_an_endpoint_is_refused_where_nothing_asks_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], how: tuple[str, ...]
) -> None:
    sentence = refused(monkeypatch, capsys, "preflight", *how, "--endpoint-url", "http://x")
    assert sentence == "--endpoint-url: does not apply with --offline"


def text_options() -> list[tuple[tuple[str, ...], str]]:
    """Return the options of all commands that take text, with the words before them."""
    commands = dict(get_command(app).commands)  # type: ignore[attr-defined]
    commands["view check"] = commands.pop("view").commands["check"]
    return [
        (tuple(name.split()), max(parameter.opts, key=len))
        for name, command in commands.items()
        for parameter in command.params
        if parameter.param_type_name == "option"
        and not parameter.is_flag
        and not {int, float} & {*get_args(parameter.type_descriptor.annotation)}
        and parameter.type_descriptor.annotation not in (int, float)
    ]


def test_an_empty_option_is_refused_as_a_variable_that_is_not_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried = text_options()
    assert len(tried) > 50
    for command, option in tried:
        if option == "--source":  # which refuses all but three words itself
            continue
        words = (*command, "x.toml") if command == ("view", "check") else command
        sentence = refused(monkeypatch, capsys, *words, option, "")
        assert sentence == f"{option}: is empty; give a value", command
    assert refused(monkeypatch, capsys, "view", "check", "") == (
        "MIRROR.TOML: is empty; give a value"
    )


@pytest.mark.parametrize("command", ["run", "status", "verify"])
@pytest.mark.parametrize("via", [(), ("--via", "Dynamirror")], ids=" ".join)
def test_a_table_that_is_named_twice_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    via: tuple[str, ...],
) -> None:
    if command == "run":
        via = ()
    sentence = refused(monkeypatch, capsys, command, *via, "-t", "a", "-t", "b", "--table", "a")
    assert sentence == "--table: a is given 2 times; give it once"


def test_a_number_of_ids_is_refused_where_the_items_are_those_of_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    view = str(ROOT / "examples/single-table/mirror.toml")
    sentence = refused(monkeypatch, capsys, "demo", "--view", view, "--ids", "5")
    assert sentence == "--ids: does not apply with a view whose items.json has the items"


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        (("--ids", "5"), "--ids: does not apply with a view whose items.json has the items"),
        (("--load", "x.json"), "--load: is for one table, but {view} has {tables}"),
        (("--open",), "--open: the page shows one table, but the views are for {tables}"),
        (
            ("--page-port", "8080"),
            "--page-port: the page shows one table, but the views are for {tables}",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_options_of_a_demo_of_one_table_are_refused_where_there_are_several(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    option: tuple[str, ...],
    sentence: str,
) -> None:
    view = str(ROOT / "examples/five-tables/mirror.toml")
    tables = "customers, orders, products, stock, carts"
    refusal = refused(monkeypatch, capsys, "demo", "--view", view, *option)
    assert refusal == sentence.format(view=view, tables=tables)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("notes.txt", "exists, and is not a demo's; name a new file"),
        (".", "exists, and is not a demo's; name a new file"),
        ("device", "exists, and is not a demo's; name a new file"),
        ("missing/demo.env", "cannot be written: its folder is missing"),
    ],
)
def test_a_file_of_another_kind_is_not_lost_to_the_settings_of_a_demo(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    name: str,
    sentence: str,
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "device").symlink_to("/dev/null")
    path = tmp_path / name
    said = refused(monkeypatch, capsys, "demo", "--keep", "--env", str(path))
    assert said == f"--env: {path} {sentence}"
    assert (tmp_path / "notes.txt").read_text() == "mine"
