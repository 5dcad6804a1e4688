"""The demo on the terminal: a live panel there, plain lines elsewhere."""

import logging
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from time import monotonic
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table as Grid

from dynamirror.demo.demo import Demo
from dynamirror.demo.totals import Totals
from dynamirror.recovery.comparison import Comparison

_PLAIN_SECONDS = 2.0


class Screen:
    """Shows a demo on a console."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def say(self, text: str) -> None:
        """Print a line of plain text."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def follow(self, phase: str, demo: Demo, steps: Generator[float, None, None]) -> None:
        """Take the steps of a phase, show the totals meanwhile, and close the steps.

        Left to the garbage collector after Ctrl-C, the steps would join their threads while the
        interpreter ends, and wait for ever (Python 3.13).
        """
        with closing(steps):
            self._follow(phase, demo, steps)

    def _follow(self, phase: str, demo: Demo, steps: Iterable[float]) -> None:
        if self.console.is_terminal:
            with Live(console=self.console, transient=True, auto_refresh=False) as live:
                for _ in steps:
                    live.update(_panel(phase, demo), refresh=True)
            return
        printed = monotonic()
        for _ in steps:
            if monotonic() - printed >= _PLAIN_SECONDS:
                printed = monotonic()
                self.say(f"{phase}: {_line(demo.totals)}")
        if phase != "loading" or demo.totals.loaded:
            self.say(f"{phase} done: {_line(demo.totals)}")

    def show_summary(self, summary: dict[str, Any], result: Comparison) -> None:
        """Print the summary of a demo in a panel, and the keys that differ."""
        lag = summary["lag_ms"]
        loaded = f"{summary['loaded']:,} loaded, " if summary["loaded"] else ""
        writes, items = f"{summary['written']:,} random writes", f"{summary['items']:,} items now"
        written = f"{summary['applied']:,} written, {summary['coalesced']:,} coalesced"
        rows = (
            ("table", f"{loaded}{writes}, {items}"),
            ("cache", f"{written}, {summary['stale']:,} stale, {summary['entries']:,} entries now"),
            ("lag", f"p50 {_ms(lag['p50'])}, p99 {_ms(lag['p99'])}: acknowledged to visible"),
            ("compared", f"all of it: {differences_text(result.differences)}"),
        )
        grid = Grid.grid(padding=(0, 2))
        for name, text in rows:
            grid.add_row(f"[dim]{name}[/]", text)
        title = "[bold red]NOT in sync[/]" if result.differences else "[bold green]in sync[/]"
        self.console.print(Panel(grid, title=title, expand=False, padding=(1, 2)), highlight=False)
        for kind, keys in result.sample.items():
            self.console.print(f"{kind}: {', '.join(keys)}", markup=False, highlight=False)


@contextmanager
def log_shown(screen: Screen) -> Iterator[None]:
    """Show warnings and errors of the log on the screen."""
    logger, handler = logging.getLogger("dynamirror"), _ScreenHandler(screen)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _ScreenHandler(logging.Handler):
    """Shows log records with the `reason` among their extra fields."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(logging.WARNING)
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        reason = vars(record).get("reason")
        self._screen.say(f"{self.format(record)}: {reason}" if reason else self.format(record))


def differences_text(number: int) -> str:
    """Return a number of differences in English."""
    return "1 difference" if number == 1 else f"{number:,} differences"


def _line(totals: Totals) -> str:
    lag = totals.lag_ms()
    loaded = f"{totals.loaded:,} loaded, " if totals.loaded else ""
    return (
        f"{loaded}{totals.written:,} written, {totals.applied:,} applied, "
        f"{totals.coalesced:,} coalesced, {totals.stale:,} stale, "
        f"lag p50 {_ms(lag['p50'])} p99 {_ms(lag['p99'])}"
    )


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:g} ms"


def _panel(phase: str, demo: Demo) -> Panel:
    totals, lag = demo.totals, demo.totals.lag_ms()
    counts = Grid.grid(padding=(0, 3))
    names = ("written", "applied", "coalesced", "stale", "quarantined", "failed")
    counts.add_row(*(f"[dim]{name}[/]" for name in (*names, "lag p50", "lag p99")))
    counts.add_row(
        *(f"[bold]{getattr(totals, name):,}[/]" for name in names),
        *(f"[bold]{_ms(lag[quantile])}[/]" for quantile in ("p50", "p99")),
    )
    entries = Grid.grid(padding=(0, 3))
    for key, value in demo.sample_entries().items():
        text = "[dim](no entry)[/]" if value is None else value.decode(errors="replace")[:80]
        entries.add_row(f"[cyan]{key}[/]", text)
    title = f"{phase}: table {demo.schema.table} → Valkey"
    return Panel(Group(counts, "", entries), title=title, expand=False, padding=(1, 2))
