"""The Lambda functions' zip, built without Docker.

Two machines build the same bytes if both have the functions' version of Python, or neither has.
With it, the modules are compiled in advance, which Lambda would repeat at every cold start.
"""

import argparse
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from dynamirror.errors import ConfigError, DynamirrorError
from dynamirror.settings import load_json

Architecture = Literal["arm64", "x86_64"]

_PACKAGE = Path(__file__).parents[1]
_LOCK = Path(__file__).with_name("requirements.txt")
# The name of the views in the zip, which the functions' DYNAMIRROR_CONFIG holds.
PACKAGED_CONFIG = "mirror.json"

# The modules of our package that the handlers import.
_PACKAGED = (
    "__init__.py",
    "backoff.py",
    "cache",
    "costs/__init__.py",
    "costs/figures.py",
    "deployment/__init__.py",
    "deployment/identity.py",
    "dynamodb",
    "errors.py",
    "functions",
    "handler.py",
    "inspection",
    "log_lines.py",
    "metrics/__init__.py",
    "metrics/catalogue.py",
    "metrics/emf.py",
    "metrics/tracing.py",
    "operations",
    "records",
    "recovery",
    "replication",
    "settings.py",
    "validation.py",
    "views",
)
_PACKAGED_SUFFIXES = {".py", ".lua", ".pem"}
_UNUSED = {"bin", "tests", "test", "__pycache__"}
_UNUSED_SUFFIXES = {".pyi", ".pyc", ".typed"}

_MACHINES: dict[Architecture, str] = {"arm64": "aarch64", "x86_64": "x86_64"}
# Amazon Linux 2, under Python 3.11, has glibc 2.26; Amazon Linux 2023, from 3.12 on, has 2.34.
# https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html
_OLD = ("manylinux_2_17", "manylinux2014")
_NEW = ("manylinux_2_28", *_OLD)

_WHICH = "import sys; sys.stdout.write(sys.implementation.name + ' %d.%d' % sys.version_info[:2])"

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time in a zip
_MODE = 0o100644 << 16  # readable by everyone: Lambda runs as another user


@dataclass(frozen=True, slots=True)
class Asset:
    """Describe a zip that was built.

    Args:
        path: path of the zip.
        sha256: SHA-256 of the zip, in hex.
        zipped: size of the zip in bytes.
        unpacked: total size of its files in bytes.
        compiled: whether the zip contains bytecode.
    """

    path: Path
    sha256: str
    zipped: int
    unpacked: int
    compiled: bool

    def __str__(self) -> str:
        """Return path and sizes in one line."""
        zipped, unpacked = self.zipped / 1e6, self.unpacked / 1e6
        how = "compiled" if self.compiled else "not compiled"
        return f"{self.path}: {zipped:.1f} MB, {unpacked:.1f} MB unpacked, {how}"


def build_asset(
    output: Path,
    *,
    architecture: Architecture = "arm64",
    python: str = "3.14",
    config: Path | None = None,
) -> Asset:
    """Build the functions' zip: our package, its locked dependencies and the views.

    The views are packaged as `mirror.json`, because parsing TOML makes each cold start longer.

    Dependencies are downloaded once for each lock, architecture and Python, and cached in
    $XDG_CACHE_HOME/dynamirror or ~/.cache/dynamirror. A repeated build needs no network.

    Args:
        output: path of the zip, which is written atomically.
        architecture: processor architecture of the functions.
        python: Python version of the functions, such as 3.13.
        config: path of a `mirror.toml` to package, with its `mirror.json`; None for none.

    Raises:
        ConfigError: the architecture, the Python version or `mirror.toml` is wrong.
        DynamirrorError: dependencies cannot be installed, or the zip cannot be written.
    """
    if not re.fullmatch(r"3\.[1-9]\d", python) or python == "3.10":
        raise ConfigError(f"Lambda asset: python must be 3.11 or newer, as in 3.13, not {python!r}")
    if architecture not in _MACHINES:
        raise ConfigError(
            f"Lambda asset: architecture must be arm64 or x86_64, not {architecture!r}"
        )
    files = {}
    if config is not None:
        files[PACKAGED_CONFIG] = load_json(str(config))
        if config.suffix == ".toml":
            files["mirror.toml"] = config.read_bytes()  # for people who look into the zip
    interpreter = _interpreter(python)
    sources = {f"{_PACKAGE.name}/{name}": data for name, data in _read(_PACKAGE, _is_packaged)}
    files |= sources | _compiled(sources, interpreter)
    files |= _dependencies(architecture, python, interpreter)
    zipped = _pack(files)
    try:
        _write(output, zipped)
    except OSError as error:
        raise DynamirrorError(f"{output}: cannot be written: {error.strerror}") from None
    return Asset(
        path=output,
        sha256=hashlib.sha256(zipped).hexdigest(),
        zipped=len(zipped),
        unpacked=sum(map(len, files.values())),
        compiled=interpreter is not None,
    )


def _is_packaged(path: PurePosixPath) -> bool:
    return path.suffix in _PACKAGED_SUFFIXES and any(
        str(part) in _PACKAGED for part in (path, *path.parents)
    )


