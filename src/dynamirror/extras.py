"""The extras of this package, and what needs them."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Literal

from dynamirror.errors import MissingExtraError

Extra = Literal["cdk", "cli", "local", "page", "reader", "testing"]


@contextmanager
def extra_needed(what: str, extra: Extra) -> Iterator[None]:
    """Name the extra where the body imports a package that is not installed.

    Args:
        what: the subject of the sentence.
        extra: the extra that brings the package.

    Raises:
        MissingExtraError: the package is not installed.
    """
    try:
        yield
    except MissingExtraError as error:  # of a part that the body imports
        raise MissingExtraError(_sentence(what, error.name or "", extra), name=error.name) from None
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "dynamirror"):
            raise
        raise MissingExtraError(_sentence(what, package, extra), name=package) from None


def check_installed(what: str, package: str, extra: Extra) -> None:
    """Check that a package is installed.

    Args:
        what: the subject of the sentence.
        package: the package.
        extra: the extra that brings it.

    Raises:
        MissingExtraError: it is not installed.
    """
    if find_spec(package) is None:
        raise MissingExtraError(_sentence(what, package, extra), name=package)


def _sentence(what: str, package: str, extra: Extra) -> str:
    return f"{what} needs {package}, which is not installed; pip install 'dynamirror[{extra}]'"
