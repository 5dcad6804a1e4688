"""A cold start: from the start of the process to the first record applied."""

import compileall
import json
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench.node import environment
from bench.records import Feed
from bench.results import Sample
from dynamirror.cdk.asset import Architecture, build_asset
from dynamirror.settings import Settings

_FUNCTION = str(Path(__file__).with_name("function.py"))
_NODE_START = str(Path(__file__).with_name("original") / "start.cjs")
# Neither site-packages nor the user's folder nor PYTHONPATH, and nothing is compiled for good:
# Lambda's /var/task cannot be written to.
ISOLATED = (sys.executable, "-I", "-S", "-B")
_IMPORTED = re.compile(rb"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)")
_LEAST_MS = 1.0


class Starting:
    """Starts of the packaged function, as it is, and without or with all of it compiled.

    Args:
        settings: of the cache.
        node: Node.js and the original's bundle; None to leave it out.
        folder: for the unpacked assets and events.
    """

    def __init__(self, settings: Settings, node: tuple[Path, Path] | None, folder: Path) -> None:
        self._event = folder / "first.json"
        self._feed = Feed(1)
        self._node = node
        self._node_env = environment(settings.port)
        self.environment = settings.to_env() | {"AWS_LAMBDA_FUNCTION_NAME": "bench"}
        self.tasks = _unpack(folder)

    def take(self) -> Iterator[Sample]:
        """Take each figure once, in milliseconds."""
        (event,) = self._feed.events(1)
        self._event.write_text(json.dumps(event), encoding="utf-8")
        for kind, task in self.tasks.items():
            yield Sample(f"start.{kind}", "ms", _handled(self._words(task), self.environment))
        yield Sample("start.python", "ms", _handled((*ISOLATED, "-c", "print('handled')"), {}))
        if self._node is not None:
            node, bundled = map(str, self._node)
            words = (node, _NODE_START, bundled, str(self._event))
            yield Sample("start.node", "ms", _handled(words, self._node_env))
            alone = (node, "-e", "console.log('handled')")
            yield Sample("start.node.alone", "ms", _handled(alone, {}))

    def imports(self, times: int) -> dict[str, dict[str, float]]:
        """Where the time of importing goes: package to milliseconds of its own modules.

        Args:
            times: how often it is taken.
        """
        kinds = ("source", "compiled")
        return {kind: self._breakdown(self.tasks[kind], times) for kind in kinds}

    def _breakdown(self, task: Path, times: int) -> dict[str, float]:
        taken: dict[str, list[float]] = {}
        first, *rest = self._words(task)
        for _ in range(times):
            done = subprocess.run(
                [first, "-X", "importtime", *rest],
                env=self.environment,
                capture_output=True,
                check=True,
            )
            packages: Counter[str] = Counter()
            for microseconds, module in _IMPORTED.findall(done.stderr):
                packages[_package(module.decode())] += int(microseconds)
            for package, total in packages.items():
                taken.setdefault(package, []).append(total / 1000)
        medians = {package: statistics.median(values) for package, values in taken.items()}
        largest = sorted(medians, key=lambda package: -medians[package])
        return {one: round(medians[one], 1) for one in largest if medians[one] >= _LEAST_MS}

    def _words(self, task: Path) -> Sequence[str]:
        return (*ISOLATED, _FUNCTION, str(task), str(self._event))


def _package(module: str) -> str:
    top = module.partition(".")[0]
    return "Python's own" if top.lstrip("_") in _STANDARD or top in _STANDARD else top


_STANDARD = sys.stdlib_module_names | {"site", "zipimport", "encodings"}


def _unpack(folder: Path) -> dict[str, Path]:
    """Unpack the asset for this machine and Python: as it is, as source only, all compiled."""
    machine: Architecture = "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64"
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    asset = build_asset(folder / "lambda.zip", architecture=machine, python=here)
    tasks = {kind: folder / kind for kind in ("packaged", "source", "compiled")}
    with zipfile.ZipFile(asset.path) as archive:
        for task in tasks.values():
            archive.extractall(task)
    for cached in list(tasks["source"].rglob("__pycache__")):
        shutil.rmtree(cached)
    compileall.compile_dir(tasks["compiled"], quiet=2)
    return tasks


def _handled(words: Sequence[str], environment: Mapping[str, str]) -> float:
    """Milliseconds until a process says that it has handled its event."""
    begin = time.perf_counter()
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:  # the function logs there, too
            if line.startswith(b"handled"):
                milliseconds = (time.perf_counter() - begin) * 1000
                process.stdout.read()
                return milliseconds
    sys.exit(f"bench: {words[-2]} did not start")
