"""The demo on the terminal: a live panel there, plain lines elsewhere."""

import logging
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from time import monotonic
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table as Grid
from rich.text import Text

from dynamirror.cli.printable import printable
from dynamirror.counted import counted
from dynamirror.demo.demo import Demo
from dynamirror.demo.demos import Demos
from dynamirror.demo.totals import Totals
from dynamirror.inspection.report import NONE_YET, headline, notes, within
from dynamirror.inspection.tally import Tally
from dynamirror.recovery.comparison import Comparison

_PLAIN_SECONDS = 2.0
# Below this many columns, figures stand without their meanings.
_NARROW = 72
_NAMES = 8  # letters of the longest name of a figure
_FRAME = 18  # columns of the summary's border, padding and names
_FRAME_OF_ENTRIES = 10  # columns of the live panel's border and padding
_MOST_LETTERS = 200  # of a value; the panel crops it to the line
_MEANINGS = {
    "written": "random writes to the table; some delete nothing",
    "applied": "changes that the cache took",
    "coalesced": "left out: a newer change was in the same batch",
    "stale": "refused: the cache held one at least as new",
    "quarantined": "set aside: cannot become an entry",
    "failed": "not taken at once, and delivered again",
}
_LAG_MEANINGS = {
    "p50": "from write to cache, for half of the writes",
    "p99": "from write to cache, for 99 of 100 writes",
}


class Screen:
    """Shows a demo on a console."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def say(self, text: str, *, is_prose: bool = False) -> None:
        """Print a line of plain text.

        Args:
            text: the line.
            is_prose: whether to break it between words on a terminal; what is to be copied from
                there must not be broken.
        """
        soft_wrap = not (is_prose and self.console.is_terminal)
        self.console.print(text, highlight=False, markup=False, soft_wrap=soft_wrap)

    def say_stopped(self) -> None:
        """Print that a demo has ended early, on a line of its own behind the terminal's `^C`."""
        self.say(("\n" if self.console.is_terminal else "") + "stopped; nothing left behind")

    def follow(self, phase: str, demo: Demo | Demos, steps: Generator[float, None, None]) -> None:
        """Take the steps of a phase, show the totals meanwhile, and close the steps.

        Left to the garbage collector after Ctrl-C, the steps would join their threads while the
        interpreter ends, and wait for ever (Python 3.13).
        """
        with closing(steps):
            self._follow(phase, demo, steps)

    def _follow(self, phase: str, demo: Demo | Demos, steps: Iterable[float]) -> None:
        if self.console.is_terminal:
            with Live(console=self.console, transient=True, auto_refresh=False) as live:
                for _ in steps:
                    live.update(self._panel_of(phase, demo), refresh=True)
            return
        printed = monotonic()
        for _ in steps:
            if monotonic() - printed >= _PLAIN_SECONDS:
                printed = monotonic()
                self.say(f"{phase}: {_line(demo.totals)}")
        if phase != "loading" or demo.totals.loaded:
            self.say(f"done {phase}: {_line(demo.totals)}")

    def _panel_of(self, phase: str, demo: Demo | Demos) -> Panel:
        totals = demo.totals
        names = ", ".join(demo.tables)
        word = "table" if len(demo.tables) == 1 else "tables"
        title = f"{phase}: {word} {names} → Valkey"
        entries, measured = demo.sample_entries(), headline(demo.inspection())
        width = self.console.width
        return live_panel(title, totals, entries, measured=measured, width=width)

    def show_summary(self, summary: dict[str, Any], result: Comparison, inspection: Tally) -> None:
        """Print the summary of a demo in a panel, and the keys that differ."""
        panel = summary_panel(summary, inspection, width=self.console.width)
        self.console.print(panel, highlight=False)
        for kind, keys in result.sample.items():
            self.console.print(f"{kind}: {', '.join(keys)}", markup=False, highlight=False)


