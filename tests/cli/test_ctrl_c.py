"""Ctrl-C ends a command with status 130 at any moment, and never with a traceback."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.processes import environment, interruptible

# Ctrl-C comes when a package is looked for.
INTERRUPTED = """
import os, signal, sys
name = sys.argv.pop(1)
class Finder:
    def find_spec(self, wanted, path=None, target=None):
        if wanted == name:
            interrupt()
def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
class Interrupting:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
if name.startswith("in a destructor: "):
    name = name.removeprefix("in a destructor: ")
    interrupt = Interrupting
sys.meta_path.insert(0, Finder())
from dynamirror.cli import main
main()
"""


@pytest.mark.parametrize(
    "package", ["dynamirror.cli.commands", "typer", "boto3", "rich.live", "in a destructor: typer"]
)
def test_ctrl_c_while_importing_is_no_traceback(tmp_path: Path, package: str) -> None:
    with interruptible():
        done = subprocess.run(
            [sys.executable, "-c", INTERRUPTED, package, "status", "--table", "t"],
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
