"""The demo: shows a mirror at work, then proves that it is one."""

import logging
import secrets
import shlex
import sys
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from time import monotonic
from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table as Grid

from dynamirror.cli import options
from dynamirror.cli.page import DemoPage, Port
from dynamirror.errors import ConfigError
from dynamirror.local.demo import Demo, Totals
from dynamirror.local.process import HOST
from dynamirror.verify import Comparison

_PLAIN_SECONDS = 2.0


def demo(
    *,
    seconds: Annotated[float, typer.Option(min=0, help="How long to write.")] = 20,
    rate: Annotated[float, typer.Option(min=0.1, help="Writes a second.")] = 200,
    ids: Annotated[int, typer.Option(min=1, help="How many different items to write.")] = 100,
    seed: Annotated[int | None, typer.Option(help="Of the random writes. [default: any]")] = None,
    view: Annotated[
        str | None, typer.Option(metavar="FILE", help="A mirror.toml. [default: the default view]")
    ] = None,
    load: Annotated[
        str | None, typer.Option(metavar="FILE", help="Fill the table first, from .json or .csv.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="With --load: the field that identifies a row.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave everything running until Ctrl-C.")
    ] = False,
    env: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="With --keep: write the settings that lead there, for the shell."
        ),
    ] = None,
    page: Annotated[
        bool, typer.Option("--page/--no-page", help="Serve a live page on 127.0.0.1.")
    ] = True,
    page_port: Port = None,
    in_browser: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    as_json: options.Json = False,
) -> None:
    """Mirror a live DynamoDB table into a real Valkey on this machine, and prove that both agree.

    Starts both, writes random changes, shows what happens, stops writing, waits until everything
    has arrived, and compares all of it. Exit status 0 only if there is no difference.
    """
    seed = secrets.randbits(32) if seed is None else seed
    begin = monotonic()
    # In JSON mode the last line of standard output is all that a machine reads.
    screen = _Screen(Console(stderr=as_json))
    shown = DemoPage(wanted=page, port=page_port, in_browser=in_browser)
    with options.interruptible(), _logged(screen):
        prepared = Demo(ids=ids, rate=rate, seed=seed, view=view, load=load, key=key)
        screen.say("starting DynamoDB (MiniStack) and Valkey on this machine")
        with ExitStack() as stack:
            with shown.imported():
                parts = stack.enter_context(prepared)
            stack.enter_context(shown.of(parts, screen.say))
            screen.follow("loading", parts, parts.fill())
            screen.follow("writing", parts, parts.write(seconds))
            shown.finish()
            screen.follow("draining", parts, parts.drain())
            result = parts.compare()
            summary = _summary(parts.totals, result, seed, monotonic() - begin)
            if as_json:
                typer.echo(options.to_json(summary))
            else:
                _print_summary(screen.console, summary, result)
            if keep:
                with _written(env, parts):
                    _print_endpoints(screen.console, parts, shown.url)
                    sys.stdout.flush()
                    shown.go_on()
                    parts.wait()
    raise typer.Exit(int(result.differences > 0 or parts.totals.quarantined > 0))


def _summary(totals: Totals, result: Comparison, seed: int, seconds: float) -> dict[str, Any]:
    return {
        "loaded": totals.loaded,
        "written": totals.written,
        "applied": totals.applied,
        "coalesced": totals.coalesced,
        "stale": totals.stale,
        "quarantined": totals.quarantined,
        "items": result.items,
        "entries": result.entries,
        "differences": result.differences,
        "lag_ms": totals.lag_ms(),
        "seconds": round(seconds, 1),
        "seed": seed,
    }


class _Log(logging.Handler):
    """What is logged, on the screen, with the reason that stands beside it."""

    def __init__(self, screen: "_Screen") -> None:
        super().__init__(logging.WARNING)
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        reason = vars(record).get("reason")
        self._screen.say(f"{self.format(record)}: {reason}" if reason else self.format(record))


