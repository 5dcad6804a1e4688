"""A process that loads rows, and is made to be killed.

For every line on standard input it forks a child that begins or resumes a rebuild, and tells the
progress of every page as a line of JSON. When the child has ended, a line says so.
"""

import json
import os
import sys
from typing import Any

import msgspec

from dynamirror.cache.client import Cache
from dynamirror.dynamodb.client import Aws, describe_table
from dynamirror.recovery.rebuild import Rebuild
from dynamirror.settings import Settings
from dynamirror.views.view import ViewSpec


def main(endpoint: str, port: str, table: str, limit: str) -> None:
    """Fork until there is no more input."""
    client = Aws("us-east-1", endpoint, ("local", "local")).dynamodb()
    source = describe_table(client, table)
    for _line in sys.stdin:
        child = os.fork()
        if child == 0:
            rebuild = Rebuild(
                Cache(Settings(host="127.0.0.1", port=int(port), tls=False)),
                [ViewSpec().bind(source.schema)],
                Aws("us-east-1", endpoint, ("local", "local")).dynamodb(),
                fence_ttl=93_600,
                stream_arn=source.stream_arn,
                margin=1,
                limit=int(limit),
            )
            tell({"pid": os.getpid()})
            run = rebuild.begin(segments=1).run
            assert run is not None
            rebuild.load(run, 0, on_progress=lambda progress: tell({"items": progress.items}))
            os._exit(0)
        _pid, status = os.waitpid(child, 0)
        tell({"ended": status})


def tell(what: dict[str, Any]) -> None:
    """Write one line, at once."""
    os.write(1, msgspec.json.encode(what) + b"\n")


if __name__ == "__main__":
    main(*json.loads(sys.argv[1]))
