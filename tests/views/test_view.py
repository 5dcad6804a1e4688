"""Views: which are accepted for a table, and what they say of keys."""

import pytest
from tests.support.builders import item, record, view
from tests.support.strategies import is_one_sentence

from dynamirror.errors import ConfigError
from dynamirror.records.stream_record import Change, decode
from dynamirror.views.encoding import HASH, JSON
from dynamirror.views.view import Schema, Views, ViewSpec

ORDERS = Schema("orders", ("customer", "date"))
USERS = Schema("users", ("id",))
ORDER = {"date": {"S": "2026"}, "customer": {"S": "alice"}}


def schema_of(table: str, keys: frozenset[str]) -> Schema:
    return Schema(table, tuple(sorted(keys)))


def change_of(table: str) -> Change:
    raw = record(new=item())
    raw["eventSourceARN"] = raw["eventSourceARN"].replace("users", table)
    return decode(raw)


def bind(*specs: ViewSpec, schemas: tuple[Schema, ...] = (USERS,)) -> Views:
    views = Views(specs, schema_of)
    for schema in schemas:
        views.bind(schema)
    return views


def test_the_default_view_is_the_table_and_its_key_partition_key_first() -> None:
    assert view(schema=ORDERS).render(ORDER) == "orders:alice:2026"
    assert view(schema=USERS).render(item("7")) == "users:7"


def test_the_default_view_writes_json() -> None:
    assert view().encoding is JSON


@pytest.mark.parametrize(
    ("key", "missing"),
    [
        ("orders:{customer}", "date"),
        ("orders:{date}", "customer"),
        ("orders:{other}", "customer and date"),
    ],
)
def test_a_key_that_leaves_out_a_key_attribute_is_refused(key: str, missing: str) -> None:
    with pytest.raises(ConfigError, match=f"view mine: key .* leaves out {missing} ") as refused:
        ViewSpec(name="mine", key=key).bind(ORDERS)
    assert is_one_sentence(refused.value)
    assert "orders" in str(refused.value)


def test_a_malformed_key_is_refused_with_the_views_name() -> None:
    with pytest.raises(ConfigError, match=r"view mine: key '\{id'") as refused:
        ViewSpec(name="mine", key="{id").bind(USERS)
    assert is_one_sentence(refused.value)


def test_only_a_key_that_can_change_needs_old_images() -> None:
    assert not view(ViewSpec(key="{table}:{id}")).needs_old_image
    assert view(ViewSpec(key="{table}:{name}:{id}")).needs_old_image


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("a:{id}", "a:{id}"),
        ("a:{id}", "a:b:{id}"),
        ("a:b:{id}", "a:{id}"),
        ("a{id}", "ab:{id}"),
        ("{id}", "b:{id}"),
        ("{table}:{id}", "users:x:{id}"),
        ("{table}:{id}", None),
        ("d{id}", "%64:{id}"),
    ],
)
def test_views_of_a_table_that_could_write_one_key_are_refused(one: str, two: str | None) -> None:
    with pytest.raises(ConfigError, match=r"views one \(table users\) and two \(table users\)") as (
        refused
    ):
        bind(ViewSpec("one", key=one), ViewSpec("two", key=two))
    assert is_one_sentence(refused.value)


def test_views_of_two_tables_that_could_write_one_key_are_refused() -> None:
    specs = [
        ViewSpec("one", table="users", key="u:{id}"),
        ViewSpec("two", table="orders", key="u:{customer}:{date}"),
    ]
    with pytest.raises(ConfigError, match=r"one \(table users\) and two \(table orders\)"):
        bind(*specs, schemas=(USERS, ORDERS))
    with pytest.raises(ConfigError, match=r"two \(table orders\) and one \(table users\)"):
        bind(*specs, schemas=(ORDERS, USERS))


def test_one_view_for_any_table_that_does_not_name_the_table_is_refused_for_a_second() -> None:
    with pytest.raises(ConfigError, match=r"default \(table users\) and default \(table people\)"):
        bind(ViewSpec(key="all:{id}"), schemas=(USERS, Schema("people", ("id",))))


def test_a_refused_table_stays_refused() -> None:
    views = bind(ViewSpec("one", key="a:{id}"), ViewSpec("two", key="a:{id}"), schemas=())
    for _ in range(2):
        with pytest.raises(ConfigError):
            views.bind(USERS)


def test_views_whose_keys_begin_with_different_words_live_together() -> None:
    views = bind(
        ViewSpec("one", key="a:{id}"),
        ViewSpec("two", key="b:{id}", encoding=HASH),
        ViewSpec("three"),
        schemas=(),
    )
    assert [each.render(item("7")) for each in views.bind(USERS)] == ["a:7", "b:7", "users:7"]


def test_tables_whose_names_begin_alike_live_together() -> None:
    bind(ViewSpec(), schemas=(Schema("user", ("id",)), USERS, Schema("users2", ("id",))))


def test_a_view_for_another_table_is_not_used() -> None:
    views = bind(
        ViewSpec("mine", table="users"),
        ViewSpec("theirs", table="orders"),
        ViewSpec("both", key="both:{table}:{id}"),
    )
    assert [each.name for each in views.of_change(change_of("users"))] == ["mine", "both"]


def test_a_table_that_no_view_is_for_is_refused_with_those_that_there_are() -> None:
    views = bind(ViewSpec("one", table="orders"), ViewSpec("two", table="people"), schemas=())
    with pytest.raises(ConfigError, match=r"table users .*orders, people") as refused:
        views.of_change(change_of("users"))
    assert is_one_sentence(refused.value)


def test_a_table_is_bound_once_with_the_keys_of_its_first_record() -> None:
    asked: list[tuple[str, frozenset[str]]] = []

    def schema_of(table: str, keys: frozenset[str]) -> Schema:
        asked.append((table, keys))
        return Schema(table, tuple(keys))

    views = Views([ViewSpec()], schema_of)
    first = views.of_change(change_of("users"))
    assert views.of_change(change_of("users")) is first
    assert views.bind(USERS) is first
    views.of_change(change_of("people"))
    assert asked == [("users", frozenset({"id"})), ("people", frozenset({"id"}))]
