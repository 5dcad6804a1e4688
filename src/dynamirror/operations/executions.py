"""The names of the state machine's executions, from which a watchdog reads table and action.

Step Functions takes 80 letters, digits, dashes and underscores, and the name of a table may be
longer. So the name of an execution holds the beginning of it, and a digest of the whole.
"""

import re
from collections.abc import Mapping
from hashlib import sha256

_REBUILDS = ("backfill", "rebuild")
_WORDS_LENGTH = 30
# What follows the table is a time, or an id of up to 24 letters.
_HOUR = 3600
_TIME = re.compile(r"-(d?)(\d+)$")
_NAME = re.compile(r"([a-z]+)-(.*-[0-9a-f]{8})-(?:none|[0-9a-f]+)(?:-\d+)?")


def execution_name(action: str, table: str, id: str) -> str:  # noqa: A002 - the word for it
    """Return the name of an execution.

    Args:
        action: backfill, verify or repair; rebuild for the backfill that a watchdog starts.
        table: name of the table.
        id: what no other execution of that action and table has: digits and letters up to f, or a
            time and digits after a dash.
    """
    return f"{action}-{_of_table(table)}-{id}"


def may_rebuild(name: str, table: str) -> bool:
    """Return whether an execution is, or may be, a rebuild of a table.

    Args:
        name: name of the execution, which a person may have chosen.
        table: name of the table.
    """
    if found := _NAME.fullmatch(name):
        return found[1] in _REBUILDS and found[2] == _of_table(table)
    # An execution of another version, or one that a person started, may be of any table.
    return not name.startswith(("verify", "repair"))


def failed_in_a_row(
    statuses: Mapping[str, str], table: str, *, after: int | None = None
) -> list[str]:
    """Return the ARNs of a watchdog's failed rebuilds since the last that did not fail.

    Args:
        statuses: the status of each execution, by its ARN, the newest first.
        table: name of the table.
        after: when the newest rebuild began that has ended well, in seconds since 1970.
    """
    failed = []
    for arn, status in statuses.items():
        name = arn.rpartition(":")[2]
        found = _NAME.fullmatch(name)
        if not found or found[1] not in _REBUILDS or found[2] != _of_table(table):
            continue
        if status in ("SUCCEEDED", "ABORTED"):  # who stops one takes care of it
            break
        if status == "RUNNING" or found[1] != "rebuild":
            continue
        begun = _TIME.search(name)
        if begun and after is not None:
            period = 24 * _HOUR if begun[1] else _HOUR
            if (int(begun[2]) + 1) * period <= after:
                break
        failed.append(arn)
    return failed


def _of_table(table: str) -> str:
    words = re.sub(r"[^A-Za-z0-9_]+", "-", table)[:_WORDS_LENGTH]
    return f"{words}-{sha256(table.encode()).hexdigest()[:8]}"
