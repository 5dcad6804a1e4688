"""The live page for `demo` and `run`. NiceGUI is imported only to serve a page."""

import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

from dynamirror.demo.demo import Demo
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
    int | None,
    typer.Option(min=1, max=65_535, help="Port of the page. [default: any free one]"),
]


class DemoPage:
    """The demo's page, if one is wanted and NiceGUI is installed.

    Args:
        wanted: whether to serve a page.
        port: port to listen on; None for any free one.
        in_browser: whether to open the page in a browser.
    """

    def __init__(self, *, wanted: bool, port: int | None, in_browser: bool) -> None:
        self._wanted = wanted
        self._port = port
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
    def of(self, demo: Demo, say: Callable[[str], object]) -> Iterator[None]:
        """Serve a running demo's page while the body runs, and print its URL with `say`.

        Raises:
            DynamirrorError: the page cannot be served.
        """
        if not self._wanted:
            yield
            return
        try:
            _check_installed("a page")
        except MissingExtraError as error:
            say(f"no page: {error}")
            yield
            return
        from dynamirror.page.show import demo_page  # noqa: PLC0415 - NiceGUI

        with demo_page(demo, port=self._port) as (page, injector):
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
    wanted: bool,
    port: int | None,
    say: Callable[[str], object],
) -> Iterator[None]:
    """Serve the page of a mirror under `run` while the body runs, if a page is wanted.

    Raises:
        ConfigError: the port is taken.
        MissingExtraError: NiceGUI is not installed.
    """
    with ExitStack() as stack:
        if wanted:
            _check_installed("--page")
            from dynamirror.page.show import run_page  # noqa: PLC0415 - NiceGUI

            page = run_page(
                follower, replicator, aws, table, settings=settings, tally=tally, port=port
            )
            say(f"page: {stack.enter_context(page).url}")
        yield


def _check_installed(what: str) -> None:
    check_installed(what, _PACKAGE, "page")
