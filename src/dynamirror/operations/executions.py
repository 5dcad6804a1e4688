"""The names of the state machine's executions, from which a watchdog reads table and action.

Step Functions takes 80 letters, digits, dashes and underscores, and the name of a table may be
longer. So the name of an execution holds the beginning of it, and a digest of the whole.
"""

import re
from hashlib import sha256

_REBUILDS = ("backfill", "rebuild")
_WORDS_LENGTH = 30
# What follows the table is a time, or an id of up to 24 letters.
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


def _of_table(table: str) -> str:
    words = re.sub(r"[^A-Za-z0-9_]+", "-", table)[:_WORDS_LENGTH]
    return f"{words}-{sha256(table.encode()).hexdigest()[:8]}"
