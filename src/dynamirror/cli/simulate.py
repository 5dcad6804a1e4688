"""The command that writes random changes to a table: simulate."""

import itertools
import random
import secrets
import time
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from dynamirror.cli import options
from dynamirror.cli.interrupts import interruptible
from dynamirror.cli.output import print_json
from dynamirror.dynamodb.client import aws_errors, describe_schema
from dynamirror.errors import SourceError
from dynamirror.functions import simulator


def simulate(
    *,
    table: options.Table,
    count: Annotated[
        int | None, typer.Option(min=1, help="Number of writes. [default: until stopped]")
    ] = None,
    rate: Annotated[float, typer.Option(min=0.01, help="Writes per second.")] = 10,
    ids: Annotated[
        int, typer.Option(min=1, help='Number of different ids, from "1" on.')
    ] = simulator.IDS,
    seed: Annotated[int | None, typer.Option(help="Seed of the changes. [default: any]")] = None,
    endpoint_url: options.EndpointUrl = None,
    as_json: options.Json = False,
) -> None:
    """Write random changes to a table: two upserts for each delete."""
    client = options.read_aws(endpoint_url).dynamodb()
    schema, _description = describe_schema(client, table)
    if (schema.keys, schema.types) != simulator.KEY:
        raise SourceError(
            f"table {table}: its key is {' and '.join(schema.keys)}; the simulator needs a table "
            "with the key id (S)"
        )
    seed = secrets.randbits(32) if seed is None else seed
    written = 0
    begin = time.monotonic()
    operations = simulator.operations(random.Random(seed), ids=ids)  # noqa: S311 - no secret
    with interruptible(), _progress() as progress:
        task = progress.add_task("written", total=count)
        try:
            for operation in itertools.islice(operations, count):
                time.sleep(max(0.0, begin + written / rate - time.monotonic()))
                with aws_errors(f"table {table}"):
                    simulator.write(client, table, operation)
                written += 1
                progress.advance(task)
        finally:
            if as_json:
                print_json({"written": written, "seed": seed})
            else:
                typer.echo(f"{written} written (seed {seed})")


def _progress() -> Progress:
    """Return a spinner on standard error that shows nothing unless that is a terminal."""
    console = Console(stderr=True)
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description} {task.completed:,.0f}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
