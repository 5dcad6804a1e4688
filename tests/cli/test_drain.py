"""SIGTERM ends `run` in order with status 0, and within a deadline anyway."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.processes import environment

_WAITS = """
import time
from dynamirror.cli.interrupts import interruptible
from dynamirror.cli.lost_interrupts import lost_interrupts_raised_again
import typer
app = typer.Typer()
@app.command()
def wait(drain: float, work: float):
    with interruptible(terminated=0, drain=drain):
        try:
            print("runs", flush=True)
            time.sleep(600)
        finally:
            print("stops", flush=True)
            try:
                raise ValueError
            except ValueError:
                time.sleep(work)
            print("finished", flush=True)
with lost_interrupts_raised_again():
    app()
"""


def started(folder: Path, drain: str, work: str) -> subprocess.Popen[str]:
    """Return a process that works for some seconds after SIGTERM, once it runs."""
    process = subprocess.Popen(
        [sys.executable, "-c", _WAITS, drain, work],
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "runs\n"
    return process


@pytest.mark.parametrize(
    ("drain", "work", "status", "output"),
    [("60", "0", 0, "stops\nfinished\n"), ("0.1", "600", 1, "stops\n")],
    ids=["in time", "not in time"],
)
def test_what_is_not_finished_in_time_is_given_up(
    tmp_path: Path, drain: str, work: str, status: int, output: str
) -> None:
    process = started(tmp_path, drain, work)
    try:
        os.kill(process.pid, signal.SIGTERM)
        rest, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, rest) == (status, output)
    expected = "dynamirror: not stopped within 0.1 s of --drain; the next process delivers "
    assert errors.startswith(expected) if status else errors == ""


def test_a_second_sigterm_does_not_cut_short_what_the_first_began(tmp_path: Path) -> None:
    process = started(tmp_path, "60", "0.5")
    try:
        process.terminate()
        assert process.stdout
        assert process.stdout.readline() == "stops\n"
        process.terminate()
        rest, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, rest, errors) == (0, "finished\n", "")
