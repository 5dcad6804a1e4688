"""The part of the page that shows table and cache side by side."""

from collections.abc import Sequence

from nicegui import ui

from dynamirror.page.entry_sample import MOST_ROWS
from dynamirror.page.parts import card, icon, text
from dynamirror.page.state import EntryRow, Verdict

_ICONS = {Verdict.SAME: "check", Verdict.MOVING: "schedule"}
# style.css leaves out the others on a phone.
_FIRST = 12
_TITLE = "Table and cache, entry by entry"


class EntryTable:
    """One line per entry of the sample."""

    def __init__(self, probe_key: str | None = None) -> None:
        self._probe_key = probe_key
        with card(_TITLE, "rows"):
            self._count = text("p", "").classes("muted count").props("data-testid=sample")
            with ui.element("div").props(f'role=table aria-label="{_TITLE}"').classes("lines"):
                with ui.element("div").classes("row head").props("role=row"):
                    for name in ("key", "expected from the table", "held by the cache", "state"):
                        text("span", name).props("role=columnheader")
                self._lines = [_Line() for _ in range(MOST_ROWS)]
            self._first = text("p", f"A small screen shows the first {_FIRST} of them.")

    def show(self, rows: Sequence[EntryRow]) -> None:
        """Show the entries in this order."""
        self._count.set_text(counted(rows, self._probe_key))
        self._first.classes(replace="muted first" if len(rows) > _FIRST else "gone")
        for index, line in enumerate(self._lines):
            line.show(rows[index] if index < len(rows) else None)


def counted(rows: Sequence[EntryRow], probe_key: str | None) -> str:
    """Return how many entries there are of each kind, and what the probe's row is."""
    if not rows:
        return "No entries yet."
    wrong = sum(row.verdict.is_wrong for row in rows)
    moving = sum(row.verdict is Verdict.MOVING for row in rows)
    entries = "1 entry" if len(rows) == 1 else f"{len(rows)} entries"
    text = f"{entries} of the mirror: {wrong} wrong, {moving} on the way."
    if any(row.key == probe_key for row in rows):
        text += f" {probe_key} is the demo's own: it measures the lag."
    return text


class _Line:
    def __init__(self) -> None:
        self._before: EntryRow | None = None
        with ui.element("div").classes("row").props("role=row") as self._row:
            self._key = text("span", "").classes("key").props("role=cell")
            self._table = text("span", "").classes("value table").props("role=cell")
            self._cache = text("span", "").classes("value cache").props("role=cell")
            with ui.element("span").classes("verdict").props("role=cell"):
                self._icon = icon("check")
                self._verdict = text("span", "")
        self._row.classes("gone")

    def show(self, row: EntryRow | None) -> None:
        if row == self._before:
            return
        self._before = row
        if row is None:
            self._row.classes(replace="row gone")
            return
        wrong = row.verdict.is_wrong
        tone = "wrong" if wrong else "moving" if row.verdict is Verdict.MOVING else "same"
        self._row.classes(replace=f"row {tone}")
        self._key.set_text(row.key)
        self._table.set_text(row.absent if row.table is None else row.table)
        self._table.classes(replace=f"value table{' none' if row.table is None else ''}")
        self._cache.set_text("no entry" if row.cache is None else row.cache)
        self._cache.classes(replace=f"value cache{' none' if row.cache is None else ''}")
        self._icon.set_name(_ICONS.get(row.verdict, "priority_high"))
        self._verdict.set_text(row.verdict.value)
