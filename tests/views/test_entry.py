"""What changes and rows mean for a view."""

from typing import Any

import pytest
from tests.support.builders import item, record, view

from dynamirror.errors import ConfigError, RecordError
from dynamirror.records.stream_record import decode
from dynamirror.records.version import SnapshotVersion
from dynamirror.views.encoding import attribute
from dynamirror.views.entry import Delete, Entry, Put, entries_of_change, entry_of_row
from dynamirror.views.view import View, ViewSpec

DEFAULT = view()
BY_NAME = view(ViewSpec(key="by-name:{name}:{id}"))
ROW = SnapshotVersion(1_790_000_000)

Image = dict[str, Any] | None


def told(entry: Entry) -> tuple[str, str]:
    """An entry in short: what is to become of which key."""
    match entry:
        case Put():
            return ("put", entry.key)
        case Delete():
            return ("delete", entry.key)


def entries(view: View, *, new: Image = None, old: Image = None, **changes: Any) -> list[Entry]:
    return list(entries_of_change(view, decode(record(5, new=new, old=old, **changes))))


@pytest.mark.parametrize(
    ("new", "old", "expected"),
    [
        (item("7"), None, [("put", "users:7")]),
        (item("7"), item("7", name="a"), [("put", "users:7")]),
        (None, item("7"), [("delete", "users:7")]),
    ],
    ids=["INSERT", "MODIFY", "REMOVE"],
)
def test_a_change_puts_or_deletes_its_items_entry(
    new: Image, old: Image, expected: list[tuple[str, str]]
) -> None:
    assert [told(entry) for entry in entries(DEFAULT, new=new, old=old)] == expected


def test_an_entry_carries_its_view_the_changes_version_and_the_new_item() -> None:
    change = decode(record(5, new=item("7", name="b"), old=item("7", name="a")))
    assert list(entries_of_change(DEFAULT, change)) == [
        Put(DEFAULT, "users:7", change.version, item("7", name="b"))
    ]


def test_a_delete_needs_no_old_image_where_the_key_cannot_change() -> None:
    raw = record(old=item("7"), StreamViewType="NEW_IMAGE")
    del raw["dynamodb"]["OldImage"]
    assert [told(entry) for entry in entries_of_change(DEFAULT, decode(raw))] == [
        ("delete", "users:7")
    ]


@pytest.mark.parametrize(
    ("new", "old", "expected"),
    [
        (item(name="a"), None, [("put", "by-name:a:1")]),
        (item(name="b"), item(name="a"), [("delete", "by-name:a:1"), ("put", "by-name:b:1")]),
        (item(name="a", x="2"), item(name="a", x="1"), [("put", "by-name:a:1")]),
        (None, item(name="a"), [("delete", "by-name:a:1")]),
        # an item that lacks the attribute has no entry, as in a sparse index
        (item(), None, []),
        (item(), item(name="a"), [("delete", "by-name:a:1")]),
        (item(name="a"), item(), [("put", "by-name:a:1")]),
        (item(x="2"), item(x="1"), []),
        (None, item(), []),
        # an old item that could not have a key had no entry
        (item(name="a"), item(name={"BOOL": True}), [("put", "by-name:a:1")]),
        (None, item(name={"BOOL": True}), []),
    ],
)
def test_a_change_of_an_attribute_in_the_key_moves_the_entry(
    new: Image, old: Image, expected: list[tuple[str, str]]
) -> None:
    found = entries(BY_NAME, new=new, old=old)
    assert [told(entry) for entry in found] == expected
    assert len({str(entry.version) for entry in found}) <= 1


def test_an_item_that_cannot_have_a_key_loses_its_old_entry_and_is_refused() -> None:
    change = decode(record(new=item(name={"BOOL": True}), old=item(name="a")))
    found = iter(entries_of_change(BY_NAME, change))
    assert told(next(found)) == ("delete", "by-name:a:1")
    with pytest.raises(RecordError, match="type BOOL cannot stand in a key"):
        next(found)


def test_a_new_item_that_cannot_have_a_key_is_refused() -> None:
    with pytest.raises(RecordError):
        entries(BY_NAME, new=item(name={"BOOL": True}))


@pytest.mark.parametrize("images", [{"new": item(name="a")}, {"old": item(name="a")}])
def test_a_key_that_can_change_needs_a_stream_with_old_images(images: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="needs the old image"):
        entries(BY_NAME, StreamViewType="NEW_IMAGE", **images)


def test_a_key_that_cannot_change_needs_no_old_images() -> None:
    found = entries(DEFAULT, new=item("7"), StreamViewType="NEW_IMAGE")
    assert [told(entry) for entry in found] == [("put", "users:7")]


def test_an_item_that_lacks_the_attribute_of_its_encoding_has_no_value() -> None:
    """The entry is a put without a value, as an older one must go."""
    names = view(ViewSpec(encoding=attribute("name")))
    (with_name,) = entries(names, new=item(name="a"))
    (without,) = entries(names, new=item(), old=item(name="a"))
    assert isinstance(with_name, Put)
    assert isinstance(without, Put)
    assert names.encoding.encode(with_name.item) == b"a"
    assert names.encoding.encode(without.item) is None


def test_a_row_puts_the_item_that_was_read() -> None:
    found = item("7", name="a")
    assert entry_of_row(DEFAULT, {"id": {"S": "7"}}, found, ROW) == Put(
        DEFAULT, "users:7", ROW, found
    )


def test_a_row_that_found_nothing_deletes_the_entry() -> None:
    key = {"id": {"S": "7"}}
    assert entry_of_row(DEFAULT, key, None, ROW) == Delete(DEFAULT, "users:7", ROW, key)


@pytest.mark.parametrize("found", [item(), None])
def test_a_row_has_no_entry_where_its_key_is_not_known(found: Image) -> None:
    assert entry_of_row(BY_NAME, {"id": {"S": "1"}}, found, ROW) is None


def test_a_row_that_cannot_have_a_key_is_refused() -> None:
    with pytest.raises(RecordError):
        entry_of_row(BY_NAME, {"id": {"S": "1"}}, item(name={"BOOL": True}), ROW)
