"""Bad input is one sentence on standard error and a failure, never a traceback."""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from tests.support.processes import environment, run
from tests.support.streams import Source

from dynamirror.cache.client import Cache
from dynamirror.cli import main
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB, create_table
from dynamirror.emulators.process import free_port
from dynamirror.emulators.valkey import EmbeddedValkey

Command = Callable[..., str]


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Run `dynamirror`, which must fail with one sentence, and return that sentence."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "ELASTICACHE_", "DYNAMIRROR_", "DYNAMODB_")):
            monkeypatch.delenv(name)

    def command(*arguments: str, status: int = 1) -> str:
        monkeypatch.setattr(sys, "argv", ["dynamirror", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        output, errors = capsys.readouterr()
        assert caught.value.code == status, errors
        assert "Traceback" not in output + errors
        if status == 2 and errors.startswith("Usage: "):  # with: usage, a hint and a box
            assert len(errors.splitlines()) <= 8
            return " ".join(errors.replace("│", " ").split())
        last = errors.splitlines()[-1]
        assert last.startswith("dynamirror: ")
        assert len(errors) < 400
        return last.removeprefix("dynamirror: ")

    handlers = list(logging.getLogger("dynamirror").handlers)
    yield command
    assert logging.getLogger("dynamirror").handlers == handlers


@pytest.fixture
def local(dynamodb: EmbeddedDynamoDB, valkey: EmbeddedValkey, cache: Cache) -> tuple[str, ...]:
    """Options that name running servers."""
    cache.broadcast(b"PING")
    return (
        *("--endpoint-url", dynamodb.endpoint_url),
        *("--cache", f"127.0.0.1:{valkey.port}", "--no-tls"),
    )


@pytest.fixture
def table(dynamodb: EmbeddedDynamoDB) -> str:
    """Name of a table whose stream can feed a mirror."""
    return Source(dynamodb).name


def new_table(dynamodb: EmbeddedDynamoDB, view_type: str | None) -> str:
    name = f"t-{uuid4().hex[:12]}"
    create_table(dynamodb.aws.dynamodb(), name, {"id": "S"}, view_type=view_type)
    return name


both = pytest.mark.parametrize("command", ["run", "verify"])


@both
def test_a_missing_table(fails: Command, local: tuple[str, ...], command: str) -> None:
    assert fails(command, "--table", "nobody", *local) == (
        "table nobody: it does not exist in this account and region; check the name and AWS_REGION"
    )


@pytest.mark.parametrize("command", ["status", "quarantine", "verify"])
def test_a_table_whose_name_is_no_text(
    fails: Command, local: tuple[str, ...], command: str
) -> None:
    assert fails(command, "--table", "\udcff", *local, status=2) == (
        "--table: '\\udcff' cannot be the name of a table; it has letters, digits, dots, "
        "dashes and underscores"
    )


@pytest.mark.parametrize("command", ["status", "backfill", "verify", "quarantine", "redrive"])
def test_no_table(fails: Command, command: str) -> None:
    assert fails(command) == "no table is named; give --table NAME, or --via FUNCTION_OR_STACK"


def test_a_stream_that_is_off(
    fails: Command, local: tuple[str, ...], dynamodb: EmbeddedDynamoDB
) -> None:
    name = new_table(dynamodb, None)
    assert fails("run", "--table", name, *local) == (
        f"the stream of table {name} is off; switch it on with StreamViewType=NEW_AND_OLD_IMAGES"
    )


@pytest.mark.parametrize("view_type", ["KEYS_ONLY", "OLD_IMAGE"])
def test_a_stream_without_new_images(
    fails: Command, local: tuple[str, ...], dynamodb: EmbeddedDynamoDB, view_type: str
) -> None:
    name = new_table(dynamodb, view_type)
    sentence = fails("run", "--table", name, *local)
    assert sentence.startswith(f"the stream of table {name} has the view type {view_type}")
    assert "NEW_AND_OLD_IMAGES" in sentence


def test_a_stream_without_the_old_images_that_a_view_needs(
    fails: Command, local: tuple[str, ...], dynamodb: EmbeddedDynamoDB, tmp_path: Path
) -> None:
    name = new_table(dynamodb, "NEW_IMAGE")
    config = tmp_path / "mirror.toml"
    config.write_text('[[view]]\nkey = "{name}:{id}"')
    sentence = fails("run", "--table", name, *local, "--config", str(config))
    assert sentence.startswith(f"the stream of table {name} has the view type NEW_IMAGE, but")


@both
def test_a_cache_that_cannot_be_reached(
    fails: Command, dynamodb: EmbeddedDynamoDB, table: str, command: str
) -> None:
    dynamodb.aws.dynamodb().put_item(TableName=table, Item={"id": {"S": "1"}})
    cache = f"127.0.0.1:{free_port()}"
    url = dynamodb.endpoint_url
    sentence = fails(command, "--table", table, "--endpoint-url", url, "--cache", cache, "--no-tls")
    assert sentence.startswith(f"cache {cache}: no connection: ")


def test_a_cache_that_does_not_speak_tls(
    fails: Command, dynamodb: EmbeddedDynamoDB, valkey: EmbeddedValkey, table: str
) -> None:
    cache = f"127.0.0.1:{valkey.port}"
    url = dynamodb.endpoint_url
    sentence = fails("run", "--table", table, "--endpoint-url", url, "--cache", cache)
    assert sentence == (
        f"cache {cache}: no TLS in time; if it has none, set ELASTICACHE_TLS=false (or --no-tls)"
    )


@both
def test_no_cache(fails: Command, command: str) -> None:
    assert fails(command, "--table", "users") == (
        "no cache is named; give --cache HOST[:PORT] or set ELASTICACHE_HOST"
    )


@pytest.mark.parametrize("port", ["0", "65536", "abc", "-1"])
def test_a_wrong_port(fails: Command, port: str) -> None:
    sentence = fails("verify", "--table", "users", "--cache", f"127.0.0.1:{port}", status=2)
    assert sentence == (
        f"--cache: 127.0.0.1:{port}: the port must be a whole number from 1 to 65535, not {port!r}"
    )


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("ELASTICACHE_TLS", "yes", "true or false"),
        ("ELASTICACHE_PORT", "abc", "a whole number"),
        ("ELASTICACHE_PORT", "70000", "a whole number of at most 65535"),
        ("ELASTICACHE_TIMEOUT", "0", "a number above 0"),
        ("ELASTICACHE_TIMEOUT", "61", "a number of at most 60"),
        ("DYNAMIRROR_FENCE_TTL", "1h", "a whole number"),
        ("DYNAMIRROR_FENCE_TTL", "60", "a whole number of at least 90000"),
    ],
)
def test_a_wrong_variable(
    fails: Command, monkeypatch: pytest.MonkeyPatch, name: str, value: str, allowed: str
) -> None:
    monkeypatch.setenv(name, value)
    assert fails("run", "--table", "users", "--cache", "x") == (
        f"environment: {name}: must be {allowed}, not {value!r}"
    )


