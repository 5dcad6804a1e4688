"""The live page for `demo` and `run`. NiceGUI is imported only to serve a page."""

import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer

from dynamirror.cli.addresses import listen_address
from dynamirror.demo.demo import Demo
from dynamirror.demo.demos import Demos
from dynamirror.errors import MissingExtraError
from dynamirror.extras import check_installed

if TYPE_CHECKING:
    from dynamirror.dynamodb.client import Aws
    from dynamirror.page.fault_injector import FaultInjector
    from dynamirror.replication.replicator import Replicator
    from dynamirror.runner.follower import Follower
    from dynamirror.settings import Settings
    from dynamirror.views.batch_result import Tally

_PACKAGE = "nicegui"
Port = Annotated[
    str | None,
    typer.Option(
        metavar="[HOST:]PORT",
        help="Address of the page, on 127.0.0.1 without a host; elsewhere it has no buttons. "
        "[default: any free port]",
    ),
]


class ListenOptions(TypedDict, total=False):
    """Where a page listens; on any free port of 127.0.0.1 by default."""

    host: str
    port: int


def listen_options(text: str | None) -> ListenOptions:
    """Return where a page listens, by the option `--page-port`.

    Raises:
        typer.BadParameter: the text is no address.
    """
    if text is None:
        return {}
    address = listen_address("--page-port", text, least=1)
    return {"host": address.host, "port": address.port}


class DemoPage:
    """The demo's page, if one is wanted and NiceGUI is installed.

    Args:
        wanted: whether to serve a page.
        port: address to listen on, `[HOST:]PORT`; None for any free port.
        in_browser: whether to open the page in a browser.
    """

    def __init__(self, *, wanted: bool, port: str | None, in_browser: bool) -> None:
        self._wanted = wanted
        self._listen = listen_options(port)
        self._in_browser = in_browser
        self._injector: FaultInjector | None = None
        self.url: str | None = None

    @contextmanager
    def imported(self) -> Iterator[None]:
        """Import NiceGUI in a thread while the body runs, and wait for the import at its end.

        The import takes half a second or more, while the demo waits for its servers anyway.
        """
        if not self._wanted or find_spec(_PACKAGE) is None:
            yield
            return
        importing = threading.Thread(target=import_module, args=("dynamirror.page.show",))
        importing.start()
        try:
            yield
        finally:
            importing.join()

    @contextmanager
    def of(self, demo: Demo | Demos, say: Callable[[str], object]) -> Iterator[None]:
        """Serve the page of a running demo of one table while the body runs; `say` gets its URL.

        Raises:
            DynamirrorError: the page cannot be served.
        """
        if not self._wanted:
            yield
            return
        if isinstance(demo, Demos):
            say("no page: it shows one table, and there are several")
            yield
            return
        try:
            _check_installed("a page")
        except MissingExtraError as error:
            say(f"no page: {error}")
            yield
            return
        from dynamirror.page.show import demo_page  # noqa: PLC0415 - NiceGUI

        with demo_page(demo, **self._listen) as (page, injector):
            self._injector, self.url = injector, page.url
            say(f"watch it, and break it: {page.url}")
            if self._in_browser:
                webbrowser.open(page.url)
            yield

    def finish(self) -> None:
        """Wait for a viewer's running action, and refuse new ones."""
        if self._injector is not None:
            self._injector.finish()

    def go_on(self) -> None:
        """Accept viewers' actions again, writes included."""
        if self._injector is not None:
            self._injector.resume()


@contextmanager
def of_run(
    follower: "Follower",
    replicator: "Replicator",
    aws: "Aws",
    table: str,
    *,
    settings: "Settings",
    tally: "Tally",
    listen: ListenOptions,
    say: Callable[[str], object],
) -> Iterator[None]:
    """Serve the page of a mirror under `run` while the body runs.

    Raises:
        ConfigError: the port is taken.
        MissingExtraError: NiceGUI is not installed.
    """
    _check_installed("--page")
    from dynamirror.page.show import run_page  # noqa: PLC0415 - NiceGUI

    with run_page(
        follower, replicator, aws, table, settings=settings, tally=tally, **listen
    ) as page:
        say(f"page: {page.url}")
        yield


def _check_installed(what: str) -> None:
    check_installed(what, _PACKAGE, "page")
