"""Build the page for each viewer, and update the parts that change."""

from collections.abc import Sequence
from pathlib import Path

from nicegui import ui

from dynamirror.page.buttons import Buttons
from dynamirror.page.charts import Charts
from dynamirror.page.entry_table import EntryTable
from dynamirror.page.measurement_card import MeasurementCard
from dynamirror.page.parts import Text, card, icon, ms, text
from dynamirror.page.rebuild_card import RebuildCard
from dynamirror.page.sampler import Sampler
from dynamirror.page.state import Condition, Event, PageState, ParkedRow, Shard

_STYLE = Path(__file__).with_name("style.css")
_ICONS = {
    Condition.IN_SYNC: "check_circle",
    Condition.CATCHING_UP: "sync",
    Condition.DIFFERS: "error",
    Condition.INCOMPLETE: "warning",
    Condition.DOUBTFUL: "warning",
    Condition.STOPPED: "pause_circle",
    Condition.STANDBY: "pause_circle",
}
_TONES = {
    Condition.IN_SYNC: "good",
    Condition.CATCHING_UP: "busy",
    Condition.DIFFERS: "bad",
    Condition.INCOMPLETE: "bad",
    Condition.DOUBTFUL: "busy",
    Condition.STOPPED: "rest",
    Condition.STANDBY: "rest",
}
# The figures, as label and definition.
_LAGS = {
    "lag-p50": (
        "lag since the start, median",
        "Half of all measured writes were visible in the cache within this time.",
    ),
    "lag-p99": (
        "lag since the start, 99th percentile",
        "Of 100 measured writes, 99 were visible in the cache within this time.",
    ),
    "written": (
        "written to the table",
        "Random changes that DynamoDB acknowledged, without those that only measure the lag.",
    ),
}
_OUTCOMES = {
    "applied": ("applied to the cache", "Entries that were written or deleted."),
    "coalesced": (
        "coalesced",
        "Entries that were not sent, because the same batch held a newer change of the item.",
    ),
    "stale": (
        "stale",
        "Entries that were left alone, because the cache held a version at least as new.",
    ),
    "quarantined": (
        "in quarantine now",
        "Items that cannot become entries; they leave it by `dynamirror redrive`.",
    ),
    "failed": (
        "failed, then delivered again",
        "Entries that the cache did not take. Red while it goes on; none is lost.",
    ),
}
_MOST_EVENTS = 8
_MOST_SHARDS = 12
_MOST_PARKED = 10


def build(sampler: Sampler) -> None:
    """Build the page for one viewer, and update it twice a second."""
    ui.add_css(_STYLE.read_text("utf-8"))
    page = _PageView(sampler)
    page.show(sampler.view())
    ui.timer(0.5, lambda: page.show(sampler.view()))


class _PageView:
    def __init__(self, sampler: Sampler) -> None:
        mirror = sampler.mirror
        self._number = -1
        with ui.element("main").classes("page"):
            with ui.element("header").classes("top"):
                text("h1", "dynamirror")
                text("p", mirror.title).classes("muted")
            self._headline = _Headline()
            self._figures = _Figures(measures_lag=mirror.lags is not None)
            with ui.element("div").classes("columns"):
                with ui.element("div").classes("wide"):
                    with ui.element("div").classes("charts"):
                        self._charts = Charts(measures_lag=mirror.lags is not None)
                    self._measured = MeasurementCard()
                    self._rows = EntryTable(mirror.probe_key)
                with ui.element("div").classes("side"):
                    self._buttons = Buttons(mirror.buttons(), mirror.press)
                    self._events = _Events() if mirror.buttons() else None
                    self._rebuild = RebuildCard()
                    self._shards = _Shards()
                    self._parked = _Quarantine()

    def show(self, state: PageState) -> None:
        if state.number == self._number:
            return
        self._number = state.number
        self._headline.show(state)
        self._figures.show(state)
        self._buttons.show(state)
        if self._events:
            self._events.show(state.events)
        self._rows.show(state.observation.rows)
        self._charts.show(state.history)
        self._measured.show(state.measurement)
        self._rebuild.show(state.observation.rebuild)
        self._shards.show(state.observation.shards)
        self._parked.show(state.observation.parked, state.observation.quarantined)


class _Headline:
    def __init__(self) -> None:
        with ui.element("section").classes("headline").props("role=status") as self._card:
            self._icon = icon("sync")
            with ui.element("div"):
                self._word = text("h2", "").props("data-testid=condition")
                self._detail = text("p", "").props("data-testid=detail")

    def show(self, state: PageState) -> None:
        self._card.classes(replace=f"headline {_TONES[state.condition]}")
        self._icon.set_name(_ICONS[state.condition])
        self._word.set_text(state.condition.value)
        self._detail.set_text(state.detail)


class _Figures:
    def __init__(self, *, measures_lag: bool) -> None:
        self._figures: dict[str, Text] = {}
        with ui.element("dl").classes("figures"):
            figures = _LAGS | _OUTCOMES if measures_lag else _OUTCOMES
            for name, (label, definition) in figures.items():
                self._add(name, label, definition)

    def _add(self, name: str, label: str, definition: str) -> None:
        with ui.element("div").classes("figure").props(f'title="{definition}"'):
            text("dt", label)
            self._figures[name] = text("dd", "-").props(f"data-testid={name}")

    def show(self, state: PageState) -> None:
        values: dict[str, str] = {name: f"{getattr(state.tally, name):,}" for name in _OUTCOMES}
        values["quarantined"] = f"{state.observation.quarantined:,}"
        values["lag-p50"] = ms(state.lag_ms.get("p50"))
        values["lag-p99"] = ms(state.lag_ms.get("p99"))
        values["written"] = "-" if state.written is None else f"{state.written:,}"
        for name, figure in self._figures.items():
            figure.set_text(values[name])
        self._figures["quarantined"].classes(replace="bad" * bool(state.observation.quarantined))
        self._figures["failed"].classes(replace="bad" * state.is_failing)


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


class _Shards:
    def __init__(self) -> None:
        self._before: Sequence[Shard] | None = None
        with card("Shards and their checkpoints", "shards"):
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
                text("li", "No shard has been read yet.").classes("muted")
            elif len(shards) > _MOST_SHARDS:
                text("li", f"and {len(shards) - _MOST_SHARDS:,} more").classes("muted")


class _Quarantine:
    def __init__(self) -> None:
        self._before: tuple[Sequence[ParkedRow], int] | None = None
        with card("Quarantine", "parked"):
            self._list = ui.element("ul")

    def show(self, parked: Sequence[ParkedRow], count: int) -> None:
        if (parked, count) == self._before:
            return
        self._before = parked, count
        self._list.clear()
        with self._list:
            if not count:
                text("li", "The quarantine is empty.").classes("muted")
            for item in parked[:_MOST_PARKED]:
                with ui.element("li"):
                    text("span", item.item).classes("mono")
                    text("span", item.reason).classes("muted")
            if count > len(parked):
                text("li", f"{count - len(parked):,} more: `dynamirror quarantine` lists them.")
