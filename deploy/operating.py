"""The deployed functions and state machine, in use."""

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from dynamirror.aws import aws_errors
from dynamirror.errors import DynamirrorError

_COMMAND_SECONDS = 120.0


def speak_plainly(functions: Any, port: int) -> None:
    """Have the functions use the cache at its port, without TLS and IAM.

    Args:
        functions: boto3's lambda client.
        port: of the cache.
    """
    with aws_errors("functions"):
        for function in functions.list_functions()["Functions"]:
            name = function["FunctionName"]
            variables = function.get("Environment", {}).get("Variables", {})
            if "ELASTICACHE_HOST" not in variables:
                continue
            for variable in ("ELASTICACHE_NAME", "ELASTICACHE_USER"):
                variables.pop(variable, None)
            variables |= {"ELASTICACHE_PORT": str(port), "ELASTICACHE_TLS": "false"}
            functions.update_function_configuration(
                FunctionName=name, Environment={"Variables": variables}
            )
            functions.get_waiter("function_updated_v2").wait(FunctionName=name)


class CommandLine:
    """Our command line, as an operator uses it from outside the cache's network.

    Args:
        stack: the stack's name.
        environment: leads to AWS.
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
        """Wait for a command's end; returns what it printed.

        Raises:
            DynamirrorError: it failed.
        """
        try:
            output, errors = process.communicate(timeout=_COMMAND_SECONDS)
        finally:
            process.kill()
            process.wait()
        if process.returncode:
            raise DynamirrorError(f"`dynamirror {name}` failed: {output}{errors}")
        printed: dict[str, Any] = json.loads(output)
        return printed

    def run(self, *words: str) -> dict[str, Any]:
        """Run a command to its end; returns what it printed."""
        return self.end(words[0], self.start(*words))