def test_a_variable_that_is_no_text(fails: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELASTICACHE_PORT", "\udcff")
    assert fails("run", "--table", "users", "--cache", "x") == (
        "environment: ELASTICACHE_PORT: is not text in UTF-8"
    )


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("::1", "cache ::1:6379: "),
        ("[::1]:9", "cache ::1:9: "),
        ("127.0.0.1:9", "cache 127.0.0.1:9: "),
    ],
)
def test_an_address_is_taken_apart_at_its_port(
    fails: Command, dynamodb: EmbeddedDynamoDB, table: str, address: str, sentence: str
) -> None:
    where = ("--table", table, "--endpoint-url", dynamodb.endpoint_url, "--no-tls")
    assert fails("verify", *where, "--cache", address).startswith(sentence)


@pytest.mark.parametrize("address", ["u:hunter2@h:6379", "rediss://u:hunter2@h", "hunter2@h"])
def test_a_password_in_an_address_is_refused_and_not_repeated(fails: Command, address: str) -> None:
    sentence = fails("run", "--table", "t", "--cache", address, status=2)
    assert sentence.startswith("--cache: must be HOST[:PORT]; ")
    assert "hunter2" not in sentence


@pytest.mark.parametrize("percent", ["0", "-1", "101", "nan"])
def test_a_wrong_share_is_a_wrong_option(fails: Command, percent: str) -> None:
    assert fails("verify", "--table", "users", "--sample", percent, status=2) == (
        f"--sample: must be more than 0 and at most 100, not {percent}"
    )


