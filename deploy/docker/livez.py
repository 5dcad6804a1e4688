"""Exit with 0 while /livez at a port of this container answers that the process works.

Usage: `python3 -IS livez.py PORT`. It imports little, because it runs every few seconds.
"""

import sys
from http.client import OK, HTTPConnection, HTTPException
from typing import Final

_SECONDS: Final = 3.0


def main(port: int) -> str | None:
    """Return why the process does not work; None if it does."""
    connection = HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
    try:
        connection.request("GET", "/livez")
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace").strip()
    except (OSError, HTTPException) as error:
        return f"/livez: {error}"
    return None if answer.status == OK else text


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
