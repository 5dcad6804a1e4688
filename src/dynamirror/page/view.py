"""How the page looks: builds it once for a viewer, then changes what changed."""

from collections.abc import Callable, Sequence
from pathlib import Path

from nicegui import ui

from dynamirror.page.charts import Charts
from dynamirror.page.parts import Text, card, icon, ms, text
from dynamirror.page.sampler import MOST_ROWS, Sampler
from dynamirror.page.state import (
    Button,
    Condition,
    Event,
    Parked,
    Row,
    Shard,
    Snapshot,
    Verdict,
)

_STYLE = Path(__file__).with_name("style.css")
_ICONS = {
    Condition.IN_SYNC: "check_circle",
    Condition.CATCHING_UP: "sync",
    Condition.DIFFERS: "error",
    Condition.INCOMPLETE: "warning",
    Condition.STOPPED: "pause_circle",
}
_TONES = {
    Condition.IN_SYNC: "good",
    Condition.CATCHING_UP: "busy",
    Condition.DIFFERS: "bad",
    Condition.INCOMPLETE: "bad",
    Condition.STOPPED: "rest",
}
_VERDICT_ICONS = {Verdict.SAME: "check", Verdict.MOVING: "schedule"}
_OUTCOMES = ("applied", "coalesced", "stale", "quarantined", "failed")
_MOST_EVENTS = 8
_MOST_SHARDS = 12
_MOST_PARKED = 10


def build(sampler: Sampler) -> None:
    """Build the page for one viewer, and keep it up to date.

    Args:
        sampler: looks at the mirror.
    """
    ui.add_css(_STYLE.read_text("utf-8"))
    page = _PageView(sampler)
    page.show(sampler.viewed())
    ui.timer(0.5, lambda: page.show(sampler.viewed()))


class _PageView:
    """The parts of the page, and what they showed last."""

    def __init__(self, sampler: Sampler) -> None:
        mirrored = sampler.mirrored
        self._number = -1
        with ui.element("main").classes("page"):
            with ui.element("header").classes("top"):
                text("h1", "dynamirror")
                text("p", mirrored.title).classes("muted")
            self._headline = _Headline()
            self._figures = _Figures(measured=mirrored.lags is not None)
            with ui.element("div").classes("columns"):
                with ui.element("div").classes("wide"):
                    with ui.element("div").classes("charts"):
                        self._charts = Charts(measured=mirrored.lags is not None)
                    self._rows = _Rows()
                with ui.element("div").classes("side"):
                    self._buttons = _Buttons(mirrored.buttons(), mirrored.press)
                    self._events = _Events() if mirrored.buttons() else None
                    self._shards = _Shards()
                    self._parked = _Quarantine()

    def show(self, snapshot: Snapshot) -> None:
        if snapshot.number == self._number:
            return
        self._number = snapshot.number
        self._headline.show(snapshot)
        self._figures.show(snapshot)
        self._buttons.show(snapshot)
        if self._events:
            self._events.show(snapshot.events)
        self._rows.show(snapshot.seen.rows)
        self._charts.show(snapshot.history)
        self._shards.show(snapshot.seen.shards)
        self._parked.show(snapshot.seen.parked, snapshot.seen.quarantined)


class _Headline:
    def __init__(self) -> None:
        with ui.element("section").classes("headline").props("role=status") as self._card:
            self._icon = icon("sync")
            with ui.element("div"):
                self._word = text("h2", "").props("data-testid=condition")
                self._detail = text("p", "").props("data-testid=detail")

    def show(self, snapshot: Snapshot) -> None:
        self._card.classes(replace=f"headline {_TONES[snapshot.condition]}")
        self._icon.set_name(_ICONS[snapshot.condition])
        self._word.set_text(snapshot.condition.value)
        self._detail.set_text(snapshot.detail)


class _Figures:
    def __init__(self, *, measured: bool) -> None:
        self._figures: dict[str, Text] = {}
        with ui.element("dl").classes("figures"):
            if measured:
                self._add("lag-p50", "lag, median")
                self._add("lag-p99", "lag, 99th percentile")
                self._add("written", "written to the table")
            for name in _OUTCOMES:
                self._add(name, name)

    def _add(self, name: str, label: str) -> None:
        with ui.element("div").classes("figure"):
            text("dt", label)
            self._figures[name] = text("dd", "-").props(f"data-testid={name}")

    def show(self, snapshot: Snapshot) -> None:
        values: dict[str, str] = {name: f"{getattr(snapshot.tally, name):,}" for name in _OUTCOMES}
        values["lag-p50"] = ms(snapshot.lag_ms.get("p50"))
        values["lag-p99"] = ms(snapshot.lag_ms.get("p99"))
        values["written"] = "-" if snapshot.written is None else f"{snapshot.written:,}"
        for name, figure in self._figures.items():
            figure.set_text(values[name])
            if name in ("quarantined", "failed"):
                figure.classes(replace="bad" if values[name] != "0" else "")


class _Buttons:
    """What a viewer may do, harm first."""

    def __init__(self, buttons: Sequence[Button], press: Callable[[str], object]) -> None:
        self._press = press
        self._shown: dict[str, _PushButton] = {}
        if not buttons:
            return
        with card("Break it, and watch it heal", "break"):
            self._list = ui.element("div").classes("buttons")
        self._arrange(buttons)

    def _arrange(self, buttons: Sequence[Button]) -> None:
        for button in buttons:
            if button.name not in self._shown:
                with self._list:
                    self._shown[button.name] = _PushButton(button, self._press)

    def show(self, snapshot: Snapshot) -> None:
        busy = any(button.busy for button in snapshot.buttons)
        self._arrange(snapshot.buttons)
        for button in snapshot.buttons:
            needed = snapshot.condition is Condition.INCOMPLETE and not busy
            offered = button.name != "rebuild" or button.busy or needed
            self._shown[button.name].show(button, waits=busy, offered=offered)


