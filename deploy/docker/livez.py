"""Exit with 0 while /livez at a port of this container answers that the process works.

Usage: `python3 -IS livez.py PORT`. It imports little, because it runs every few seconds.
"""

import sys
from http.client import OK, HTTPConnection, HTTPException
from typing import Final

_SECONDS: Final = 3.0
# A process that listens at [::] has both; one that listens at [::1] has no other.
_HOSTS: Final = ("127.0.0.1", "::1")


def main(port: int) -> str | None:
    """Return why the process does not work; None if it does."""
    reason = ""
    for host in _HOSTS:
        connection = HTTPConnection(host, port, timeout=_SECONDS)
        try:
            connection.request("GET", "/livez")
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace").strip()
        except (OSError, HTTPException) as error:
            reason = reason or f"/livez: {error}"
            if isinstance(error, TimeoutError):
                break
        else:
            return None if answer.status == OK else text
        finally:
            connection.close()
    return reason


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
