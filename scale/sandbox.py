"""One sandbox of the deployed functions: a process, driven by `scale.sandboxes`.

The process is forked from one that has imported this module, so that it starts in milliseconds.
"""

import os
import re
import signal
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec

from dynamirror.functions import auditor, environment, worker
from scale.client import StandIn, StandInAws
from scale.messages import Answer, Request, Setup, Used
from scale.meter import Meter
from scale.table import Table

_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)
_HANDLERS: Mapping[str, Any] = {"worker": worker.handler, "auditor": auditor.handler}


class _Context:
    """Lambda's context.

    Args:
        seconds: how long the invocation may take.
    """

    aws_request_id = "scale"
    function_name = "scale"
    memory_limit_in_mb = 1_769

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        """Return the time that is left."""
        return max(0, round(1000 * (self._end - time.monotonic())))


class _Sandbox:
    """Invokes the handlers."""

    def __init__(self, setup: Setup, pipe: Connection) -> None:
        self._pipe = pipe
        self._client = StandIn(Table(setup.items, setup.seed))
        self._meter = Meter(lambda: self._answer(Answer(used=self._used())))
        self._meter.install()
        self._meter.arm(setup.last_command, setup.seed)
        self._begun = time.process_time()
        StandInAws.client_of_table = self._client
        environment.Aws = StandInAws  # type: ignore[attr-defined]

    def invoke(self, request: Request) -> None:
        """Invoke a function, and send its answer."""
        self._client.table.edits = request.edits
        self._client.ahead = request.ahead
        try:
            value = _HANDLERS[request.function](request.event, _Context(request.seconds))
        except Exception as error:  # noqa: BLE001 - Lambda reports any
            name = type(error).__name__
            answer = Answer(error=name, message=str(error), used=self._used())
        else:
            answer = Answer(value=value, used=self._used())
        self._answer(answer)

    def _used(self) -> Used:
        usage = self._client.usage
        (peak,) = _PEAK.findall(Path("/proc/self/status").read_text(encoding="ascii"))
        return Used(
            commands=self._meter.commands,
            exchanges=self._meter.exchanges,
            read_units=usage.read_units,
            requests=usage.requests,
            scanned=usage.scanned,
            looked_up=usage.looked_up,
            table_seconds=usage.seconds,
            cpu_seconds=time.process_time() - self._begun,
            peak_mb=int(peak) / 1024,
        )

    def _answer(self, answer: Answer) -> None:
        self._pipe.send_bytes(msgspec.json.encode(answer))


def main(setup: Setup, variables: Mapping[str, str], pipe: Connection, log: Path) -> None:
    """Answer requests until there are no more.

    Args:
        setup: what the sandbox is for.
        variables: environment variables of the functions.
        pipe: where requests come from, and answers go to.
        log: receives what the functions print.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    os.environ.update(variables)
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    sandbox = _Sandbox(setup, pipe)
    while True:
        try:
            request = msgspec.json.decode(pipe.recv_bytes(), type=Request)
        except EOFError:
            return
        sandbox.invoke(request)