@contextmanager
def _logged(screen: "_Screen") -> Iterator[None]:
    logger, handler = logging.getLogger("dynamirror"), _Log(screen)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _Screen:
    """A live panel on a terminal, plain lines elsewhere."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def follow(self, phase: str, parts: Demo, steps: Generator[float, None, None]) -> None:
        """Show what goes on while the steps are taken.

        The steps are closed at once, also by Ctrl-C: left to the garbage collector, they would join
        their threads while the interpreter ends, and wait for ever (Python 3.13).
        """
        with closing(steps):
            self._follow(phase, parts, steps)

    def _follow(self, phase: str, parts: Demo, steps: Iterable[float]) -> None:
        if self.console.is_terminal:
            with Live(console=self.console, transient=True, auto_refresh=False) as live:
                for _ in steps:
                    live.update(_panel(phase, parts), refresh=True)
            return
        told = monotonic()
        for _ in steps:
            if monotonic() - told >= _PLAIN_SECONDS:
                told = monotonic()
                self.say(f"{phase}: {_line(parts.totals)}")
        if phase != "loading" or parts.totals.loaded:
            self.say(f"{phase} done: {_line(parts.totals)}")


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


def _panel(phase: str, parts: Demo) -> Panel:
    totals, lag = parts.totals, parts.totals.lag_ms()
    counts = Grid.grid(padding=(0, 3))
    names = ("written", "applied", "coalesced", "stale", "quarantined", "failed")
    counts.add_row(*(f"[dim]{name}[/]" for name in (*names, "lag p50", "lag p99")))
    counts.add_row(
        *(f"[bold]{getattr(totals, name):,}[/]" for name in names),
        *(f"[bold]{_ms(lag[cut])}[/]" for cut in ("p50", "p99")),
    )
    entries = Grid.grid(padding=(0, 3))
    for key, value in parts.shown().items():
        text = "[dim](no entry)[/]" if value is None else value.decode(errors="replace")[:80]
        entries.add_row(f"[cyan]{key}[/]", text)
    title = f"{phase}: table {parts.schema.table} → Valkey"
    return Panel(Group(counts, "", entries), title=title, expand=False, padding=(1, 2))


def _print_summary(console: Console, summary: dict[str, Any], result: Comparison) -> None:
    good = result.differences == 0
    lag = summary["lag_ms"]
    grid = Grid.grid(padding=(0, 2))
    loaded = f"{summary['loaded']:,} loaded, " if summary["loaded"] else ""
    written = f"{summary['applied']:,} written, {summary['coalesced']:,} superseded in their batch"
    rows = (
        ("table", f"{loaded}{summary['written']:,} random writes, {summary['items']:,} items now"),
        ("cache", f"{written}, {summary['stale']:,} stale, {summary['entries']:,} entries now"),
        ("lag", f"p50 {_ms(lag['p50'])}, p99 {_ms(lag['p99'])}: acknowledged to visible"),
        ("compared", f"all of it: {_differences(result.differences)}"),
    )
    for name, text in rows:
        grid.add_row(f"[dim]{name}[/]", text)
    title = "[bold green]in sync[/]" if good else "[bold red]NOT in sync[/]"
    console.print(Panel(grid, title=title, expand=False, padding=(1, 2)), highlight=False)
    for kind, keys in result.sample.items():
        console.print(f"{kind}: {', '.join(keys)}", markup=False, highlight=False)


def _differences(number: int) -> str:
    return "1 difference" if number == 1 else f"{number:,} differences"


def _settings(parts: Demo) -> dict[str, str]:
    """Environment variables that lead the other commands to what runs here."""
    return {
        "DYNAMODB_TABLE": parts.schema.table,
        "AWS_ENDPOINT_URL": parts.database.endpoint_url,
        "ELASTICACHE_HOST": HOST,
        "ELASTICACHE_PORT": str(parts.valkey.port),
        "ELASTICACHE_TLS": "false",
    }


@contextmanager
def _written(path: Path | None, parts: Demo) -> Iterator[None]:
    """The settings in a file, for as long as they lead anywhere."""
    if path is None:
        yield
        return
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in _settings(parts).items()]
    try:
        path.write_text("".join(lines), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--env: {path} cannot be written: {error.strerror}") from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _print_endpoints(console: Console, parts: Demo, page: str | None) -> None:
    port = parts.valkey.port
    settings = " ".join(f"{name}={value}" for name, value in _settings(parts).items())
    kept = f", with its page at {page}" if page else ""
    lines = (
        f"left running until Ctrl-C{kept}; in another terminal:",
        f"  export {settings}",
        "  dynamirror simulate --count 1000 --rate 200",
        "  dynamirror status",
        "  dynamirror verify",
        f"  valkey-cli -c -p {port} GET {next(iter(parts.shown()), '')}",
        f"  aws dynamodb scan --table-name {parts.schema.table}",
    )
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
