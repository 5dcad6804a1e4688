"""Build all artifacts of a release from a commit, with checksums, and try them: `make release`.

Wheel and sdist are built from the commit's own files, the wheel from the sdist. The wheel's code
builds the template with its zips. With a tag, it must be `v` and the version. Each Python that is
found and supported installs the wheel with each extra in an environment of its own, with the
versions of requirements/dev.txt. The folder of the release is written last, complete and tried.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
SUMS: Final = "SHA256SUMS"
PYTHONS: Final = ("3.11", "3.12", "3.13", "3.14")
# By name in the release.
COPIED: Final = {
    "dynamirror.grafana.json": "deploy/grafana/dynamirror.json",
    "dynamirror.rules.yml": "deploy/prometheus/dynamirror.rules.yml",
}
_WHICH: Final = "import sys; print('%d.%d' % sys.version_info[:2], sys.prefix == sys.base_prefix)"
_BUILD: Final = "import sys, flit_core.buildapi as b; print(getattr(b, sys.argv[1])(sys.argv[2]))"
# What a type checker finds in a user's program, if the package is typed.
PROGRAM: Final = """\
from dynamirror import Reader, Settings
reveal_type(Settings.from_env({}))
Reader().no_such_method()
"""
FOUND: Final = (
    'Revealed type is "dynamirror.settings.Settings"',
    '"Reader" has no attribute "no_such_method"',
)


def run(*words: str, cwd: Path | None = None, **environment: str) -> str:
    """Run a command, and return what it prints.

    Raises:
        SystemExit: it failed.
    """
    env = {**os.environ, **environment}
    try:
        done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        sys.exit(f"release: {error.filename} is not installed")
    if done.returncode:
        sys.exit(f"release: {' '.join(words)}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def export(ref: str, folder: Path) -> str:
    """Write the files of a commit into a folder, and return the version.

    Raises:
        SystemExit: the tag is not that of the version.
    """
    commit = run("git", "rev-parse", "--verify", f"{ref}^{{commit}}", cwd=ROOT)
    # Line ends are those of the commit, not of the settings of whoever releases.
    words = ("git", "-c", "core.autocrlf=false", "archive", "--format=tar", commit)
    archive = subprocess.run(words, cwd=ROOT, capture_output=True, check=True)
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    version = str(project["version"])
    tags = run("git", "tag", "--points-at", commit, cwd=ROOT).split()
    for tag in tags:
        if re.match(r"v\d", tag) and tag != f"v{version}":
            sys.exit(f"release: the tag is {tag}, and pyproject.toml has version {version}")
    tagged = "" if f"v{version}" in tags else f", which has no tag v{version}"
    print(f"version {version} of commit {commit[:12]}{tagged}", flush=True)
    if run("git", "status", "--porcelain", cwd=ROOT):
        print("what is not committed is not in it", flush=True)
    return version


def build(tree: Path, output: Path) -> tuple[Path, Path]:
    """Build the sdist from a tree, and the wheel from the sdist; return wheel and sdist."""
    sdist = output / run(sys.executable, "-c", _BUILD, "build_sdist", str(output), cwd=tree)
    with tempfile.TemporaryDirectory() as folder, tarfile.open(sdist) as tar:
        tar.extractall(folder, filter="data")
        (inside,) = Path(folder).iterdir()
        name = run(sys.executable, "-c", _BUILD, "build_wheel", str(output), cwd=inside)
    wheel = output / name
    wheel.chmod(0o644)
    return wheel, sdist


def package(wheel: Path, output: Path) -> None:
    """Write the CloudFormation template and the functions' zips, by the wheel's own code."""
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)  # noqa: S202 - ours
        words = (sys.executable, "-m", "dynamirror", "package", "--output", str(output))
        run(*words, cwd=Path(folder), PYTHONPATH=folder)


def has_target(tree: Path, target: str) -> bool:
    """Return whether the Makefile of a tree has a target."""
    makefile = (tree / "Makefile").read_text(encoding="utf-8")
    return re.search(rf"^{target}:", makefile, re.MULTILINE) is not None


def write_sums(output: Path) -> None:
    """Write the checksums of all files of a folder, in the form of `sha256sum`."""
    paths = sorted(path for path in output.iterdir() if path.name != SUMS)
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in paths]
    (output / SUMS).write_text("".join(lines), encoding="utf-8")


def check_sums(output: Path) -> int:
    """Check that the files of a folder are those of its checksums; return their number.

    Raises:
        SystemExit: one is missing, another, or not named.
    """
    lines = (output / SUMS).read_text(encoding="utf-8").splitlines()
    named = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    there = {path.name for path in output.iterdir()} - {SUMS}
    wrong = sorted(named.keys() ^ there) + [
        name
        for name in sorted(named.keys() & there)
        if hashlib.sha256((output / name).read_bytes()).hexdigest() != named[name]
    ]
    if wrong:
        sys.exit(f"release: not as {SUMS} has it: {', '.join(wrong)}")
    return len(named)


def pythons() -> dict[str, str]:
    """Return the path of each supported Python that is found on PATH or in pyenv, by version."""
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep)]
    folders += sorted(Path.home().glob(".pyenv/versions/*/bin"))
    found: dict[str, str] = {}
    for version in PYTHONS:
        for path in (folder / f"python{version}" for folder in folders):
            if version not in found and path.is_file() and _is_python(path, version):
                found[version] = str(path)
    return found


def _is_python(path: Path, version: str) -> bool:
    done = subprocess.run([path, "-c", _WHICH], capture_output=True, text=True, check=False)
    return done.returncode == 0 and done.stdout.split() == [version, "True"]


def extras(tree: Path) -> Iterator[str]:
    """Yield no extra, and then each extra of a tree."""
    project = tomllib.loads((tree / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    yield ""
    yield from project["optional-dependencies"]


def try_wheel(wheel: Path, version: str, tree: Path, python: str, extra: str) -> str:
    """Install the wheel with one extra in an environment of its own, and use it there."""
    with tempfile.TemporaryDirectory() as folder:
        uv = str(Path(sys.executable).with_name("uv"))
        environment = Path(folder) / "env"
        inside = str(environment / "bin/python")
        run(uv, "venv", "--quiet", "--no-project", "--python", python, str(environment))
        run(
            *(uv, "pip", "install", "--quiet", "--python", inside),
            *("--constraint", str(tree / "requirements/dev.txt")),
            f"{wheel}[{extra}]" if extra else str(wheel),
            cwd=Path(folder),
        )
        tried = run(inside, "-I", str(tree / "tools/try_installed.py"), extra, version)
        if extra == "reader":
            check_types(inside, Path(folder))
            tried += ", and is typed"
    return tried


def check_types(python: str, folder: Path) -> None:
    """Check that mypy, outside the repository, has the types of the installed package.

    Raises:
        SystemExit: it has not.
    """
    program = folder / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    words = [sys.executable, "-m", "mypy", "--strict", "--python-executable", python]
    done = subprocess.run(
        [*words, "--cache-dir", str(folder / "cache"), program.name],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if [text for text in FOUND if text not in done.stdout] or "import-" in done.stdout:
        sys.exit(f"release: the package is not typed\n{done.stdout}{done.stderr}")


def make(ref: str, tree: Path, draft: Path) -> tuple[Path, str]:
    """Write all files of a release into a folder; return the wheel and the version."""
    version = export(ref, tree)
    os.environ["SOURCE_DATE_EPOCH"] = run("git", "log", "-1", "--format=%ct", ref, cwd=ROOT)
    wheel, _sdist = build(tree, draft)
    for name, path in COPIED.items():
        shutil.copy(tree / path, draft / name)
    if has_target(tree, "package"):
        package(wheel, draft)
    write_sums(draft)
    return wheel, version


def try_all(wheel: Path, version: str, tree: Path) -> None:
    """Try the wheel with each Python and each extra, and print the outcomes."""
    found = pythons()
    for python in found.values():
        for extra in extras(tree):
            print(try_wheel(wheel, version, tree, python, extra), flush=True)
    for missing in sorted(set(PYTHONS) - found.keys()):
        print(f"Python {missing}: not tried, since it was not found")


def main() -> None:
    """Build, write the checksums, and try all of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--ref", default="HEAD", help="the commit or tag (default: HEAD)")
    parser.add_argument("--output", type=Path, default=ROOT / "dist/release", help="the folder")
    parser.add_argument("--build-only", action="store_true", help="try nothing")
    options = parser.parse_args()
    output: Path = options.output.resolve()
    if output.exists() and any(output.iterdir()) and not (output / SUMS).exists():
        sys.exit(f"release: {output} has other files than those of a release; remove it")
    output.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as tree,
        tempfile.TemporaryDirectory(prefix=".release-", dir=output.parent) as folder,
    ):
        draft = Path(folder) / "files"
        draft.mkdir()
        wheel, version = make(options.ref, Path(tree), draft)
        if not options.build_only:
            try_all(wheel, version, Path(tree))
        files = check_sums(draft)
        shutil.rmtree(output, ignore_errors=True)
        draft.rename(output)
    print(f"{files} files in {output}, as {SUMS} has them")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("release: interrupted; the folder of the release is as before")
