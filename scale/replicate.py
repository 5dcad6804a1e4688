"""Simulate replication at scale: `make scale-replication`.

It prints a table, or plain data with `--json`, and writes the page with `--write`.
"""

import argparse
import os
import sys
from typing import Final

import msgspec
from bench.document import RESULTS
from bench.results import read
from rich.console import Console
from rich.table import Table

from dynamirror.cache.client import Cache
from dynamirror.emulators.valkey import EmbeddedValkey
from scale.real_handler import RealShards
from scale.replication import Fleet, run
from scale.replication_page import HEADINGS, PAGE, markdown, rows, sentences

_WIDTH: Final = 160


def main() -> int:
    """Simulate, print, and fail if an entry of the real cache is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=Fleet().shards, help="number of shards")
    parser.add_argument("--rate", type=float, default=Fleet().rate, help="changes/s of each")
    parser.add_argument("--seconds", type=float, default=Fleet().seconds, help="simulated time")
    parser.add_argument("--sample", type=int, default=Fleet().sample, help="shards for real")
    parser.add_argument("--json", action="store_true", help="print plain data")
    parser.add_argument("--write", action="store_true", help=f"write docs/{PAGE.name}")
    options = parser.parse_args()
    fleet = Fleet(
        options.shards,
        options.rate,
        options.seconds,
        options.sample,
        cold_seconds=read(RESULTS).worst.median("start.packaged.tls") / 1000,
    )
    with EmbeddedValkey() as server:
        os.environ.update(server.settings().to_env())
        from dynamirror.handler import handler  # noqa: PLC0415 - reads the environment

        cache = Cache(server.settings())
        notes = Console(stderr=True)
        report = run(
            fleet,
            RealShards(handler, cache),
            on_result=lambda result: notes.print(f"simulated: {result.scenario.name}"),
        )
        cache.close()
    if options.write:
        PAGE.write_text(markdown(report), encoding="utf-8")
    if options.json:
        print(msgspec.json.encode(report).decode())
    else:
        table = Table(title="replication, simulated")
        for heading in HEADINGS:
            table.add_column(heading, justify="right" if heading else "left")
        for row in rows(report):
            table.add_row(*row)
        console = Console()
        console = Console(width=max(console.width, _WIDTH))
        console.print(table)
        console.print(*sentences(report), sep="\n", highlight=False)
    return int(any(each.differences + each.outcome.out_of_order for each in report.results))


if __name__ == "__main__":
    sys.exit(main())