class _PushButton:
    def __init__(self, button: Button, press: Callable[[str], object]) -> None:
        self._element = ui.element("button").props("type=button")
        self._element.props(f"data-testid=press-{button.name}")
        self._element.on("click", lambda: press(button.name))
        with self._element:
            self._icon = icon(button.icon)
            with ui.element("span"):
                self._label = text("span", button.label).classes("label")
                self._hint = text("span", button.hint).classes("hint muted")

    def show(self, button: Button, *, waits: bool, offered: bool) -> None:
        self._icon.set_name("autorenew" if button.busy else button.icon)
        self._label.set_text(button.label)
        self._hint.set_text(button.hint)
        tones = ["push", "heals" if button.heals else "harms"]
        tones += ["busy"] * button.busy + ["gone"] * (not offered)
        self._element.classes(replace=" ".join(tones))
        # Not disabled, which would take the focus away from who uses the keyboard.
        self._element.props(f"aria-disabled={str(waits).lower()}")
        self._element.props(f"aria-busy={str(button.busy).lower()}")


class _Events:
    def __init__(self) -> None:
        self._before: Sequence[Event] = ()
        with card("What happened", "events"):
            self._none = text("p", "Nothing yet. Press a button.").classes("muted")
            with ui.element("div").props('role=log aria-label="What happened"'):
                self._list = ui.element("ol")

    def show(self, events: Sequence[Event]) -> None:
        events = events[:_MOST_EVENTS]
        if events == self._before:
            return
        self._before = events
        self._none.set_visibility(not events)
        self._list.clear()
        with self._list:
            for event in events:
                with ui.element("li").classes("good" if event.good else ""):
                    text("time", event.at).classes("muted")
                    text("span", event.text)


class _Rows:
    """Table and cache, side by side."""

    def __init__(self) -> None:
        with card("Table and cache, row by row", "rows"):
            self._count = text("p", "").classes("muted count").props("data-testid=sample")
            with ui.element("div").props('role=table aria-label="Table and cache, row by row"'):
                with ui.element("div").classes("row head").props("role=row"):
                    for name in ("key", "the table says", "the cache holds", "state"):
                        text("span", name).props("role=columnheader")
                self._rows = [_RowView() for _ in range(MOST_ROWS)]

    def show(self, rows: Sequence[Row]) -> None:
        wrong = sum(row.verdict.is_wrong for row in rows)
        moving = sum(row.verdict is Verdict.MOVING for row in rows)
        count = f"{len(rows)} entries of the mirror: {wrong} wrong, {moving} on the way."
        self._count.set_text(count if rows else "No entries yet.")
        for index, view in enumerate(self._rows):
            view.show(rows[index] if index < len(rows) else None)


class _RowView:
    def __init__(self) -> None:
        self._before: Row | None = None
        with ui.element("div").classes("row").props("role=row") as self._row:
            self._key = text("span", "").classes("key").props("role=cell")
            self._table = text("span", "").classes("value table").props("role=cell")
            self._cache = text("span", "").classes("value cache").props("role=cell")
            with ui.element("span").classes("verdict").props("role=cell"):
                self._icon = icon("check")
                self._verdict = text("span", "")
        self._row.classes("gone")

    def show(self, row: Row | None) -> None:
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
        self._table.set_text("no item" if row.table is None else row.table)
        self._table.classes(replace=f"value table{' none' if row.table is None else ''}")
        self._cache.set_text("no entry" if row.cache is None else row.cache)
        self._cache.classes(replace=f"value cache{' none' if row.cache is None else ''}")
        self._icon.set_name(_VERDICT_ICONS.get(row.verdict, "priority_high"))
        self._verdict.set_text(row.verdict.value)


class _Shards:
    def __init__(self) -> None:
        self._before: Sequence[Shard] | None = None
        with card("Shards, and how far each is read", "shards"):
            self._list = ui.element("ul")

    def show(self, shards: Sequence[Shard]) -> None:
        if shards == self._before:
            return
        self._before = shards
        self._list.clear()
        with self._list:
            for shard in shards[:_MOST_SHARDS]:
                with ui.element("li"):
                    text("span", shard.id).classes("mono")
                    read = "read to its end" if shard.finished else shard.after or "not read yet"
                    text("span", read).classes("mono muted")
            if not shards:
                text("li", "None has been read yet.").classes("muted")
            elif len(shards) > _MOST_SHARDS:
                text("li", f"and {len(shards) - _MOST_SHARDS:,} more").classes("muted")


class _Quarantine:
    def __init__(self) -> None:
        self._before: tuple[Sequence[Parked], int] | None = None
        with card("Quarantine", "parked"):
            self._list = ui.element("ul")

    def show(self, parked: Sequence[Parked], count: int) -> None:
        if (parked, count) == self._before:
            return
        self._before = parked, count
        self._list.clear()
        with self._list:
            if not count:
                text("li", "Empty: every item has its entry.").classes("muted")
            for one in parked[:_MOST_PARKED]:
                with ui.element("li"):
                    text("span", one.item).classes("mono")
                    text("span", one.reason).classes("muted")
            if count > len(parked):
                text("li", f"{count - len(parked):,} more: `dynamirror quarantine` lists them.")
