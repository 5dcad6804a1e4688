"""Ctrl-C and SIGTERM end a command at any moment, and never with a traceback."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.processes import environment, interruptible

# The signal comes when a package is looked for.
INTERRUPTED = """
import os, sys, time
number, name = int(sys.argv.pop(1)), sys.argv.pop(1)
class Finder:
    def find_spec(self, wanted, path=None, target=None):
        if wanted == name:
            interrupt()
def interrupt():
    os.kill(os.getpid(), number)
class Named:
    def __set_name__(self, owner, name):
        os.kill(os.getpid(), number)
def interrupt_name():
    type("Owner", (), {"name": Named()})
class Interrupting:
    def __del__(self):
        os.kill(os.getpid(), number)
def interrupt_ignored():
    try:
        os.kill(os.getpid(), number)
        time.sleep(0)
    except BaseException:
        pass
if name.startswith("ignored: "):
    name = name.removeprefix("ignored: ")
    interrupt = interrupt_ignored
if name.startswith("in a destructor: "):
    name = name.removeprefix("in a destructor: ")
    interrupt = Interrupting
if name.startswith("in a name: "):
    name = name.removeprefix("in a name: ")
    interrupt = interrupt_name
sys.meta_path.insert(0, Finder())
from dynamirror.cli import main
main()
"""


def interrupted(number: int, package: str, *words: str, folder: Path) -> tuple[int, str, str]:
    """Return how a command ends that a signal interrupts while it imports a package."""
    with interruptible():
        done = subprocess.run(
            [sys.executable, "-c", INTERRUPTED, str(number), package, *words],
            env=environment(folder),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "package",
    [
        # What is first imported would be a traceback if it were not by `main`.
        *("typing", "contextlib", "dynamirror.errors", "dynamirror.cli.commands"),
        *("typer", "boto3", "rich.live", "in a destructor: typer", "in a name: typer"),
        "ignored: rich",
        "ignored: boto3",
    ],
)
def test_ctrl_c_while_importing_is_no_traceback(tmp_path: Path, package: str) -> None:
    words = ("status", "--table", "t")
    assert interrupted(signal.SIGINT, package, *words, folder=tmp_path) == (130, "", "")


# The first process of a container ignores each signal that it has no handler for.
@pytest.mark.parametrize(
    ("package", "command", "status"),
    [
        ("boto3", "run", 0),
        ("boto3", "status", 143),
        ("in a destructor: typer", "run", 0),
        ("ignored: boto3", "status", 143),
    ],
)
def test_sigterm_while_importing_ends_in_order(
    tmp_path: Path, package: str, command: str, status: int
) -> None:
    words = (command, "--table", "t")
    assert interrupted(signal.SIGTERM, package, *words, folder=tmp_path) == (status, "", "")
