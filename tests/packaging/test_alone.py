"""The zip alone, as Lambda runs it: with Lambda's runtime client and boto3 only."""

import ast
import json
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

import pytest
from tests.support.builders import STREAM_ARN, item, record

from dynamirror.cache.client import Cache
from dynamirror.cdk import asset
from dynamirror.cdk.asset import PACKAGED_CONFIG, Asset
from dynamirror.emulators.valkey import EmbeddedValkey

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="awslambdaric is for Linux")

# Part of the managed runtime: boto3 with its dependencies, and the runtime interface client.
PROVIDED = (
    *("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six", "urllib3"),
    *("awslambdaric", "runtime_client", "simplejson", "snapshot_restore_py"),
)
# Without site-packages, user's folder and PYTHONPATH, all imports come from two folders.
ISOLATED = (sys.executable, "-S", "-E", "-I", "-B", "-c")
ONLY_THESE = "import sys; sys.path[:0] = sys.argv[1:3]; "
SERVE = ONLY_THESE + (
    "from awslambdaric.__main__ import main; main(['awslambdaric', 'dynamirror.handler.handler'])"
)
FUNCTIONS = ("auditor", "canary", "inspector", "judge", "operator", "simulator", "worker")
# The modules of the handlers that the stack deploys.
HANDLERS = (
    "dynamirror.handler",
    *(f"dynamirror.functions.{name}" for name in FUNCTIONS),
)
PRINT_ORIGINS = ONLY_THESE + (
    f"import {', '.join(HANDLERS)};"
    "import boto3, libvalkey, json;"
    "origins = {n: getattr(m, '__file__', None) for n, m in sys.modules.items()};"
    "print(json.dumps(origins))"
)
# What a handler imports, with the settings that the stack sets, before its first record.
PRINT_STARTED = ONLY_THESE + (
    "import importlib, sys; importlib.import_module(sys.argv[3]);"
    "from dynamirror.settings import Settings, load_views;"
    "from dynamirror.cache.client import Cache;"
    "settings = Settings(host='cache', authorities='amazon', config=sys.argv[4]);"
    "views = load_views(settings.config); Cache(settings);"
    "print(views[0].key, *sorted(sys.modules))"
)
IMPORT_ALL = ONLY_THESE + "import importlib; [*map(importlib.import_module, sys.argv[3:])]"
# Packages that applications, operators and CDK apps use, and that no handler imports.
NOT_PACKAGED = ("cdk", "cli", "demo", "emulators", "page", "reader", "runner")
SECONDS = 60.0
SOURCE = Path(asset.__file__).parents[1]


class RuntimeApi(ThreadingHTTPServer):
    """Lambda's side of the Runtime API: it hands out invocations and receives outcomes.

    https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), PipelinedCall)
        self.invocations: SimpleQueue[tuple[str, Mapping[str, Any]] | None] = SimpleQueue()
        self.outcomes: SimpleQueue[tuple[str, Any]] = SimpleQueue()

    @property
    def address(self) -> str:
        """Host and port, in the format of AWS_LAMBDA_RUNTIME_API."""
        return f"127.0.0.1:{self.server_port}"

    def invoke(self, request: str, event: Mapping[str, Any]) -> tuple[str, Any]:
        """Have the function handle an event, and return the path and body of its outcome."""
        self.invocations.put((request, event))
        return self.outcomes.get(timeout=SECONDS)


class PipelinedCall(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RuntimeApi

    def do_GET(self) -> None:
        assert self.path == "/2018-06-01/runtime/invocation/next"
        invocation = self.server.invocations.get()
        if invocation is None:  # the function has ended
            self.close_connection = True
            return
        request, event = invocation
        body = json.dumps(event).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Lambda-Runtime-Aws-Request-Id", request)
        self.send_header("Lambda-Runtime-Deadline-Ms", str(round((time.time() + SECONDS) * 1000)))
        self.send_header("Lambda-Runtime-Invoked-Function-Arn", STREAM_ARN)
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.outcomes.put((self.path, json.loads(body)))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@contextmanager
def runtime_api() -> Iterator[RuntimeApi]:
    """Serve the Runtime API."""
    with RuntimeApi() as api:
        thread = Thread(target=api.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield api
        finally:
            api.invocations.put(None)
            api.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def folders(native: Asset, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Unpack the zip into one folder, and link what the runtime provides into another."""
    task, runtime = tmp_path_factory.mktemp("task"), tmp_path_factory.mktemp("runtime")
    with zipfile.ZipFile(native.path) as archive:
        archive.extractall(task)
    for name in PROVIDED:
        spec = find_spec(name)
        assert spec is not None
        assert spec.origin is not None, name
        origin = Path(spec.origin)
        source = origin.parent if origin.name == "__init__.py" else origin
        (runtime / source.name).symlink_to(source)
    return str(task), str(runtime)