def summary_panel(summary: dict[str, Any], inspection: Tally, *, width: int) -> Panel:
    """Return the summary of a demo.

    Args:
        summary: the figures by name.
        inspection: what the inspector has measured.
        width: columns of the console.
    """
    lag, differences = summary["lag_ms"], summary["differences"]
    unusual = [name for name in ("quarantined",) if summary[name]]
    cache = ["applied", "coalesced", "stale", *unusual]
    table = [*(["loaded"] if summary["loaded"] else []), "written"]
    rows = [
        ("table", [*_counts(summary, table), counted(summary["items"], "items") + " now"]),
        ("cache", [*_counts(summary, cache), counted(summary["entries"], "entries") + " now"]),
        ("lag", [f"p50 {_ms(lag['p50'])}", f"p99 {_ms(lag['p99'])}", "from write to cache"]),
        ("measured", [headline(inspection), *_shares(inspection)]),
        ("compared", [f"all of it: {differences_text(differences)}"]),
    ]
    for name, part in summary.get("tables", {}).items():
        figures = _counts(part, ["written", "items", "entries"])
        rows.append((name, [*figures, differences_text(part["differences"])]))
    wider = max(0, *(len(name) - _NAMES for name, _figures in rows))
    grid = Grid.grid(padding=(0, 2))
    for name, figures in rows:
        line = ", ".join(figures)
        text = line if len(line) <= width - _FRAME - wider else "\n".join(figures)
        grid.add_row(Text(name, style="dim"), Text(text))
    title = "[bold red]NOT in sync[/]" if differences else "[bold green]in sync[/]"
    return Panel(grid, title=title, expand=False, padding=_padding(width))


def _counts(summary: dict[str, Any], names: Iterable[str]) -> list[str]:
    return [f"{summary[name]:,} {name}" for name in names]


def _shares(inspection: Tally) -> Iterator[str]:
    total = inspection.total
    yield from (f"{share} within {name}" for name, share in within(total) if share != NONE_YET)
    if missed := notes(total):
        yield missed


def _padding(width: int) -> tuple[int, int]:
    return (0, 1) if width < _NARROW else (1, 2)


def live_panel(
    title: str,
    totals: Totals,
    entries: Mapping[str, bytes | None],
    *,
    measured: str,
    width: int,
) -> Panel:
    """Return the figures of a running demo, a line for each, and a few entries of the cache.

    Args:
        title: the panel's title.
        totals: the figures.
        entries: values by key; None for no entry.
        measured: what the inspector has measured, in words.
        width: columns of the console.
    """
    lag = totals.lag_ms()
    figures = [(name, f"{getattr(totals, name):,}", text) for name, text in _MEANINGS.items()]
    if totals.loaded:
        figures.insert(0, ("loaded", f"{totals.loaded:,}", "items that filled the table first"))
    figures += [(f"lag {name}", _ms(lag[name]), text) for name, text in _LAG_MEANINGS.items()]
    counts = Grid.grid(padding=(0, 2))
    counts.add_column()
    counts.add_column(justify="right")
    for name, figure, meaning in figures:
        cells = (Text(name, style="dim"), Text(figure, style="bold"), Text(meaning, style="dim"))
        counts.add_row(*(cells[:2] if width < _NARROW else cells))
    shown = _entries_grid(entries, width - _FRAME_OF_ENTRIES)
    nines = Text.assemble(("measured  ", "dim"), (measured, "bold"))
    return Panel(
        Group(counts, nines, "", shown), title=Text(title), expand=False, padding=_padding(width)
    )


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
    return counted(number, "differences")


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


def _entries_grid(entries: Mapping[str, bytes | None], width: int) -> Grid:
    """Return a line for each entry; a key has up to half of the width, and its value the rest."""
    keys = [Text(printable(key), style="cyan") for key in entries]
    longest = min(width // 2, max((key.cell_len for key in keys), default=0))
    grid = Grid.grid(padding=(0, 2))
    for key, value in zip(keys, entries.values(), strict=True):
        shown = "(no entry)" if value is None else value[:_MOST_LETTERS].decode(errors="replace")
        text = Text(printable(shown), style="dim" if value is None else "")
        key.truncate(longest, overflow="ellipsis")
        text.truncate(width - longest, overflow="ellipsis")
        grid.add_row(key, text)
    return grid
