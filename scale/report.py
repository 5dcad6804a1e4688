"""A run on the terminal."""

from collections.abc import Callable
from typing import Final

from rich.console import Console
from rich.table import Table

from scale.jobs import Job
from scale.results import Results

# Heading, and the text of a job.
COLUMNS: Final[dict[str, Callable[[Job], str]]] = {
    "job": lambda job: job.name,
    "items": lambda job: f"{job.items:,}",
    "nodes": lambda job: f"{job.nodes}",
    "seconds": lambda job: f"{job.seconds:,.1f}",
    "µs an item": lambda job: f"{job.microseconds:.1f}",
    "CPU of workers": lambda job: f"{job.worker_seconds / job.items * 1e6:.1f}",
    "CPU of the cache": lambda job: f"{job.server_seconds / job.items * 1e6:.1f}",
    "yardstick": lambda job: f"{job.yardstick * 1e3:.2f}",
    "commands an item": lambda job: f"{job.commands / job.items:.3f}",
    "read units an item": lambda job: f"{job.read_units / job.items:.3f}",
    "peak RSS, MB": lambda job: f"{job.peak_mb:.0f}",
    "invocations": lambda job: f"{job.invocations:,}",
    "resumed": lambda job: f"{job.resumed:,}",
    "killed": lambda job: f"{job.kills:,}",
}


def line(job: Job) -> str:
    """Return one job as a line."""
    wrong = "".join(f"\n  WRONG: {each}" for each in job.wrong)
    figures = f"{job.seconds:,.1f} s, {job.microseconds:.1f} µs an item"
    rest = f"{job.invocations} invocations, {job.resumed} resumed, {job.kills} killed"
    late = f", {job.timeouts} late" if job.timeouts else ""
    errors = f", {job.errors} errors" if job.errors else ""
    nodes = f" on {job.nodes} nodes" if job.nodes > 1 else ""
    return f"{job.items:,} items{nodes}: {job.name}: {figures}; {rest}{late}{errors}{wrong}"


def show(results: Results, console: Console) -> None:
    """Print all jobs, and what is promised."""
    table = Table()
    for head in COLUMNS:
        table.add_column(head, justify="left" if head == "job" else "right")
    for job in results.jobs:
        table.add_row(*(text(job) for text in COLUMNS.values()))
    console.print(table)
    promises = Table(title="what is promised")
    for head in ("ratio", "measured", "at most", ""):
        promises.add_column(head, justify="left" if head == "ratio" else "right")
    for promise in results.promises():
        kept = "kept" if promise.is_kept else "[red]missed"
        promises.add_row(promise.name, f"{promise.value:.3g}", f"{promise.bound:g}", kept)
    console.print(promises)
    for job in results.jobs:
        for wrong in job.wrong:
            console.print(f"[red]{job.items:,} items, {job.name}: {wrong}")
