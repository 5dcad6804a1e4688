"""The charts: what happened in the last minute, drawn and in words."""

from collections.abc import Callable, Sequence
from typing import Any

from nicegui import ui

from dynamirror.page.parts import card, ms, text
from dynamirror.page.state import Point

_MINUTE = 60
_NO_VALUES = 100


class Charts:
    """Lag and throughput.

    Args:
        measured: whether the lag of single writes is measured.
    """

    def __init__(self, *, measured: bool) -> None:
        self._measured = measured
        name = "Lag: written to visible, ms" if measured else "Behind the table at the most, s"
        lines = ("median", "99th percentile") if measured else ("behind",)
        self._lag = _Chart(name, lines, "lag", logarithmic=measured)
        both = ("written", "applied") if measured else ("applied",)
        self._rate = _Chart("Changes a second", both, "rate")

    def show(self, points: Sequence[Point]) -> None:
        """Draw what happened, oldest first."""
        last = points[-1] if points else None
        if self._measured:
            self._lag.show(points, (lambda p: p.p50, lambda p: p.p99))
            self._rate.show(points, (lambda p: p.written, lambda p: p.applied))
            p50s = [point.p50 for point in points if point.p50 is not None]
            worst = max((point.p99 for point in points if point.p99 is not None), default=None)
            typical = sorted(p50s)[len(p50s) // 2] if p50s else None
            measured = f"median {ms(typical)}, worst {ms(worst)}" if p50s else "nothing arrived"
            self._lag.tell(f"In the last minute: {measured}.")
        else:
            self._lag.show(points, (lambda p: p.behind,))
            self._rate.show(points, (lambda p: p.applied,))
            behind = last.behind if last else None
            self._lag.tell("Not known." if behind is None else f"Now {behind:.1f} s.")
        applied = f"{last.applied:,.0f} applied" if last else "nothing"
        written = f"{last.written:,.0f} written, " if last and last.written is not None else ""
        self._rate.tell(f"Now {written}{applied} a second.")


class _Chart:
    def __init__(
        self, title: str, lines: Sequence[str], name: str, *, logarithmic: bool = False
    ) -> None:
        with card(title, f"chart {name}"):
            with ui.element("div").props("role=img") as self._picture:
                self._chart = ui.echart(_options(lines, logarithmic=logarithmic), renderer="svg")
            self._text = text("p", "").classes("muted").props(f"data-testid=chart-{name}")
        self._title = title

    def show(
        self, points: Sequence[Point], values: Sequence[Callable[[Point], float | None]]
    ) -> None:
        now = points[-1].at if points else 0.0
        for series, value in zip(self._chart.options["series"], values, strict=True):
            series["data"] = [[round(point.at - now, 1), value(point)] for point in points]
        # Without a value, an axis would have no scale at all.
        nothing = all(value(point) is None for point in points for value in values)
        self._chart.options["yAxis"]["max"] = _NO_VALUES if nothing else None

    def tell(self, text: str) -> None:
        """The same in words."""
        self._text.set_text(text)
        self._picture.props["aria-label"] = f"{self._title}. {text}"


def _options(lines: Sequence[str], *, logarithmic: bool) -> dict[str, Any]:
    # The colours are names for style.css, which knows whether it is dark.
    colours = ("#000001", "#000002")
    value_axis: dict[str, Any] = {
        "type": "log" if logarithmic else "value",
        "axisLine": {"show": False},
        "axisTick": {"show": False},
        "splitNumber": 3,
        "axisLabel": {"color": "#000003", "fontSize": 11},
        "splitLine": {"lineStyle": {"color": "#000004"}},
    }
    return {
        "animation": False,
        "grid": {"left": 8, "right": 12, "top": 28, "bottom": 4, "containLabel": True},
        "legend": {
            "top": 0,
            "left": 0,
            "icon": "roundRect",
            "itemWidth": 12,
            "itemHeight": 3,
            "selectedMode": False,
            "textStyle": {"color": "#000003", "fontSize": 11},
        },
        "xAxis": {
            "type": "value",
            "min": -_MINUTE,
            "max": 0,
            "interval": 20,
            "axisLabel": {"color": "#000003", "fontSize": 11, "formatter": "{value} s"},
            "axisLine": {"show": False},
            "axisTick": {"show": False},
            "splitLine": {"show": False},
        },
        "yAxis": value_axis | ({"min": 1} if logarithmic else {"min": 0}),
        "series": [
            {
                "name": name,
                "type": "line",
                "showSymbol": False,
                "silent": True,
                "data": [],
                "lineStyle": {"width": 2, "color": colour},
                "itemStyle": {"color": colour},
            }
            for name, colour in zip(lines, colours, strict=False)
        ],
    }
