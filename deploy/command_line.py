"""The command `dynamirror --via`, run against the deployed stack."""

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from dynamirror.errors import DynamirrorError

_COMMAND_SECONDS = 240.0


class CommandLine:
    """Run our command line as an operator does, from outside the cache's network.

    Args:
        stack: name of the stack.
        environment: environment variables that direct AWS clients to the emulator.
    """

    def __init__(self, stack: str, environment: Mapping[str, str]) -> None:
        self._stack = stack
        self._environment = dict(environment)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command."""
        command = [sys.executable, "-m", "dynamirror", *words, "--via", self._stack, "--json"]
        return subprocess.Popen(
            command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self, name: str, process: subprocess.Popen[str]) -> dict[str, Any]:
        """Wait for a command's end, and return the JSON that it printed.

        Raises:
            DynamirrorError: the command failed, or took too long.
        """
        try:
            output, errors = process.communicate(timeout=_COMMAND_SECONDS)
        except subprocess.TimeoutExpired:
            raise DynamirrorError(
                f"`dynamirror {name}` took more than {_COMMAND_SECONDS:g} s"
            ) from None
        finally:
            process.kill()
            process.wait()
        if process.returncode:
            raise DynamirrorError(f"`dynamirror {name}` failed: {output}{errors}")
        result: dict[str, Any] = json.loads(output)
        return result

    def run(self, *words: str) -> dict[str, Any]:
        """Run a command to its end, and return the JSON that it printed."""
        return self.end(words[0], self.start(*words))
