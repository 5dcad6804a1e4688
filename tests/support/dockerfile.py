"""Build what a Dockerfile describes without Docker, by its own steps, and run it in a chroot.

The base image is this machine's own system, read-only: /usr, /etc and the Python that runs the
tests. All that a step makes is in a folder of its own. Needs root, and `unshare`, on Linux.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

# Bind the base into the root, make the root read-only if asked to, and become the command.
_ENTER = """
root=$1 mode=$2 user=$3 workdir=$4 base=$5 chroot=$6; shift 6
mount --bind "$root" "$root"
for place in $base; do mount --rbind -o ro "$place" "$root$place"; done
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
if [ "$mode" = ro ]; then mount -o remount,bind,ro "$root"; fi
begin='cd "$0" && exec "$@"'
exec "$chroot" --userspec="$user" --groups= "$root" /bin/sh -c "$begin" "$workdir" "$@"
"""
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
# How this machine reaches its package index.
_INDEX = re.compile(r"PIP_\w+|SSL_CERT_\w+|REQUESTS_CA_BUNDLE|\w+_PROXY|\w+_proxy")


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction of a Dockerfile, such as COPY, with its flags and the rest."""

    name: str
    flags: Mapping[str, str]
    text: str

    @property
    def words(self) -> list[str]:
        """The words of the JSON form."""
        words: list[str] = json.loads(self.text)
        return words


