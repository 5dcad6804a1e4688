"""The part of the page with the newest rebuild: its load, its sweep, and how far both are."""

from nicegui import ui

from dynamirror.counted import counted
from dynamirror.page.parts import card, text
from dynamirror.page.state import RebuildRow
from dynamirror.recovery.rebuild_state import TotalProgress
from dynamirror.recovery.sweep import TotalSwept


class RebuildCard:
    """The newest rebuild; nothing if there is none."""

    def __init__(self) -> None:
        self._before: RebuildRow | None = None
        with card("Rebuild", "rebuild") as self._card:
            self._text = text("p", "").props("data-testid=rebuild")
            self._load = _Bar("loaded")
            self._sweep = _Bar("swept")
        self._card.set_visibility(False)

    def show(self, rebuild: RebuildRow | None) -> None:
        """Show a rebuild."""
        if rebuild == self._before:
            return
        self._before = rebuild
        self._card.set_visibility(rebuild is not None)
        if rebuild is not None:
            self._text.set_text(rebuild_text(rebuild))
            self._load.show(rebuild.loaded)
            self._sweep.show(rebuild.swept)


def rebuild_text(rebuild: RebuildRow) -> str:
    """Return a rebuild in a sentence."""
    loaded, swept = rebuild.loaded, rebuild.swept
    items = f"{counted(loaded.items, 'items')} read"
    seen = f"{counted(swept.entries, 'entries')} seen, {swept.deleted:,} orphaned and deleted"
    if rebuild.finished:
        return f"Finished {rebuild.finished}: {items}, {seen}."
    if loaded.done:
        return f"Sweeping: {seen}, after {items}."
    return f"Loading since {rebuild.begun}: {items}."


class _Bar:
    def __init__(self, name: str) -> None:
        self._name = name
        with ui.element("label").classes("progress"):
            self._text = text("span", "").props(f"data-testid=rebuild-{name}")
            self._bar = ui.element("progress").props("value=0 max=1")

    def show(self, total: TotalProgress | TotalSwept) -> None:
        done, parts = total.parts_done, total.parts
        if total.done:  # also where the parts are not known
            done = parts = parts or 1
        known = f"{done:,} of {parts:,} parts {self._name}"
        self._text.set_text(known if parts else f"not yet {self._name}")
        self._bar.props(f"value={done} max={max(1, parts)}")
