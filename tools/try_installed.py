"""Try an installed dynamirror with one extra: `python -I tools/try_installed.py EXTRA VERSION`.

It runs outside the repository, in an environment that has nothing else, and needs no network.
EXTRA is empty for none.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import version
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Final

_SECONDS: Final = 120
_VIEW: Final = '[[view]]\nkey = "user:{id}"\n'
_PLUGIN: Final = 'pytest_plugins = ["dynamirror.testing"]\n'
_TEST: Final = """
def test_an_item_reaches_the_cache(valkey):
    assert valkey.ping()
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m` with arguments, as a user does."""
    words = [sys.executable, "-I", "-m", *arguments]
    return subprocess.run(words, capture_output=True, text=True, timeout=_SECONDS, check=False)


def succeed(*arguments: str) -> str:
    """Run `python -m` with arguments, and return what it prints."""
    done = run(*arguments)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}: status {done.returncode}\n{done.stderr}")
    return done.stdout


def check(*, what: str, holds: bool) -> None:
    """End unless something holds."""
    if not holds:
        raise SystemExit(f"{sys.version.split()[0]}: not true: {what}")


def without_extra() -> None:
    """Try what needs no extra: data files, and one sentence instead of a command line."""
    for name in ("py.typed", "cache/scripts/put.lua", "cache/amazon_roots.pem", "page/style.css"):
        check(what=f"{name} is inside", holds=files("dynamirror").joinpath(name).is_file())
    import_module("dynamirror.cache.client")
    import_module("dynamirror.views.mirror_toml")
    done = run("dynamirror", "status")
    needed = "dynamirror: the command line needs typer, which is not installed; pip install"
    check(what="the extra is named", holds=done.returncode == 1 and needed in done.stderr)


def command_line() -> None:
    """Try the commands that need neither a table nor a cache."""
    check(what="--version", holds=version("dynamirror") in succeed("dynamirror", "--version"))
    Path("mirror.toml").write_text(_VIEW, encoding="utf-8")
    check(what="view check", holds="user:" in succeed("dynamirror", "view", "check", "mirror.toml"))
    check(what="run --help", holds="--metrics" in succeed("dynamirror", "run", "--help"))


def reader() -> None:
    """Try what applications import."""
    package = import_module("dynamirror")
    for name in package.__all__:
        check(what=f"dynamirror.{name}", holds=getattr(package, name) is not None)


def local() -> None:
    """Try the demo, which compares table and cache."""
    succeed("dynamirror", "demo", "--no-page", "--seconds", "1", "--json")


def testing() -> None:
    """Try the fixtures."""
    Path("conftest.py").write_text(_PLUGIN, encoding="utf-8")
    Path("test_it.py").write_text(_TEST, encoding="utf-8")
    check(what="1 passed", holds="1 passed" in succeed("pytest", "-q", "-p", "no:cacheprovider"))


def page() -> None:
    """Try what the page is made of."""
    import_module("dynamirror.page.server")
    check(what="demo --page", holds="--page-port" in succeed("dynamirror", "demo", "--help"))


def cdk() -> None:
    """Try the constructs."""
    lock = files("dynamirror").joinpath("cdk/requirements.txt")
    check(what="the functions' lock is inside", holds=lock.is_file())
    constructs = import_module("dynamirror.cdk")
    for name in constructs.__all__:
        check(what=f"dynamirror.cdk.{name}", holds=getattr(constructs, name) is not None)


def otel() -> None:
    """Try to make spans."""
    spans = import_module("dynamirror.metrics.tracing").batch_spans(
        {"OTEL_TRACES_EXPORTER": "console"}
    )
    check(what="there are traces", holds=spans is not None)
    spans.close()


# By extra: the program that tries it, and what only other extras bring.
EXTRAS: Final[Mapping[str, tuple[Callable[[], None], tuple[str, ...]]]] = {
    "": (without_extra, ("boto3", "typer", "valkey", "ministack", "pytest", "nicegui", "aws_cdk")),
    "cli": (command_line, ("valkey", "ministack", "pytest", "nicegui", "aws_cdk")),
    "reader": (reader, ("typer", "valkey", "ministack", "pytest", "nicegui", "aws_cdk")),
    "local": (local, ("pytest", "nicegui", "aws_cdk", "opentelemetry")),
    "testing": (testing, ("nicegui", "aws_cdk", "opentelemetry")),
    "page": (page, ("pytest", "aws_cdk")),
    "cdk": (cdk, ("boto3", "typer", "valkey", "ministack", "pytest", "nicegui")),
    "otel": (otel, ("boto3", "typer", "valkey", "ministack", "pytest", "nicegui", "aws_cdk")),
}


def main() -> None:
    """Try the extra that is named, in an empty folder."""
    extra, expected = sys.argv[1:]
    repository = Path(__file__).parents[1]
    attempt, others = EXTRAS[extra]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        package = import_module("dynamirror")
        check(what="its version", holds=package.__version__ == version("dynamirror") == expected)
        path = Path(str(package.__file__)).resolve()
        check(what="it is installed", holds=not path.is_relative_to(repository / "src"))
        for name in others:
            check(what=f"{name} is not installed", holds=find_spec(name) is None)
        attempt()
        os.chdir(repository)
    print(f"Python {sys.version.split()[0]}: dynamirror[{extra}] works".replace("[]", ""))


if __name__ == "__main__":
    main()