@dataclass(slots=True)
class Image:
    """A file system, and how to run its command."""

    root: Path
    env: dict[str, str]
    workdir: str = "/"
    user: str = "0:0"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)
    stop_signal: str = ""
    ports: list[int] = field(default_factory=list)

    def start(
        self, words: Sequence[str], env: Mapping[str, str], *, read_only: bool = True
    ) -> subprocess.Popen[str]:
        """Start a command in the file system, as the image's user and its first process.

        `unshare` waits for it, and is the process that is returned.
        """
        mode = "ro" if read_only else "rw"
        base = " ".join(_base_places())
        return subprocess.Popen(
            [
                *(_tool("unshare"), "--mount", "--pid", "--fork", "--"),
                *("/bin/sh", "-euc", _ENTER, "enter"),
                *(str(self.root), mode, self.user, self.workdir, base, _tool("chroot"), *words),
            ],
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def signal_first(process: subprocess.Popen[str], number: int) -> None:
    """Send a signal to the first process of a container, unless it has ended."""
    if process.poll() is None:
        for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            os.kill(int(child), number)


def why_not() -> str | None:
    """Return why this machine cannot build; None if it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "a chroot needs Linux, and root"
    if not shutil.which("unshare"):
        return "needs unshare"
    if not Path(sys.base_prefix, "bin/pip").exists():
        return "the Python that runs the tests has no pip, as that of the base image has"
    done = subprocess.run(
        [
            *(_tool("unshare"), "--mount", "--pid", "--fork"),
            *("mount", "-t", "proc", "proc", "/proc"),
        ],
        capture_output=True,
        check=False,
    )
    return None if done.returncode == 0 else "mounts are not allowed here"


def parse(text: str) -> list[Instruction]:
    """Return the instructions of a Dockerfile."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    found = []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, _, rest = line.strip().partition(" ")
        flags = {}
        while name and (match := re.match(r"--([\w-]+)=(\S+)\s*", rest.lstrip())):
            flags[match[1]] = match[2]
            rest = rest.lstrip()[match.end() :]
        if name:
            found.append(Instruction(name, flags, rest.strip()))
    return found


def build(dockerfile: Path, context: Path, folder: Path) -> Image:
    """Build the last stage of a Dockerfile.

    Args:
        dockerfile: the Dockerfile.
        context: the folder that COPY copies from, with its `.dockerignore`.
        folder: gets a root file system for each stage.
    """
    ignored = _ignored((context / ".dockerignore").read_text(encoding="utf-8"))
    stages: dict[str, Image] = {}
    image = Image(folder, {})
    scope: dict[str, str] = {}
    for step in parse(dockerfile.read_text(encoding="utf-8")):
        text = _expanded(step.text, scope | image.env)
        match step.name:
            case "ARG":
                name, _, value = text.partition("=")
                scope[name] = value
            case "FROM":
                words = text.split()
                image = _base_image(folder / str(len(stages)))
                stages[words[2] if len(words) > 1 else ""] = image
            case "COPY" if "from" in step.flags:
                source, target = text.split()
                _copy(_inside(stages[step.flags["from"]], source), _inside(image, target))
            case "COPY":
                *sources, target = text.split()
                _copy_context(context, sources, image, target, ignored)
            case "RUN":
                _run(image, step.text, scope)
            case _:
                _describe(image, replace(step, text=text))
    return image


def _describe(image: Image, step: Instruction) -> None:
    """Note what an instruction states about the image, or about the steps that follow."""
    match step.name:
        case "ENV":
            image.env |= dict(re.findall(r"(\w+)=(\S+)", step.text))
        case "WORKDIR":
            image.workdir = step.text
            _inside(image, step.text).mkdir(parents=True, exist_ok=True)
        case "USER":
            image.user = step.text
        case "EXPOSE":
            image.ports = [int(port) for port in step.text.split()]
        case "STOPSIGNAL":
            image.stop_signal = step.text
        case "HEALTHCHECK":
            image.health = replace(step, text=step.text.removeprefix("CMD ")).words
        case "ENTRYPOINT":
            image.entrypoint = step.words
        case "CMD":
            image.command = step.words
        case _:
            assert step.name == "LABEL", f"{step.name}: the builder does not know it"


def _expanded(text: str, variables: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda match: variables.get(match[1] or match[2], match[0]), text)


def _tool(name: str) -> str:
    found = shutil.which(name)
    assert found is not None
    return found


def _base_places() -> list[str]:
    """Return the folders of this machine that the base image consists of."""
    places = [f"/{name}" for name in ("usr", "etc", "bin", "sbin", "lib", "lib64")]
    if not sys.base_prefix.startswith("/usr"):
        places.append(sys.base_prefix)
    return [place for place in places if Path(place).is_dir() and not Path(place).is_symlink()]


def _base_image(root: Path) -> Image:
    for place in (*_base_places(), "/proc", "/dev", "/opt", "/tmp", "/root"):  # noqa: S108 - in the root
        _at(root, place).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    for link in (Path("/bin"), Path("/sbin"), Path("/lib"), Path("/lib64")):
        if link.is_symlink():
            _at(root, str(link)).symlink_to(link.readlink())
    for config in (Path.home() / ".config/pip/pip.conf", Path.home() / ".pip/pip.conf"):
        if config.is_file():
            (target := root / "root/.config/pip").mkdir(parents=True, exist_ok=True)
            shutil.copy(config, target)
    return Image(root, {"PATH": f"{sys.base_prefix}/bin:/usr/sbin:/usr/bin:/sbin:/bin"})


def _at(root: Path, place: str) -> Path:
    return root / place.lstrip("/")


def _inside(image: Image, place: str) -> Path:
    """Return the path of a place in an image, which may be relative to its working folder."""
    return _at(image.root, str(PurePosixPath(image.workdir) / place))


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
    else:
        shutil.copy(source, target)


def _copy_context(
    context: Path, sources: Sequence[str], image: Image, target: str, ignored: re.Pattern[str]
) -> None:
    for name in sources:
        source = context / name
        is_folder = source.is_dir()
        into = _inside(image, target)
        if not is_folder and (target.endswith("/") or len(sources) > 1):
            into /= source.name
        copied = 0
        for path in _files(source):
            if not ignored.fullmatch(path.relative_to(context).as_posix()):
                _copy(path, into / path.relative_to(source) if is_folder else into)
                copied += 1
        assert copied, f"COPY {name}: .dockerignore leaves nothing of it"


def _files(source: Path) -> Iterator[Path]:
    paths = source.rglob("*") if source.is_dir() else iter([source])
    return (path for path in paths if path.is_file())


def _ignored(text: str) -> re.Pattern[str]:
    """Return the pattern of the paths that a `.dockerignore` leaves out: its last match counts."""
    rules = [line for line in text.splitlines() if line and not line.startswith("#")]
    pattern = "(?!)"
    for rule in rules:
        words = re.escape(rule.lstrip("!")).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
        matched = f"{words}(?:/.*)?"
        pattern = (
            f"(?!(?:{matched})$)(?:{pattern})"
            if rule.startswith("!")
            else f"(?:{pattern}|{matched})"
        )
    return re.compile(pattern)


def _run(image: Image, command: str, scope: Mapping[str, str]) -> None:
    index = {name: text for name, text in os.environ.items() if _INDEX.fullmatch(name)}
    env = {"HOME": "/root", **index, **scope}
    process = image.start(["/bin/sh", "-c", command], env, read_only=False)
    output, _errors = process.communicate()
    assert process.returncode == 0, f"RUN {command}\n{output}"
