"""A cold start as Lambda does it: the runtime client, then init, then the first record.

Both runtime clients are Lambda's own: awslambdaric, and aws-lambda-ric with `original/rapid.cjs`
in place of the part that has to be compiled.
"""

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
from importlib.util import find_spec
from pathlib import Path

from bench.node import ORIGINAL, environment
from bench.records import Feed
from bench.results import Sample
from bench.runtime_api import RuntimeApi
from bench.servers import Secure
from dynamirror.cdk.asset import Architecture, build_asset
from dynamirror.settings import Settings

DEPLOYED = Path(__file__).with_name("deployed")
# Neither site-packages nor the user's folder nor PYTHONPATH, and nothing is compiled for good:
# Lambda's /var/task cannot be written to.
ISOLATED = (sys.executable, "-I", "-S", "-B")
_RUNTIME_CLIENT = ("awslambdaric", "runtime_client", "simplejson", "snapshot_restore_py")
CAN_START = all(find_spec(name) is not None for name in _RUNTIME_CLIENT)
# Set by Lambda; https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
_LAMBDA = {
    "AWS_LAMBDA_FUNCTION_NAME": "bench",
    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
    "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/bench",
    "AWS_LAMBDA_LOG_STREAM_NAME": "bench",
    "AWS_REGION": "us-east-1",
}
_IMPORTED = re.compile(rb"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)")
_LEAST_MS = 1.0


def deployed_environment(settings: Settings) -> dict[str, str]:
    """Return the environment that CDK gives the function, with the address of this cache.

    See cdk/mirror.py. The bench's own authority is trusted beside Amazon's. A version that does not
    know ELASTICACHE_CA ignores it.
    """
    return (
        settings.to_env()
        | _LAMBDA
        | {
            "ELASTICACHE_CA": "amazon",
            "DYNAMIRROR_KEY_SCHEMA": "id",
        }
    )


class Starting:
    """Starts of the packaged function and of the original's, with TLS and without.

    Args:
        settings: of the cache without TLS.
        secure: the cache with TLS.
        node: Node.js and the original's bundle; None to leave it out.
        folder: for the unpacked assets and the runtime client.
        tasks: the unpacked assets by kind.
    """

    def __init__(
        self,
        settings: Settings,
        secure: Secure,
        node: tuple[Path, Path] | None,
        folder: Path,
        tasks: Mapping[str, Path],
    ) -> None:
        self._feed = Feed(1)
        self._node = node
        self._tasks = tasks
        self._runtime = _runtime_client(folder / "runtime")
        self._environments = {
            "": deployed_environment(settings),
            ".tls": deployed_environment(secure.settings()),
        }
        self._node_environments = {
            "": _LAMBDA | environment(settings.port),
            ".tls": _LAMBDA | environment(secure.port, secure.ca_file),
        }
        self._api = RuntimeApi()

    def close(self) -> None:
        """Stop the Runtime API."""
        self._api.__exit__()

    def take(self) -> Iterator[Sample]:
        """Take each figure once, in milliseconds."""
        for tls in self._environments:
            yield from self._started(f"packaged{tls}", *self._ours("packaged", tls))
            if self._node is not None:
                yield from self._started(f"node{tls}", *self._theirs(tls))
        yield from self._started("source", *self._ours("source", ""))

    def _ours(self, kind: str, tls: str) -> tuple[Sequence[str], dict[str, str]]:
        bootstrap = str(DEPLOYED / "bootstrap.py")
        words = (*ISOLATED, bootstrap, str(self._runtime), str(self._tasks[kind]))
        return words, self._environments[tls]

    def _theirs(self, tls: str) -> tuple[Sequence[str], dict[str, str]]:
        assert self._node is not None
        node, bundle = map(str, self._node)
        client = ORIGINAL / "node_modules" / "aws-lambda-ric" / "index.mjs"
        words = (node, "--require", str(ORIGINAL / "rapid.cjs"), str(client))
        return words, self._node_environments[tls] | {
            "BENCH_BUNDLE": bundle,
            "LAMBDA_TASK_ROOT": str(ORIGINAL),
            "_HANDLER": "entry.handler",
        }

    def _started(
        self, name: str, words: Sequence[str], environment: dict[str, str]
    ) -> Iterator[Sample]:
        """Start a process; take the time until it has handled its event, and the function's part.

        The function's part begins when the runtime client is ready and loads the handler.
        """
        (event,) = self._feed.events(1)
        self._api.event = json.dumps(event).encode()
        seen: dict[bytes, float] = {}
        begin = time.perf_counter()
        with subprocess.Popen(
            words,
            env=environment | {"AWS_LAMBDA_RUNTIME_API": self._api.address},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:  # the function logs there, too
                if line in (b"ready\n", b"handled\n"):
                    seen[line] = time.perf_counter()
                if line == b"handled\n":
                    break
            process.kill()  # it would wait for another event
            assert process.stderr is not None
            errors = process.stderr.read().decode(errors="replace")
        if len(seen) != 2:  # noqa: PLR2004 - ready and handled
            sys.exit(f"bench: start.{name} failed: {errors}")
        ready, handled = seen[b"ready\n"], seen[b"handled\n"]
        yield Sample(f"start.{name}", "ms", (handled - begin) * 1000)
        yield Sample(f"init.{name}", "ms", (handled - ready) * 1000)

    def imports(self, times: int) -> dict[str, dict[str, float]]:
        """Return where the time of importing goes: package to milliseconds of its own modules.

        Args:
            times: how often it is taken.
        """
        return {kind: self._breakdown(task, times) for kind, task in self._tasks.items()}

    def _breakdown(self, task: Path, times: int) -> dict[str, float]:
        taken: dict[str, list[float]] = {}
        event = task.with_suffix(".json")
        first, *rest = (*ISOLATED, str(DEPLOYED / "function.py"), str(task), str(event))
        for _ in range(times):
            event.write_text(json.dumps(next(self._feed.events(1))), encoding="utf-8")
            done = subprocess.run(
                [first, "-X", "importtime", *rest],
                env=self._environments[".tls"],
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
        return {name: round(medians[name], 1) for name in largest if medians[name] >= _LEAST_MS}


def _package(module: str) -> str:
    top = module.partition(".")[0]
    return "Python's own" if top.lstrip("_") in _STANDARD or top in _STANDARD else top


_STANDARD = sys.stdlib_module_names | {"site", "zipimport", "encodings"}


def _runtime_client(folder: Path) -> Path:
    """Copy Lambda's runtime client and the entry into a folder, compiled as Lambda has it."""
    folder.mkdir()
    for name in _RUNTIME_CLIENT:
        spec = find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        origin = Path(spec.origin)
        if origin.name == "__init__.py":
            shutil.copytree(origin.parent, folder / name)
        else:
            shutil.copy(origin, folder)
    shutil.copy(DEPLOYED / "entry.py", folder)
    compileall.compile_dir(folder, quiet=2)
    return folder


def unpack(folder: Path) -> dict[str, Path]:
    """Unpack the asset for this machine and Python: as it is, and as source only."""
    machine: Architecture = "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64"
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    asset = build_asset(folder / "lambda.zip", architecture=machine, python=here)
    tasks = {kind: folder / kind for kind in ("packaged", "source")}
    with zipfile.ZipFile(asset.path) as archive:
        for task in tasks.values():
            archive.extractall(task)
    for cached in list(tasks["source"].rglob("__pycache__")):
        shutil.rmtree(cached)
    return tasks
