"""The handler as Lambda's runtime client loads it: reports when it is loaded, and when it is done.

The runtime client imports this module once it is ready itself.
"""

import os
from typing import Any

os.write(1, b"ready\n")

from dynamirror.handler import handler as apply_batch  # noqa: E402 - the report comes first


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Apply a batch, and report it."""
    response = apply_batch(event, context)
    if response["batchItemFailures"]:
        os._exit(1)
    os.write(1, b"handled\n")
    return response
