"""Settings from the environment and views from `mirror.toml`."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.strategies import PROMISE, is_one_sentence

from dynamirror.errors import ConfigError
from dynamirror.settings import Settings, load_views
from dynamirror.views.encoding import DYNAMODB_JSON, HASH, JSON
from dynamirror.views.mirror_toml import parse_views
from dynamirror.views.view import Schema, ViewSpec

# An environment variable holds any text but NUL.
words = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=10
) | st.sampled_from(["null", "true", "0", " ", "None"])


@st.composite
def all_settings(draw: st.DrawFn) -> Settings:
    by_iam, by_password = draw(st.sampled_from([(True, False), (False, True), (False, False)]))
    maybe = st.none() | words
    return Settings(
        host=draw(words),
        port=draw(st.integers(1, 65535)),
        tls=by_iam or draw(st.booleans()),
        authorities=draw(st.sampled_from(["system", "amazon"])),
        ca_file=draw(maybe),
        user=draw(words) if by_iam else draw(maybe) if by_password else None,
        password_file=draw(words) if by_password else None,
        iam_cache=draw(words) if by_iam else None,
        region=draw(words if by_iam else maybe),
        timeout=draw(st.floats(0, 60, exclude_min=True) | st.integers(1, 60)),
        fence_ttl=draw(st.integers(90_000, 31_536_000)),
        key_schema=draw(st.sampled_from([None, "id", "customer,date", "customer, date"])),
        config=draw(maybe),
    )


@PROMISE
@given(all_settings())
def test_settings_are_read_back_from_the_environment_they_make(settings: Settings) -> None:
    assert Settings.from_env(settings.to_env()) == settings


@PROMISE
@given(all_settings())
def test_the_environment_is_text_and_leaves_out_what_is_not_set(settings: Settings) -> None:
    env = settings.to_env()
    assert all(isinstance(value, str) and value for value in env.values())
    assert len(env) == sum(
        getattr(settings, name) is not None for name in settings.__struct_fields__
    )


def from_env(**env: str) -> Settings:
    return Settings.from_env({"ELASTICACHE_HOST": "cache"} | env)


def test_a_host_is_enough() -> None:
    assert from_env() == Settings(host="cache")


def test_variables_that_are_not_ours_are_ignored_and_empty_ones_count_as_unset() -> None:
    assert from_env(PATH="/bin", ELASTICACHE_USER="", ELASTICACHE_PORT="") == from_env()


@pytest.mark.parametrize(("text", "value"), [("true", True), ("false", False), ("1", True)])
def test_tls_is_switched_by_a_word(text: str, value: Any) -> None:
    assert from_env(ELASTICACHE_TLS=text).tls is value


@pytest.mark.parametrize(
    ("env", "names"),
    [
        ({"ELASTICACHE_HOST": ""}, ["ELASTICACHE_HOST"]),
        *(
            ({"ELASTICACHE_PORT": text}, ["ELASTICACHE_PORT"])
            for text in ("x", "0", "65536", "1.5")
        ),
        ({"ELASTICACHE_TLS": "maybe"}, ["ELASTICACHE_TLS"]),
        (
            {"ELASTICACHE_CA": "/etc/ca.pem"},
            ["ELASTICACHE_CA: ", "'/etc/ca.pem'", "system, amazon", "ELASTICACHE_CA_FILE"],
        ),
        *(
            ({"ELASTICACHE_TIMEOUT": text}, ["ELASTICACHE_TIMEOUT"])
            for text in ("x", "0", "-1", "61", "nan", "inf")
        ),
        *(
            ({"DYNAMIRROR_FENCE_TTL": text}, ["DYNAMIRROR_FENCE_TTL"])
            for text in ("x", "3600", "99999999999", "1d")
        ),
        *(
            ({"DYNAMIRROR_KEY_SCHEMA": text}, ["DYNAMIRROR_KEY_SCHEMA"])
            for text in (",", "pk,", ",sk", " ", "{", '{"orders":"id"}', '{"orders":[""]}')
        ),
        (
            {"ELASTICACHE_NAME": "c"},
            ["ELASTICACHE_NAME", "ELASTICACHE_USER", "AWS_REGION", "TLS"],
        ),
        (
            {
                "ELASTICACHE_NAME": "c",
                "ELASTICACHE_USER": "u",
                "AWS_REGION": "r",
                "ELASTICACHE_TLS": "false",
            },
            ["ELASTICACHE_NAME", "TLS"],
        ),
        (
            {
                "ELASTICACHE_NAME": "c",
                "ELASTICACHE_USER": "u",
                "AWS_REGION": "r",
                "ELASTICACHE_PASSWORD_FILE": "f",
            },
            ["ELASTICACHE_NAME", "ELASTICACHE_PASSWORD_FILE"],
        ),
    ],
    ids=str,
)
def test_a_bad_variable_is_named_in_one_sentence(env: dict[str, str], names: list[str]) -> None:
    with pytest.raises(ConfigError) as refused:
        from_env(**env)
    message = str(refused.value)
    assert message.startswith("environment: ")
    assert all(name in message for name in names)
    assert is_one_sentence(refused.value)


def test_the_declared_schema_keeps_the_order_of_its_names() -> None:
    declared = from_env(DYNAMIRROR_KEY_SCHEMA="customer, date").declared_schema("orders")
    assert declared == Schema("orders", ("customer", "date"))
    assert from_env().declared_schema("orders") is None


def test_the_keys_of_several_tables_are_declared_by_name(tmp_path: Path) -> None:
    (file := tmp_path / "mirror.toml").write_text(
        '[[table]]\nname = "users"\nkeys = { id = "N" }\n'
        '[[table]]\nname = "orders"\nkeys = { wrong = "S" }\n',
        encoding="utf-8",
    )
    keys = '{"orders":["customer","date"]}'
    settings = from_env(DYNAMIRROR_KEY_SCHEMA=keys, DYNAMIRROR_CONFIG=str(file))
    # The environment goes before the file.
    assert settings.declared_schema("orders") == Schema("orders", ("customer", "date"))
    assert settings.declared_schema("users") == Schema("users", ("id",), ("N",))
    assert settings.declared_schema("other") is None


def test_without_a_file_there_is_the_default_view() -> None:
    assert load_views(None) == (ViewSpec(),)


def test_a_file_gives_its_views_in_order(tmp_path: Path) -> None:
    path = tmp_path / "mirror.toml"
    path.write_text(
        """
        [[view]]
        name = "users"
        table = "users"
        key = "u:{id}"
        encoding = "hash"

        [[view]]
        key = "zoë:{id}"
        encoding = "dynamodb-json"

        [[view]]
        name = "names"
        encoding = "attribute"
        attribute = "name"
        """,
        encoding="utf-8",
    )
    users, second, names = load_views(str(path))
    assert users == ViewSpec("users", table="users", key="u:{id}", encoding=HASH)
    assert second == ViewSpec("view 2", key="zoë:{id}", encoding=DYNAMODB_JSON)
    assert (names.name, names.key, names.encoding.name) == ("names", None, "attribute")
    assert names.encoding.encode({"name": {"S": "zoë"}}) == "zoë".encode()


def test_the_variable_may_hold_the_text_of_a_file_itself(tmp_path: Path) -> None:
    text = '[[table]]\nname = "orders"\nkeys = { id = "S" }\n[[view]]\nkey = "order:{id}"\n'
    path = tmp_path / "mirror.toml"
    path.write_text(text)
    inline, by_path = (
        Settings.from_env({"ELASTICACHE_HOST": "cache", "DYNAMIRROR_CONFIG": config})
        for config in (text, str(path))
    )
    assert inline.views() == by_path.views()
    assert inline.declared_schema("orders") == by_path.declared_schema("orders")
    assert Settings.from_env(inline.to_env()) == inline


def test_what_is_wrong_in_such_a_text_is_told_with_the_variable() -> None:
    with pytest.raises(ConfigError) as refused:
        load_views("[[view]]\nkei = 'x'\n")
    assert str(refused.value).startswith("DYNAMIRROR_CONFIG: view[0].kei: there is no such field")


def test_a_lone_view_without_a_name_is_called_default() -> None:
    assert parse_views("[[view]]") == (ViewSpec("default", encoding=JSON),)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["view: is missing", "[[view]]"]),
        ("# nothing yet", ["view: is missing", "[[view]]"]),
        ("[[view]", ["not valid TOML", "line 1"]),
        ("view = ", ["not valid TOML"]),
        ("x = 1e99999999999999999999", ["not valid TOML", "a number is too large"]),
        (f"x = {'9' * 5000}", ["not valid TOML", "4300 digits"]),
        ("[[view]]\nname = 'a'\nname = 'b'", ["not valid TOML", "overwrite a value"]),
        ("views = []", ["views: there is no such field", "did you mean 'view'"]),
        ("[x]", ["x: there is no such field", "known are", "view"]),
        ("[[view]]\nnmae = 'a'", ["view[0].nmae", "did you mean 'name'"]),
        ("[[view]]\n[[view]]\nencodnig = 'json'", ["view[1].encodnig", "did you mean 'encoding'"]),
        ("[[view]]\nq = 1", ["view[0].q: there is no such field", "known are", "attribute"]),
        ("view = 3", ["view: write [[view]], with two brackets on either side"]),
        ("view = []", ["view: is missing", "[[view]]", "[[table]]"]),
        ("[view]\nname = 'a'", ["view: write [[view]], with two brackets on either side"]),
        ("view = [1]", ["view[0]: must be a section of fields, not 1"]),
        ("[[view]]\nname = 5", ["view[0].name: must be text, and not empty, not 5"]),
        ("[[view]]\nkey = ['a']", ["view[0].key: must be text, and not empty, not ['a']"]),
        (
            "[[view]]\ntable = 2026-01-01",
            ["view[0].table: must be text, and not empty, not 2026-01-01"],
        ),
        ("[[view]]\nkey = ''", ["view[0].key: must be text, and not empty"]),
        (
            "[[view]]\nencoding = 'jsn'",
            ["view[0].encoding: must be attribute, dynamodb-json, hash or json, not 'jsn'"],
        ),
        ("[[view]]\nencoding = 1", ["view[0].encoding: must be ", ", not 1"]),
        ("[[view]]\nencoding = 'attribute'", ["view[0]: encoding", "needs the attribute"]),
        ("[[view]]\nattribute = 'name'", ["view[0]: `attribute` goes with encoding"]),
        ("[[view]]\nkey = '{id'", ["view[0]: key '{id'", "write {attribute} for a value"]),
        ("[[view]]\nkey = 'users'", ["view[0]: key 'users'", "names no attribute"]),
        ("[[view]]\nkey = '{a}{b}'", ["view[0]: key '{a}{b}'", "separator"]),
        ("[[view]]\nkey = 'dynamirror:{a}'", ["view[0]: key", "kept for dynamirror"]),
        (
            "[[view]]\nname = 'a'\n[[view]]\nname = 'a'",
            ["view[].name: 'a' is used twice", "must differ"],
        ),
        ("[[view]]\nname = 'view 2'\n[[view]]", ["view[].name: 'view 2' is used twice"]),
    ],
)
def test_what_is_wrong_in_a_file_is_told_with_file_field_and_fix(
    text: str, parts: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "mirror.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_views(str(path))
    message = str(refused.value)
    assert message.startswith(f"{path}: ")
    assert all(part in message for part in parts)
    assert is_one_sentence(refused.value)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("absent.toml", None, "No such file or directory"),
        ("", None, "Is a directory"),
        ("latin.toml", "name = 'zoë'".encode("latin-1"), "not UTF-8 text"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_reason(
    name: str, content: bytes | None, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        load_views(str(path))
    assert str(refused.value) == f"{path}: cannot be read: {reason}"
    assert is_one_sentence(refused.value)


def test_views_that_are_parsed_from_text_are_named_as_the_usual_file() -> None:
    with pytest.raises(ConfigError, match=r"^mirror\.toml: "):
        parse_views("x")


def test_a_user_without_a_way_to_prove_it_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^environment: ELASTICACHE_USER goes with "):
        from_env(ELASTICACHE_USER="mirror")


@pytest.mark.parametrize("name", ["ELASTICACHE_PASSWORD", "ELASTICACHE_AUTH_TOKEN"])
def test_a_secret_in_the_environment_is_refused_and_not_repeated(name: str) -> None:
    with pytest.raises(ConfigError, match=f"^environment: {name}: .*_PASSWORD_FILE") as error:
        Settings.from_env({"ELASTICACHE_HOST": "h", name: "hunter2"})
    assert "hunter2" not in str(error.value)
    assert Settings.from_env({"ELASTICACHE_HOST": "h", name: ""}).host == "h"


def test_a_secret_in_another_variable_is_not_repeated() -> None:
    wrong = {
        "ELASTICACHE_HOST": "redis://user:hunter2@cache",
        "ELASTICACHE_SECRET_ARN": "hunter2",
    }
    for name, value in wrong.items():
        with pytest.raises(ConfigError, match=f"^environment: {name} ") as error:
            Settings.from_env({"ELASTICACHE_HOST": "h", name: value})
        assert "hunter2" not in str(error.value)