@contextmanager
def function(
    folders: tuple[str, str], api: RuntimeApi, valkey: EmbeddedValkey, log: Path
) -> Iterator[None]:
    """Run the function as a process, with the environment that Lambda and the stack set."""
    env = {
        "AWS_LAMBDA_RUNTIME_API": api.address,
        "AWS_LAMBDA_FUNCTION_NAME": "mirror",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/mirror",
        "AWS_LAMBDA_LOG_STREAM_NAME": "stream",
        "AWS_REGION": "us-east-1",
        "LAMBDA_TASK_ROOT": folders[0],
        "DYNAMIRROR_CONFIG": PACKAGED_CONFIG,
    }
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [*ISOLATED, SERVE, *folders],
            cwd=folders[0],
            env=env | valkey.settings().to_env(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            yield
            assert process.poll() is None, log.read_text()
        finally:
            process.kill()


def connections(cache: Cache) -> set[bytes]:
    """Return the ids of the server's clients."""
    (text,) = cache.broadcast(b"CLIENT", b"LIST")
    return {line.split(b" ", 1)[0] for line in text.splitlines()}


def packaged(task: Path) -> dict[str, Path]:
    """Return the paths of our modules in an unpacked zip, by dotted name."""
    return {
        ".".join(path.relative_to(task).with_suffix("").parts).removesuffix(".__init__"): path
        for path in task.glob("dynamirror/**/*.py")
    }


def imported(path: Path) -> set[str]:
    """Return the modules of ours that a module imports, even inside a function."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=aliases):
                names |= {alias.name for alias in aliases}
            case ast.ImportFrom(module=str(module), names=aliases):
                names |= {module, *(f"{module}.{alias.name}" for alias in aliases)}
    ours = {name for name in names if name.partition(".")[0] == "dynamirror"}
    return {name for name in ours if is_module(SOURCE.parent.joinpath(*name.split(".")))}


def is_module(path: Path) -> bool:
    """Return whether a path without suffix is a module or a package."""
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def test_all_but_boto3_comes_from_the_zip(folders: tuple[str, str]) -> None:
    done = subprocess.run(
        [*ISOLATED, PRINT_ORIGINS, *folders],
        cwd=folders[0],
        env={},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    origins = json.loads(done.stdout)
    task, runtime = folders
    assert not [path for path in origins.values() if path and "site-packages" in path]
    for name in (
        "dynamirror.functions.auditor",
        "dynamirror.functions.simulator",
        "libvalkey.libvalkey",
        "msgspec._core",
    ):
        assert Path(origins[name]).is_relative_to(task)
    assert Path(origins["boto3"]).is_relative_to(runtime)


@pytest.mark.parametrize("handler", HANDLERS)
def test_no_handler_loads_a_toml_parser_or_difflib(folders: tuple[str, str], handler: str) -> None:
    done = subprocess.run(
        [*ISOLATED, PRINT_STARTED, *folders, handler, PACKAGED_CONFIG],
        cwd=folders[0],
        env={},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    key, *modules = done.stdout.split()
    assert key == "user:{id}"
    assert {"ssl", "msgspec", handler} <= {*modules}
    assert {"tomllib", "difflib"}.isdisjoint(modules)


def test_every_module_in_the_zip_finds_its_imports_there(folders: tuple[str, str]) -> None:
    task = Path(folders[0])
    done = subprocess.run(
        [*ISOLATED, IMPORT_ALL, *folders, *sorted(packaged(task))],
        cwd=task,
        env={},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_import_of_the_handlers_is_in_the_zip(folders: tuple[str, str]) -> None:
    in_zip = packaged(Path(folders[0]))
    assert set(HANDLERS) <= in_zip.keys()
    # The package itself imports a reader on first use, which no handler does.
    missing = {
        name: absent
        for name, path in in_zip.items()
        if name != "dynamirror" and (absent := imported(path) - set(in_zip))
    }
    assert missing == {}


def test_packages_that_no_handler_imports_are_not_in_the_zip(folders: tuple[str, str]) -> None:
    root = Path(folders[0], "dynamirror")
    for name in NOT_PACKAGED:
        assert find_spec(f"dynamirror.{name}"), f"there is no such package: {name}"
        assert not (root / name).exists()


def test_each_packaged_name_is_a_module_of_ours() -> None:
    assert [name for name in asset._PACKAGED if not (SOURCE / name).exists()] == []
    assert len({*asset._PACKAGED}) == len(asset._PACKAGED)


def test_the_zip_alone_mirrors_under_lambda_s_runtime_client(
    folders: tuple[str, str], valkey: EmbeddedValkey, cache: Cache, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    before = connections(cache)
    with runtime_api() as api, function(folders, api, valkey, log):
        first = {"Records": [record(1, item(name="Ada")), record(2, item("2", name="Eve"))]}
        second = {"Records": [record(3, item(name="Grace"), item(name="Ada"))]}

        path, outcome = api.invoke("first", first)
        assert (path, outcome) == (
            "/2018-06-01/runtime/invocation/first/response",
            {"batchItemFailures": []},
        ), log.read_text()
        assert json.loads(cache.call("user:1", b"GET", "user:1"))["name"] == "Ada"
        assert json.loads(cache.call("user:2", b"GET", "user:2"))["name"] == "Eve"
        opened = connections(cache) - before
        assert opened

        path, outcome = api.invoke("second", second)
        assert (path, outcome) == (
            "/2018-06-01/runtime/invocation/second/response",
            {"batchItemFailures": []},
        ), log.read_text()
        assert json.loads(cache.call("user:1", b"GET", "user:1"))["name"] == "Grace"
        assert connections(cache) - before == opened, "the connections are kept"

        path, outcome = api.invoke("third", {"detail": "no batch"})
        assert path == "/2018-06-01/runtime/invocation/third/error"
        assert outcome["errorType"] == "RecordError"
