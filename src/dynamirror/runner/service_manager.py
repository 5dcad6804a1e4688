"""Reports to systemd that this process is ready, works, and stops.

The protocol is one datagram for each report:
https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

import os
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress


@contextmanager
def reported_to_systemd(
    why_not_live: Callable[[], str | None], env: Mapping[str, str] = os.environ
) -> Iterator[None]:
    """Report to systemd, if it asks for that, that the process is ready, and later that it stops.

    With a watchdog, also report at half its interval that the process works.

    Args:
        why_not_live: returns why this process should be restarted; None while it works.
        env: the environment; NOTIFY_SOCKET names where to report.
    """
    address = env.get("NOTIFY_SOCKET")
    if not address:
        yield
        return
    ended = threading.Event()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:

        def send(report: str) -> None:
            with suppress(OSError):  # nobody reads it
                sender.sendto(report.encode(), re.sub("^@", "\0", address))

        def watch(interval: float) -> None:
            before = None
            while True:
                reason = why_not_live()
                send("WATCHDOG=1" if reason is None else f"STATUS={reason}")
                if before is not None and reason is None:
                    send("STATUS=works again")
                before = reason
                if ended.wait(interval):
                    return

        watchdog = threading.Thread(
            target=watch, args=(_watchdog_seconds(env) / 2,), name="systemd watchdog", daemon=True
        )
        try:  # a signal may come as soon as systemd knows that the process is ready
            send("READY=1")
            if _watchdog_seconds(env):
                watchdog.start()
            yield
        finally:
            send("STOPPING=1")
            ended.set()
            if watchdog.is_alive():
                watchdog.join()


def _watchdog_seconds(env: Mapping[str, str]) -> float:
    """Return the interval of the watchdog; 0 if there is none, or one for another process."""
    if env.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    text = env.get("WATCHDOG_USEC", "")
    return int(text) / 1e6 if text.isascii() and text.isdigit() else 0.0
