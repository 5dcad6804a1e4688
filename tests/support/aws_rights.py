"""What each function asks of AWS, beside its log, its streams and the cache's password.

The tests of the functions record the calls, and those of the stack compare its policies with them.
"""

from collections.abc import Mapping
from typing import Final

_SCANS: Final = frozenset({"dynamodb:BatchGetItem", "dynamodb:DescribeTable", "dynamodb:Scan"})
CALLS: Final[Mapping[str, frozenset[str]]] = {
    "replicator": frozenset(),
    "operator": _SCANS | {"dynamodb:GetItem"},
    "worker": _SCANS,
    "auditor": _SCANS,
    "canary": frozenset({"dynamodb:PutItem"}),
    "judge": frozenset({"dynamodb:GetItem"}),
}
