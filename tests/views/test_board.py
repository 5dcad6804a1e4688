"""Views with a score: a sorted set in the order of a number, with members for plain clients."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.key_templates import hostile
from tests.support.strategies import PROMISE, numbers

from dynamirror.errors import ConfigError
from dynamirror.views.board import Board
from dynamirror.views.mirror_toml import parse_views
from dynamirror.views.view import Schema, View

SCHEMA = Schema("players", ("id", "season"), ("S", "N"))
BY_GAME = 'name = "by-game"\nindex = { partition = "game" }\nscore = "stats.points"'
WHOLE = 'name = "everybody"\nindex = {}\nscore = "stats.points"'
OF_ITEM = 'collection = true\nscore = "stats.points"'


def bound(text: str, schema: Schema = SCHEMA) -> View:
    (spec,) = parse_views(f"[[view]]\n{text}")
    return spec.bind(schema)


def board_of(view: View) -> Board:
    assert view.board is not None
    return view.board


def image(player: str, season: str, points: str, game: Any = None) -> Any:
    return {
        "id": {"S": player},
        "season": {"N": season},
        "game": game or {"S": "chess"},
        "stats": {"M": {"points": {"N": points}}},
    }


images = st.builds(image, hostile.filter(bool), numbers, numbers)


@pytest.mark.parametrize("text", [BY_GAME, WHOLE, OF_ITEM])
@pytest.mark.parametrize("table", ["players", "dynamirror"])
@PROMISE
@given(item=images)
def test_a_member_is_what_the_entry_s_key_has_behind_the_set_s(
    text: str, table: str, item: Any
) -> None:
    view = bound(text, Schema(table, SCHEMA.keys, SCHEMA.types))
    board = board_of(view)
    key, entry = board.index_key(item), view.render(item)
    assert entry == key.removesuffix("%%") + board.member(item).decode()
    assert entry != key
    partition = board.partition_of(key)
    assert partition is not None
    found = board.entry_of(partition, board.member(item))
    assert found is not None
    assert found[0] == entry
    assert view.schema.key_of(found[1]).keys() == set(SCHEMA.keys)
    assert board.index_key(found[1]) == key
    assert float(board.score(item)) == float(item["stats"]["M"]["points"]["N"])
    assert view.identifier()(key) is None


@pytest.mark.parametrize(
    ("text", "index", "member"),
    [
        (BY_GAME, "players:by-game:{chess}:%%", b"ann:2026"),
        (WHOLE, "players:everybody:{everybody}:%%", b"ann:2026"),
        (OF_ITEM, "players:{ann}:%%", b"2026"),
    ],
)
def test_keys_and_members_are_plain(text: str, index: str, member: bytes) -> None:
    item = image("ann", "2026", "9")
    board = board_of(bound(text))
    assert (board.index_key(item), board.member(item)) == (index, member)


@pytest.mark.parametrize("points", [{}, {"points": {"S": "9"}}, {"points": {"NULL": True}}])
@pytest.mark.parametrize("text", [BY_GAME, WHOLE, OF_ITEM])
def test_an_item_without_the_number_is_not_on_the_board(text: str, points: Any) -> None:
    view = bound(text)
    assert view.render({**image("ann", "1", "9"), "stats": {"M": points}}) is None
    assert view.render({**image("ann", "1", "9"), "stats": {"S": "x"}}) is None
    assert not view.is_static


def test_a_partition_of_another_type_is_no_board() -> None:
    view = bound(BY_GAME)
    assert view.render(image("ann", "1", "9", {"L": []})) is None
    assert view.render(image("ann", "1", "9", {"N": "7"})) == "players:by-game:{7}:ann:1"


def test_a_board_of_single_items_is_refused() -> None:
    with pytest.raises(ConfigError, match="would be alone"):
        bound(
            'name = "abc"\nindex = { partition = "id" }\nscore = "n"', Schema("t", ("id",), ("S",))
        )