@pytest.mark.parametrize("segment", ["0/3", "4/3", "x", "1/0"])
def test_a_wrong_segment_is_a_wrong_option(fails: Command, segment: str) -> None:
    assert fails("verify", "--table", "users", "--segment", segment, status=2) == (
        f"--segment: {segment} is not I/N with I from 1 to N, as in 3/10"
    )


def test_view_check_reads_the_sections_of_a_deployment(fails: Command, tmp_path: Path) -> None:
    (file := tmp_path / "mirror.toml").write_text("[[view]]\n[cache]\nmax_gbs = 4\n")
    sentence = f"{file}: cache.max_gbs: there is no such field; did you mean 'max_gb'?"
    assert fails("view", "check", str(file)) == sentence


@pytest.mark.parametrize("command", ["demo --view", "view check"])
def test_a_key_that_was_assumed_is_named(fails: Command, tmp_path: Path, command: str) -> None:
    (file := tmp_path / "mirror.toml").write_text('[[view]]\nkey = "user:{pk}"\n')
    error = fails(*command.split(), str(file))
    assert "leaves out id of the primary key of table users" in error
    assert error.endswith(
        f"; {file} has no [[table]], so the key is assumed to be id (S): add a [[table]] with name "
        "and keys"
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[[view]\n", "not valid TOML: "),
        ("[view]\n", "view: write [[view]], with two brackets on either side"),
        (
            '[[view]]\nname = "a"\nkey = "a:{id}"\n[[view]]\nname = "b"\nkey = "a:b:{id}"\n',
            "each key that begins with 'a:b:' begins with 'a:', too; begin their keys with words",
        ),
        ("", "view: is missing; add at least one [[view]]"),
        ('[[view]]\nkeys = "x"\n', "view[0].keys: there is no such field; did you mean 'key'?"),
        ('[[view]]\nkey = "users"\n', ""),
        ('[[view]]\nkey = "{name}"\n', ""),
        ('[[view]]\nencoding = "xml"\n', ""),
        ('[[view]]\nkey = "dynamirror:{id}"\n', ""),
        (f"[[view]]\nwhen = {'{all=[' * 40}{{a=1}}{']}' * 40}\n", "nested more than 32 deep"),
        (f"a = {'[' * 9_000}{']' * 9_000}\n", "is nested too deeply"),
        (b"\xff\xfe", "cannot be read: not UTF-8 text"),
    ],
)
@pytest.mark.parametrize("command", ["run", "verify", "demo"])
def test_a_malformed_mirror_toml(
    fails: Command,
    local: tuple[str, ...],
    table: str,
    tmp_path: Path,
    *,
    command: str,
    text: str | bytes,
    sentence: str,
) -> None:
    file = tmp_path / "mirror.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    if command == "demo":
        error = fails("demo", "--view", str(file), "--json")
    else:
        error = fails(command, "--table", table, *local, "--config", str(file))
    assert sentence in error


@pytest.mark.parametrize("command", ["run", "verify", "demo"])
def test_a_missing_mirror_toml(
    fails: Command, local: tuple[str, ...], table: str, command: str
) -> None:
    if command == "demo":
        error = fails("demo", "--view", "missing.toml", "--json")
    else:
        error = fails(command, "--table", table, *local, "--config", "missing.toml")
    assert error == "missing.toml: cannot be read: No such file or directory"


@both
def test_a_mirror_toml_for_another_table(
    fails: Command, local: tuple[str, ...], table: str, tmp_path: Path, command: str
) -> None:
    (file := tmp_path / "mirror.toml").write_text('[[view]]\ntable = "orders"\n')
    assert fails(command, "--table", table, *local, "--config", str(file)) == (
        f"no view is for table {table} (there are views for orders); add a [[view]]"
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "cannot be read: No such file or directory"),
        ("{", "is not JSON: "),
        ("[1]", "row 1: is not an object"),
        ("[]", "holds no rows"),
    ],
)
def test_a_file_that_cannot_be_loaded(
    fails: Command, tmp_path: Path, text: str | None, sentence: str
) -> None:
    file = tmp_path / "rows.json"
    if text is not None:
        file.write_text(text)
    error = fails("demo", "--load", str(file), "--json")
    assert error.startswith(f"{file}: {sentence}")


