"""The command that shows a mirror at work on this machine: demo."""

import secrets
import shlex
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Annotated, Any

import typer
from rich.console import Console

from dynamirror.cli import options
from dynamirror.cli.interrupts import interruptible
from dynamirror.cli.output import print_json
from dynamirror.cli.page import DemoPage, Port
from dynamirror.cli.screen import Screen, log_shown
from dynamirror.demo.demo import Demo
from dynamirror.demo.totals import Totals
from dynamirror.emulators.process import HOST
from dynamirror.errors import ConfigError
from dynamirror.recovery.comparison import Comparison

_STOPPED = "stopped; nothing left behind"


def demo(
    *,
    seconds: Annotated[float, typer.Option(min=0, help="How long to write.")] = 20,
    rate: Annotated[float, typer.Option(min=0.1, help="Writes per second.")] = 200,
    ids: Annotated[int, typer.Option(min=1, help="Number of different items to write.")] = 100,
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
    seed = secrets.randbits(32) if seed is None else seed
    begin = monotonic()
    # With --json, standard output carries only the summary.
    screen = Screen(Console(stderr=as_json))
    shown = DemoPage(wanted=page, port=page_port, in_browser=in_browser)
    with interruptible(partial(screen.say, _STOPPED)), log_shown(screen):
        prepared = Demo(ids=ids, rate=rate, seed=seed, view=view, load=load, key=key)
        if prepared.loaded:
            screen.say(f"loading {prepared.loaded}", is_prose=True)
        screen.say("starting DynamoDB (MiniStack) and Valkey on this machine", is_prose=True)
        with ExitStack() as stack:
            with shown.imported():
                running = stack.enter_context(prepared)
            stack.enter_context(shown.of(running, screen.say))
            screen.say(
                f"table {running.schema.table} gets {rate:g} random changes a second for "
                f"{seconds:g} s; its stream carries them into Valkey",
                is_prose=True,
            )
            screen.follow("loading", running, running.fill())
            screen.follow("writing", running, running.write(seconds))
            shown.finish()
            screen.follow("catching up", running, running.drain())
            result = running.compare()
            summary = _summary(running.totals, result, seed, monotonic() - begin)
            if as_json:
                print_json(summary)
            else:
                screen.show_summary(summary, result)
            if keep:
                with _settings_file(env, running):
                    _say_endpoints(screen, running, shown.url)
                    sys.stdout.flush()
                    shown.go_on()
                    running.wait()
    raise typer.Exit(int(result.differences > 0 or running.totals.quarantined > 0))


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


def _settings(running: Demo) -> dict[str, str]:
    """Return the environment in which other commands reach the demo's servers."""
    return {
        "DYNAMODB_TABLE": running.schema.table,
        "AWS_ENDPOINT_URL": running.database.endpoint_url,
        "ELASTICACHE_HOST": HOST,
        "ELASTICACHE_PORT": str(running.valkey.port),
        "ELASTICACHE_TLS": "false",
    }


@contextmanager
def _settings_file(path: Path | None, running: Demo) -> Iterator[None]:
    """Write the settings to a file, and remove it at the end, when they have become useless."""
    if path is None:
        yield
        return
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in _settings(running).items()]
    try:
        path.write_text("".join(lines), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--env: {path} cannot be written: {error.strerror}") from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _say_endpoints(screen: Screen, running: Demo, page: str | None) -> None:
    settings = " ".join(f"{name}={value}" for name, value in _settings(running).items())
    where = f", with its page at {page}" if page else ""
    lines = (
        f"left running until Ctrl-C{where}; in another terminal:",
        f"  export {settings}",
        "  dynamirror simulate --count 1000 --rate 200",
        "  dynamirror status",
        "  dynamirror verify",
        f"  valkey-cli -c -p {running.valkey.port} GET {next(iter(running.sample_entries()), '')}",
        f"  aws dynamodb scan --table-name {running.schema.table}",
    )
    for line in lines:
        screen.say(line)
