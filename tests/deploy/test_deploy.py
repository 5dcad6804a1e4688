"""The CDK app, deployed to emulated AWS: `make deploy-local`."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.deadlines import wait_until
from tests.support.processes import alive, environment, interruptible, linux_only

DEPLOY = Path(__file__).parents[2] / "deploy"
LONG = 500.0
LINE = re.compile(r"^ *[\d.]+ s  ([^:]+): .+$", re.MULTILINE)
STEPS = [
    "CDK command line",
    "emulated AWS",
    "cdk bootstrap",
    "cdk deploy",
    "functions",
    "put",
    "change",
    "delete",
    "simulator",
    "table and cache",
    "backfill --via",
    "status --via",
    "verify --via",
    "sweep",
    "verification",
    "quarantine --via",
    "canary",
    "canary-missing",
    "alarms",
    "inspector",
    "second mirror",
    "refused by preflight",
    "refused by CloudFormation",
    "table orders",
    "table",
    "cdk destroy",
    "cdk destroy",
    "dynamirror package",
    "template without CDK",
    "put",
    "change",
    "delete",
    "template without CDK",
]


@contextmanager
def started(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Start `make deploy-local`, and stop it should the test end before it."""
    folder.mkdir(exist_ok=True)
    with interruptible():
        process = subprocess.Popen(
            [sys.executable, str(DEPLOY / "local.py")],
            env=environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    with process as run:
        try:
            yield run
        finally:
            run.terminate()


@linux_only
def test_two_mirrors_live_side_by_side_and_neither_turns_into_another(tmp_path: Path) -> None:
    """Every step is done, beside a run that is interrupted, and nothing of either stays."""
    one, two = tmp_path / "one", tmp_path / "two"
    with started(one) as whole, started(two) as interrupted:
        assert interrupted.stdout
        while "emulated AWS" not in interrupted.stdout.readline():
            assert interrupted.poll() is None
        interrupted.send_signal(signal.SIGINT)
        _, errors = interrupted.communicate(timeout=60)
        assert (interrupted.returncode, errors) == (130, "deploy-local: interrupted\n")
        output, errors = whole.communicate(timeout=LONG)
    assert (whole.returncode, errors) == (0, "")
    assert LINE.findall(output) == STEPS
    assert re.search(r"table and cache: [1-9]\d* items, 0 differences", output)
    assert re.search(r"inspector: [1-9]\d* checks, and violations of kind .*missing", output)
    for work in ("sweep", "verification"):
        assert re.search(rf"{work}: resumed [1-9]\d* times, [1-9]", output)
    refusals = re.findall(r"refused by .*: (.*)", output)
    assert all(
        "mirrors table orders, which this deployment leaves out" in line for line in refusals
    )
    for folder in (one, two):
        # The functions' processes end once they see that the emulator is gone.
        wait_until(lambda folder=folder: not alive(folder))  # type: ignore[misc]
        assert list(folder.iterdir()) == []


def test_an_emulator_without_the_private_names_is_refused_in_one_sentence() -> None:
    """A later MiniStack must not fail somewhere in the middle of a deployment."""
    code = "import emulator, types; emulator.add_resource_types(types.SimpleNamespace(_ec=1))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=DEPLOY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("RuntimeError: this MiniStack has no _RESOURCE_HANDLERS, ")
    assert "install the version that pyproject.toml pins" in last
