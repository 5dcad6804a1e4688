"""The command that shows a mirror at work on this machine: demo."""

import os
import secrets
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic
from typing import Annotated, Any

import typer
from rich.console import Console

from dynamirror.cli import hints, options
from dynamirror.cli.interrupts import interruptible
from dynamirror.cli.output import print_json
from dynamirror.cli.page import DemoPage, Port
from dynamirror.cli.screen import Screen, log_shown
from dynamirror.demo.demo import Demo
from dynamirror.demo.demos import Demos
from dynamirror.demo.example import load_example, table_names
from dynamirror.demo.totals import Totals
from dynamirror.errors import ConfigError, OptionError
from dynamirror.functions import simulator
from dynamirror.recovery.comparison import Comparison

# Of a file that --env names.
_FIRST_WORDS = b"export DYNAMODB_TABLE="


def demo(
    *,
    seconds: Annotated[float, typer.Option(min=0, help="How long to write.")] = 20,
    rate: Annotated[float, typer.Option(min=0.1, help="Writes per second, to all tables.")] = 200,
    ids: Annotated[
        int | None, typer.Option(min=1, help="Number of different items to write. [default: 100]")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the changes. [default: any]")] = None,
    view: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Path of mirror.toml. [default: the default view]"),
    ] = None,
    load: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Fill the table first, from a file of JSON, JSON Lines, DynamoDB JSON or CSV; "
            "plain or gzip.",
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(help="With --load: the attribute that identifies an item, or two, as pk,sk."),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave everything running until Ctrl-C.")
    ] = False,
    env: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="With --keep: write shell settings for other commands to FILE.",
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

    Start both, write random changes, wait until every change is applied, and compare everything.
    Exit with 0 only if there is no difference.
    """
    for option, given, needed, present in (
        ("--key", key is not None, "--load", load is not None),
        ("--env", env is not None, "--keep", keep),
        ("--open", in_browser, "--page", page),
        ("--page-port", page_port is not None, "--page", page),
    ):
        options.check_applies(option, given=given, needed=needed, present=present)
    if env is not None:
        _check_settings_file(env)
    seed = secrets.randbits(32) if seed is None else seed
    begin = monotonic()
    # With --json, standard output carries only the summary.
    screen = Screen(Console(stderr=as_json))
    shown = DemoPage(wanted=page, port=page_port, in_browser=in_browser)
    with interruptible(screen.say_stopped), log_shown(screen):
        prepared = _prepared(view, load, key, ids=ids, rate=rate, seed=seed)
        if isinstance(prepared, Demos):
            _check_one_table(prepared.tables, page_port=page_port, in_browser=in_browser)
        if prepared.loaded:
            screen.say(f"loading {prepared.loaded}", is_prose=True)
        screen.say("starting DynamoDB (MiniStack) and Valkey on this machine", is_prose=True)
        with ExitStack() as stack:
            with shown.imported():
                stack.enter_context(prepared)
            running = prepared
            stack.enter_context(shown.of(running, screen.say))
            screen.say(_what_happens(running.tables, rate, seconds), is_prose=True)
            screen.follow("loading", running, running.fill())
            screen.follow("writing", running, running.write(seconds))
            shown.finish()
            screen.follow("catching up", running, running.drain())
            result, parts = _compared(running)
            summary = _summary(running.totals, result, seed, monotonic() - begin)
            inspection = running.inspection()
            summary["inspection"] = inspection.to_json()
            if parts:
                summary["tables"] = parts
            if as_json:
                print_json(summary)
            else:
                screen.show_summary(summary, result, inspection)
            if keep:
                settings = hints.settings(running, view)
                with _settings_file(env, settings):
                    for line in hints.lines(running, settings, env=env, page=shown.url):
                        screen.say(line)
                    sys.stdout.flush()
                    shown.go_on()
                    running.wait()
    raise typer.Exit(int(result.differences > 0 or running.totals.quarantined > 0))


def _prepared(
    view: str | None,
    load: str | None,
    key: str | None,
    *,
    ids: int | None,
    rate: float,
    seed: int,
) -> Demo | Demos:
    """Return a demo of the only table, or of several.

    Raises:
        OptionError: an option does not apply.
        ConfigError: a file is wrong.
    """
    tables = table_names(view)
    if view is not None and tables:
        if load is not None:
            raise OptionError(f"--load: is for one table, but {view} has {', '.join(tables)}")
        prepared: Demo | Demos = Demos(rate=rate, seed=seed, view=view)
        has_items = True
    else:
        prepared = Demo(
            ids=ids or simulator.IDS, rate=rate, seed=seed, view=view, load=load, key=key
        )
        has_items = load is None and load_example(view) is not None
    if ids is not None and has_items:
        raise OptionError("--ids: does not apply with a view whose items.json has the items")
    return prepared


def _check_one_table(tables: Sequence[str], *, page_port: str | None, in_browser: bool) -> None:
    """Refuse the options of the page, which shows one table.

    Raises:
        OptionError: one of them is given.
    """
    for option, is_given in (("--open", in_browser), ("--page-port", page_port is not None)):
        if is_given:
            raise OptionError(
                f"{option}: the page shows one table, but the views are for {', '.join(tables)}"
            )


def _what_happens(tables: Sequence[str], rate: float, seconds: float) -> str:
    changes = f"up to {rate:g} random changes a second for {seconds:g} s"
    if len(tables) == 1:
        return f"table {tables[0]} gets {changes}; its stream carries them into Valkey"
    names = ", ".join(tables)
    return f"tables {names} get {changes} together; their streams carry them into Valkey"


def _compared(running: Demo | Demos) -> tuple[Comparison, dict[str, dict[str, int]]]:
    """Return the comparison of everything, and the figures of each of several tables."""
    if isinstance(running, Demo):
        return running.compare(), {}
    total, parts = Comparison(), {}
    results = running.compare()
    for demo in running.demos:
        table = demo.schema.table
        result = results[table]
        total.add(result)
        parts[table] = {
            "written": demo.totals.written,
            "applied": demo.totals.applied,
            "items": result.items,
            "entries": result.entries,
            "differences": result.differences,
        }
    return total, parts


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


def _check_settings_file(path: Path) -> None:
    """Check that the settings can be written, and removed later, without the loss of other text.

    Raises:
        OptionError: the path is another file's, or its folder is missing.
    """
    if not path.absolute().parent.is_dir():
        raise OptionError(f"--env: {path} cannot be written: its folder is missing")
    try:
        # A demo that was killed leaves its file behind.
        is_free = not os.path.lexists(path) or (
            path.is_file() and path.read_bytes().startswith(_FIRST_WORDS)
        )
    except OSError as error:
        raise OptionError(f"--env: {path} cannot be written: {error.strerror}") from None
    if not is_free:
        raise OptionError(f"--env: {path} exists, and is not a demo's; name a new file")


@contextmanager
def _settings_file(path: Path | None, settings: Mapping[str, str]) -> Iterator[None]:
    """Write the settings to a file, and remove it at the end, when they have become useless."""
    if path is None:
        yield
        return
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in settings.items()]
    lines.append(f"unset {' '.join(hints.unset(settings))}\n")
    try:
        path.write_text("".join(lines), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--env: {path} cannot be written: {error.strerror}") from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
