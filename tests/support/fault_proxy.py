"""A proxy in front of the DynamoDB emulator that injects faults."""

import json
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

from dynamirror.dynamodb.client import Aws
from dynamirror.emulators.process import HOST, ServerProcess


class Proxy:
    """MicroBurst in front of the emulator."""

    def __init__(self, process: ServerProcess) -> None:
        self.port = process.port
        self.aws = Aws("us-east-1", f"http://{HOST}:{self.port}", ("local", "local")).shared()

    def inject(self, *rules: dict[str, Any]) -> None:
        """Replace the rules; none lifts all faults."""
        self._control("POST", "/_microburst/rules", rules)

    def fired(self) -> int:
        """How many faults were injected so far."""
        return len(json.loads(self._control("GET", "/_microburst/fired", None)))

    def _control(self, method: str, path: str, body: object) -> bytes:
        # Its one thread may be busy for long on a machine that is.
        with closing(HTTPConnection(HOST, self.port, timeout=60)) as connection:
            connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
        assert answer.status < 300, content
        return content