def test_a_key_that_is_no_key_is_a_wrong_option(fails: Command) -> None:
    assert fails("demo", "--load", "rows.json", "--key", "a,b,c", status=2) == (
        "--key: 'a,b,c' must be an attribute, or partition key and sort key as in pk,sk"
    )


def test_a_name_in_a_sentence_cannot_disturb_the_terminal(fails: Command, tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    file.write_text('[{"a\\n\\u001b[31m": {"N": 5}}, {"id": {"S": "1"}}]')
    assert "row 1 is not: attribute a\\n\\x1b[31m: a" in fails(
        "demo", "--load", str(file), "--json"
    )


@pytest.mark.parametrize("command", ["run", "verify", "simulate"])
@pytest.mark.parametrize(
    "url", ["nonsense", "http://[bad", "http://127.0.0.1:99999", "http://", "ftp://127.0.0.1"]
)
def test_a_wrong_endpoint(fails: Command, command: str, url: str) -> None:
    cache = () if command == "simulate" else ("--cache", "127.0.0.1:1", "--no-tls")
    error = fails(command, "--table", "users", "--endpoint-url", url, *cache, status=2)
    assert error == f"--endpoint-url: {url} is not an address like http://127.0.0.1:4566"


def test_an_endpoint_with_a_password_is_refused_and_not_repeated(fails: Command) -> None:
    url = "http://user:hunter2@127.0.0.1"
    error = fails(
        *("run", "--table", "users", "--endpoint-url", url),
        *("--cache", "127.0.0.1:1", "--no-tls"),
        status=2,
    )
    assert error == "--endpoint-url: must be an address without a user and a password"


def test_an_endpoint_where_nothing_listens(fails: Command) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    cache = ("--cache", "127.0.0.1:1", "--no-tls")
    error = fails("run", "--table", "users", "--endpoint-url", url, *cache)
    assert error == f"table users: cannot be reached at {url}/"


def test_no_region(fails: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    error = fails("verify", "--table", "users", "--cache", "127.0.0.1:1")
    assert error == "DynamoDB: no AWS region is set; set AWS_REGION"


def test_no_credentials(fails: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    error = fails("verify", "--table", "users", "--cache", "127.0.0.1:1")
    assert error.startswith("table users: no AWS credentials found; set AWS_PROFILE or")


@pytest.mark.parametrize(
    "arguments",
    [
        ("demo", "--seconds", "-1"),
        ("demo", "--rate", "0"),
        ("demo", "--ids", "0"),
        ("demo", "--ids", "many"),
        ("demo", "--seed", "x"),
        ("demo", "--nonsense"),
        ("run", "--table", "users", "--batch-size", "0"),
        ("run", "--table", "users", "--batch-size", "10001"),
        ("run", "--table", "users", "--parallelization-factor", "11"),
        ("simulate", "--table", "users", "--count", "0"),
        ("simulate", "--table", "users", "--rate", "nan"),
        ("demo", "--rate", "nan"),
        ("demo", "--seconds", "nan"),
        ("status", "--table", "users", "--watch", "--interval", "inf"),
        ("status", "--table", "users", "--max-lag", "1e10"),
        *(("run", "--table", "users", name, "inf") for name in ("--interval", "--drain")),
        *(("run", "--table", "users", name, "1e10") for name in ("--canary", "--lease")),
        *(("inspect", "--table", "users", name, "1e10") for name in ("--interval", "--for")),
        ("verify", "--table", "users", "--settle", "inf"),
        ("nonsense",),
    ],
    ids=" ".join,
)
def test_a_wrong_option(fails: Command, arguments: tuple[str, ...]) -> None:
    error = fails(*arguments, status=2)
    assert error.startswith("Usage: ")
    assert f"dynamirror {arguments[0]} [OPTIONS]" in error or "No such command" in error


@pytest.mark.parametrize(
    "arguments", [("verify", "--table", "users"), ("demo", "--load", "missing.json")], ids=" ".join
)
def test_as_a_process_it_is_the_same(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    process = run(*arguments, env=environment(tmp_path))
    assert process.returncode == 1
    assert process.stderr.startswith("dynamirror: ")
    assert len(process.stderr.splitlines()) == 1
