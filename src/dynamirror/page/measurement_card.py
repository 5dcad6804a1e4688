"""The part of the page with the measured consistency: nines, staleness, latest violations."""

from collections.abc import Sequence

from nicegui import ui

from dynamirror.page.parts import card, icon, text
from dynamirror.page.state import Figure, Measurement


class MeasurementCard:
    """The measured consistency; nothing where no inspector runs."""

    def __init__(self) -> None:
        self._before: Measurement | None = None
        with card("Measured consistency", "measured") as self._card:
            with ui.element("div").classes("claim"):
                self._icon = icon("verified")
                self._claim = text("p", "").props("data-testid=nines")
            self._note = text("p", "").classes("muted").props("data-testid=measured-note")
            with ui.element("div").classes("parts"):
                self._within = _Figures("Right, or newer, within", "within")
                self._staleness = _Bars("", "staleness")
                self._latest = _Violations()
        self._card.set_visibility(False)

    def show(self, measurement: Measurement | None) -> None:
        """Show a measurement."""
        if measurement == self._before:
            return
        self._before = measurement
        self._card.set_visibility(measurement is not None)
        if measurement is None:
            return
        self._card.classes(
            add="violated" if measurement.violations else None,
            remove=None if measurement.violations else "violated",
        )
        self._icon.set_name("error" if measurement.violations else "verified")
        self._claim.set_text(measurement.claim)
        self._note.set_text(measurement.note)
        self._note.set_visibility(bool(measurement.note))
        self._within.show(measurement.within)
        self._staleness.show(measurement.staleness)
        self._staleness.title.set_text(_staleness_title(measurement))
        self._latest.show(measurement.latest, measurement.violations)


def _staleness_title(measurement: Measurement) -> str:
    """Return what the bars show: without the first age asked for, they would look like the lag."""
    asked = measurement.within[0].label if measurement.within else ""
    since = f" (changes are asked for from {asked} on)" if asked else ""
    return f"Staleness: first seen right at an age up to{since}"


class _Figures:
    def __init__(self, title: str, name: str) -> None:
        self._before: Sequence[Figure] | None = None
        with ui.element("div"):
            self.title = text("h4", title).classes("muted")
            self._list = ui.element("dl").classes(name).props(f"data-testid={name}")

    def show(self, figures: Sequence[Figure]) -> None:
        if figures == self._before:
            return
        self._before = figures
        self._list.clear()
        with self._list:
            for figure in figures:
                with ui.element("div"):
                    self._add(figure)

    def _add(self, figure: Figure) -> None:
        text("dt", figure.label)
        text("dd", figure.text)


class _Bars(_Figures):
    """Figures with bars, which repeat the numbers, so that screen readers leave them out."""

    def _add(self, figure: Figure) -> None:
        text("dt", figure.label)
        with ui.element("dd"):
            bar = ui.element("span").classes("bar").props("aria-hidden=true")
            bar.style(f"width: {figure.share:.1%}")
            text("span", figure.text)


class _Violations:
    def __init__(self) -> None:
        self._before: tuple[Sequence[str], int] | None = None
        with ui.element("div"):
            self._title = text("h4", "").classes("muted").props("data-testid=violations")
            with ui.element("div").props('role=log aria-label="Violations"'):
                self._list = ui.element("ol").classes("violations")

    def show(self, latest: Sequence[str], count: int) -> None:
        if (latest, count) == self._before:
            return
        self._before = latest, count
        self._title.set_text(f"Violations: {count:,}")
        self._list.clear()
        with self._list:
            for sentence in latest:
                text("li", sentence).classes("mono")
            if count > len(latest):
                more = "The log has them." if not latest else "The log has the others."
                text("li", more).classes("muted")
            elif not count:
                text("li", "None.").classes("muted")
