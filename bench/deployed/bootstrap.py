"""Start Lambda's runtime client as Lambda does: `python bootstrap.py RUNTIME TASK`.

Only two folders and Python's own modules can be imported: RUNTIME, with the runtime client, and
TASK, the unpacked asset. The event comes from the Runtime API.
"""

import sys

sys.path[0:0] = [sys.argv[2], sys.argv[1]]

from awslambdaric.__main__ import main  # noqa: E402 - the path comes first

main(["bootstrap", "entry.handler"])
