"""Arguments override the environment, the environment files, and files the defaults."""

import os
from pathlib import Path

import pytest

from dynamirror.cli.options import read_settings
from dynamirror.cli.table_mirror import named_tables

_FILE = """
[[table]]
name = "of-the-file"
keys = { pk = "S" }

[[view]]
key = "x:{pk}"
"""


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Return the environment, without settings."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "ELASTICACHE_", "DYNAMIRROR_", "DYNAMODB_")):
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.fixture
def file(tmp_path: Path) -> str:
    """Return the path of a mirror.toml."""
    path = tmp_path / "mirror.toml"
    path.write_text(_FILE)
    return str(path)


def test_the_address_of_the_cache(env: pytest.MonkeyPatch) -> None:
    env.setenv("ELASTICACHE_HOST", "of-the-environment")
    defaults = read_settings(None, tls=None, config=None)
    assert (defaults.host, defaults.port, defaults.tls) == ("of-the-environment", 6379, True)
    env.setenv("ELASTICACHE_PORT", "7000")
    env.setenv("ELASTICACHE_TLS", "false")
    set_by_it = read_settings(None, tls=None, config=None)
    assert (set_by_it.port, set_by_it.tls) == (7000, False)
    by_arguments = read_settings("of-the-arguments:8000", tls=True, config=None)
    assert (by_arguments.host, by_arguments.port) == ("of-the-arguments", 8000)
    assert by_arguments.tls


def test_the_file_of_the_views(env: pytest.MonkeyPatch, file: str) -> None:
    assert [view.key for view in read_settings("h", tls=None, config=None).views()] == [None]
    env.setenv("DYNAMIRROR_CONFIG", "of-the-environment.toml")
    assert read_settings("h", tls=None, config=None).config == "of-the-environment.toml"
    assert [view.key for view in read_settings("h", tls=None, config=file).views()] == ["x:{pk}"]


def test_the_tables(env: pytest.MonkeyPatch, file: str) -> None:
    assert named_tables(None, file) == ("of-the-file",)
    env.setenv("DYNAMODB_TABLE", "of-the-environment")
    assert named_tables(None, file) == ("of-the-environment",)
    env.setenv("DYNAMODB_TABLES", "a,b")
    assert named_tables(None, file) == ("a", "b")
    assert named_tables(["of-the-arguments"], file) == ("of-the-arguments",)


def test_the_keys_of_a_table(env: pytest.MonkeyPatch, file: str) -> None:
    def keys() -> tuple[str, ...]:
        schema = read_settings("h", tls=None, config=file).declared_schema("of-the-file")
        assert schema is not None
        return schema.keys

    assert keys() == ("pk",)
    env.setenv("DYNAMIRROR_KEY_SCHEMA", "of-the-environment")
    assert keys() == ("of-the-environment",)
