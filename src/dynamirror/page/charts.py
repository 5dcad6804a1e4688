"""Draw the last minute as charts, and describe it in words."""

from collections.abc import Callable, Sequence
from typing import Any

from nicegui import ui

from dynamirror.demo.percentile import percentile
from dynamirror.page.parts import card, ms, text
from dynamirror.page.state import Point

_MINUTE = 60
_EMPTY_AXIS_TOP = 100


class Charts:
    """Lag and throughput; the lag is an upper bound unless single writes are measured."""

    def __init__(self, *, measures_lag: bool) -> None:
        self._measures_lag = measures_lag
        title = "Lag: written to visible, ms" if measures_lag else "Lag: upper bound, s"
        lines = ("median", "99th percentile") if measures_lag else ("behind",)
        self._lag = _Chart(title, lines, "lag", logarithmic=measures_lag)
        lines = ("written", "applied") if measures_lag else ("applied",)
        self._rate = _Chart("Changes a second", lines, "rate")

    def show(self, points: Sequence[Point]) -> None:
        """Draw the points, oldest first."""
        last = points[-1] if points else None
        if self._measures_lag:
            self._lag.show(points, (lambda p: p.p50, lambda p: p.p99))
            self._rate.show(points, (lambda p: p.written, lambda p: p.applied))
            self._lag.describe(_lag_summary(points))
        else:
            self._lag.show(points, (lambda p: p.behind,))
            self._rate.show(points, (lambda p: p.applied,))
            behind = last.behind if last else None
            self._lag.describe("Not known." if behind is None else f"Now {behind:.1f} s.")
        applied = f"{last.applied:,.0f} applied" if last else "nothing"
        written = f"{last.written:,.0f} written, " if last and last.written is not None else ""
        self._rate.describe(f"Now {written}{applied} a second.")


def _lag_summary(points: Sequence[Point]) -> str:
    medians = [point.p50 for point in points if point.p50 is not None]
    typical = percentile(medians, 50)
    if typical is None:
        return "In the last minute: nothing arrived."
    worst = max((point.p99 for point in points if point.p99 is not None), default=None)
    return f"In the last minute: median {ms(round(typical, 1))}, worst {ms(worst)}."


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
        # ECharts draws no scale on an axis without values.
        is_empty = all(value(point) is None for point in points for value in values)
        self._chart.options["yAxis"]["max"] = _EMPTY_AXIS_TOP if is_empty else None

    def describe(self, text: str) -> None:
        """Set the text below the chart, which screen readers get instead of the picture."""
        self._text.set_text(text)
        self._picture.props["aria-label"] = f"{self._title}. {text}"


def _options(lines: Sequence[str], *, logarithmic: bool) -> dict[str, Any]:
    # style.css replaces these colours with those of the light or dark scheme.
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
