"""The live page, which costs nothing unless it is served: NiceGUI is imported only then."""

import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

from dynamirror.errors import ConfigError
from dynamirror.local.demo import Demo

if TYPE_CHECKING:
    from dynamirror.aws import Aws
    from dynamirror.config import Settings
    from dynamirror.handler import Replicator
    from dynamirror.local.follow import Follower
    from dynamirror.page.harm import Harm
    from dynamirror.report import Tally

Port = Annotated[
    int | None,
    typer.Option(min=1, max=65_535, help="Port of the page. [default: any free one]"),
]


class DemoPage:
    """The page of the demo, or none.

    Args:
        wanted: whether there is to be one, if it can be.
        port: to listen on; None for any free one.
        in_browser: whether to open it in a browser.
    """

    def __init__(self, *, wanted: bool, port: int | None, in_browser: bool) -> None:
        self._wanted = wanted
        self._port = port
        self._in_browser = in_browser
        self._importing: threading.Thread | None = None
        self._harm: Harm | None = None
        self.url: str | None = None

    @contextmanager
    def imported(self) -> Iterator[None]:
        """Import meanwhile what takes half a second: servers take longer to start."""
        if self._wanted and _is_installed():
            target = import_module
            self._importing = threading.Thread(target=target, args=("dynamirror.page.show",))
            self._importing.start()
        try:
            yield
        finally:
            if self._importing is not None:
                self._importing.join()

    @contextmanager
    def of(self, demo: Demo, say: Callable[[str], object]) -> Iterator[None]:
        """Serve it for as long as the demo runs.

        Args:
            demo: runs already.
            say: is told where the page is, or why there is none.

        Raises:
            DynamirrorError: it cannot be served.
        """
        if not self._wanted:
            yield
            return
        if not _is_installed():
            say(f"no page: {_missing()}")
            yield
            return
        from dynamirror.page.show import demo_page  # noqa: PLC0415 - NiceGUI

        with demo_page(demo, port=self._port) as (page, harm):
            self._harm, self.url = harm, page.url
            say(f"watch it, and break it: {page.url}")
            if self._in_browser:
                webbrowser.open(page.url)
            yield

    def finish(self) -> None:
        """Let what a viewer has begun come to its end."""
        if self._harm is not None:
            self._harm.finish()

    def go_on(self) -> None:
        """Let viewers do what they like, and write."""
        if self._harm is not None:
            self._harm.go_on()


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
    """Serve the page of a mirror that runs, if it is wanted.

    Raises:
        ConfigError: NiceGUI is not installed, or the port is taken.
    """
    with ExitStack() as stack:
        if wanted:
            if not _is_installed():
                raise ConfigError(f"--page: {_missing()}")
            from dynamirror.page.show import run_page  # noqa: PLC0415 - NiceGUI

            page = run_page(
                follower, replicator, aws, table, settings=settings, tally=tally, port=port
            )
            say(f"page: {stack.enter_context(page).url}")
        yield


def _is_installed() -> bool:
    return find_spec("nicegui") is not None


def _missing() -> str:
    return "NiceGUI is not installed; install dynamirror with the extra `page`"