def _is_used(path: PurePosixPath) -> bool:
    return (
        not path.parts[0].endswith(".dist-info")
        and _UNUSED.isdisjoint(path.parts[:-1])
        and path.suffix not in _UNUSED_SUFFIXES
    )


def _read(folder: Path, wanted: Callable[[PurePosixPath], bool]) -> Iterator[tuple[str, bytes]]:
    for path in folder.rglob("*"):
        name = PurePosixPath(path.relative_to(folder).as_posix())
        if wanted(name) and path.is_file():
            yield str(name), path.read_bytes()


def _interpreter(python: str) -> str | None:
    """Return the path of an interpreter of a version, or None."""
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    if python == running and sys.implementation.name == "cpython":
        return sys.executable
    found = shutil.which(f"python{python}")
    if found is None:
        return None
    # The file may be a version manager's stub, which only prints that the version is missing, or
    # which starts another version.
    answer = ""
    with suppress(OSError):
        answer = subprocess.run(  # noqa: S603 - our own arguments, no shell
            [found, "-I", "-S", "-c", _WHICH],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        ).stdout
    return found if answer == f"cpython {python}" else None


def _compiled(files: Mapping[str, bytes], interpreter: str | None) -> dict[str, bytes]:
    """Return the bytecode of modules, which Python never compares with the source."""
    if interpreter is None:
        return {}
    with tempfile.TemporaryDirectory(prefix="dynamirror-") as folder:
        for name, data in files.items():
            if name.endswith(".py"):
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        # Lambda compiles the modules that this fails to compile.
        subprocess.run(  # noqa: S603 - our own arguments, no shell
            [
                *(interpreter, "-P", "-S", "-m", "compileall", "-qq", "-s", folder),
                *("-p", "/var/task", "--invalidation-mode", "unchecked-hash", folder),
            ],
            env=_plain_environment() | {"PYTHONHASHSEED": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        return dict(_read(Path(folder), lambda path: path.suffix == ".pyc"))


def _plain_environment() -> dict[str, str]:
    """Return our environment without the variables that configure Python."""
    return {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}


def _dependencies(
    architecture: Architecture, python: str, interpreter: str | None
) -> dict[str, bytes]:
    """Return the files of the locked dependencies, from our download cache if they are there."""
    platforms = _OLD if python == "3.11" else _NEW
    words = [
        *("--python-version", python, "--implementation", "cp"),
        *(f"--platform={platform}_{_MACHINES[architecture]}" for platform in platforms),
    ]
    inputs = _LOCK.read_bytes() + repr((words, interpreter is not None)).encode()
    key = hashlib.sha256(inputs).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dynamirror"
    download = folder / f"lambda-{architecture}-{python}-{key}.zip"
    # A missing or damaged zip is downloaded again.
    with suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(download) as archive:
        return {name: archive.read(name) for name in archive.namelist()}
    files = _install(words, f"Python {python} on {architecture}")
    files |= _compiled(files, interpreter)
    # Without a writable cache, the next build downloads again.
    with suppress(OSError):
        _write(download, _pack(files))
    return files


def _install(words: Sequence[str], target: str) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory(prefix="dynamirror-") as folder:
        done = subprocess.run(  # noqa: S603 - our own arguments, no shell
            [
                *(sys.executable, "-P", "-m", "pip", "install", "--quiet", "--no-input"),
                *("--disable-pip-version-check", "--require-hashes", "--only-binary=:all:"),
                *("--no-deps", "--no-compile", "--target", folder, *words, "-r", str(_LOCK)),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise DynamirrorError(
                f"Lambda asset: pip cannot install the dependencies for {target}: "
                f"{_reason(done.stderr)}; check the network and pip's package index"
            )
        return dict(_read(Path(folder), _is_used))


def _reason(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or ["pip printed no error"])[-1]


def _pack(files: Mapping[str, bytes]) -> bytes:
    """Return a zip of files that does not depend on time, place and user.

    The files are stored, not deflated: zlib and zlib-ng, which some builds of Python use, compress
    the same text to different bytes.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system = 3  # Unix, on every platform
            info.external_attr = _MODE
            archive.writestr(info, files[name])
    return buffer.getvalue()


def _write(path: Path, data: bytes) -> None:
    """Write a file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Build the zip from the command line, and print its path and sizes.

    Args:
        arguments: arguments of the command; None for those of this process.
    """
    parser = argparse.ArgumentParser(prog="python -m dynamirror.cdk.asset", description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="path of the zip to write")
    parser.add_argument("--architecture", choices=sorted(_MACHINES), default="arm64")
    parser.add_argument("--python", default="3.14", help="Python version of the functions")
    parser.add_argument("--config", type=Path, help="path of a mirror.toml to package")
    options = parser.parse_args(arguments)
    try:
        asset = build_asset(
            options.output,
            architecture=options.architecture,
            python=options.python,
            config=options.config,
        )
    except DynamirrorError as error:
        sys.exit(f"error: {error}")
    sys.stdout.write(f"{asset}\n")


if __name__ == "__main__":
    main()
