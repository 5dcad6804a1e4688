"""The container image: built by the Dockerfile's own steps, and run as its user would run it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.deadlines import wait_until
from tests.support.dockerfile import Image, build, parse, signal_first, why_not
from tests.support.scans import keys_in

from dynamirror.cache.client import Cache
from dynamirror.emulators import ministack
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB
from dynamirror.emulators.process import free_port
from dynamirror.emulators.valkey import EmbeddedValkey

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy/docker/Dockerfile"
COMPOSE = DOCKERFILE.with_name("compose.yaml")
STEPS = parse(DOCKERFILE.read_text(encoding="utf-8"))
HADOLINT = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
DOCKER = shutil.which("docker")


def has_compose() -> bool:
    """Return whether this machine's Docker has the plugin."""
    words = [DOCKER or "false", "compose", "version"]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Build the image."""
    if reason := why_not():
        pytest.skip(reason)
    context = tmp_path_factory.mktemp("context")
    for rule in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        if rule.startswith("!"):
            source, target = ROOT / rule[1:], context / rule[1:]
            target.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    shutil.copy(ROOT / ".dockerignore", context)
    # As git leaves them where umask is 077.
    for path in context.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    return build(DOCKERFILE, context, tmp_path_factory.mktemp("image"))


def at_other_ports(words: list[str], ports: Mapping[int, int]) -> list[str]:
    """Return words with other ports, as `docker run --publish` maps them."""
    text = json.dumps(words)
    for port, other in ports.items():
        text = re.sub(rf"\b{port}\b", str(other), text)
    other_words: list[str] = json.loads(text)
    return other_words


@pytest.fixture
def services(dynamodb: EmbeddedDynamoDB, valkey: EmbeddedValkey, cache: Cache) -> Any:
    """Return the services of the compose file, whose servers are this machine's."""
    assert cache
    text = COMPOSE.read_text(encoding="utf-8")
    text = text.replace("http://dynamodb:4566", dynamodb.endpoint_url)
    services = msgspec.yaml.decode(text)["services"]
    for service in services.values():
        service.setdefault("environment", {}).update(
            valkey.settings().to_env(), DYNAMODB_TABLE=f"compose-{valkey.port}"
        )
    return services


def end_of(process: subprocess.Popen[str]) -> tuple[str, int]:
    """Return the output and the exit status of a container, which is killed if it hangs."""
    try:
        output, _errors = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        signal_first(process, signal.SIGKILL)
        output, _errors = process.communicate()
    return output, process.returncode


def test_containers_that_can_write_nothing_mirror_until_sigterm(
    image: Image, services: Any, cache: Cache
) -> None:
    env = services["mirror"]["environment"]
    table = image.start([*services["table"]["entrypoint"], *services["table"]["command"]], env)
    assert end_of(table) == ("", 0)
    ports = {port: free_port() for port in image.ports}
    health = at_other_ports(image.health, ports)
    traces = {"OTEL_TRACES_EXPORTER": "console"}
    process = image.start([*image.entrypoint, *at_other_ports(image.command, ports)], env | traces)
    try:
        writer = image.start(
            [*image.entrypoint, *services["writer"]["command"], "--count", "30", "--seed", "1"], env
        )
        assert "30 written" in end_of(writer)[0]
        keys = f"{env['DYNAMODB_TABLE']}:*"
        wait_until(lambda: list(keys_in(cache, keys)) or process.poll() is not None)
        assert process.poll() is None, end_of(process)
        output, status = end_of(image.start([*image.entrypoint, "verify", "--settle", "5"], env))
        assert status == 0, output
        assert end_of(image.start(health, {})) == ("", 0)
        signal_first(process, signal.Signals[image.stop_signal])
        output, status = end_of(process)
    finally:
        signal_first(process, signal.SIGKILL)
    assert status == 0, output
    assert "Traceback" not in output
    assert '"name": "dynamirror.batch"' in output
    output, status = end_of(image.start(health, {}))
    assert "refused" in output
    assert status == 1


def test_the_image_has_the_locked_packages_and_ours_and_no_installer(image: Image) -> None:
    lock = (ROOT / "requirements/run.txt").read_text(encoding="utf-8")
    wanted = re.findall(r"^([a-z0-9-]+)==([^ ;]+)(?: ; (sys_platform))?", lock, re.MULTILINE)
    (site,) = image.root.glob("opt/dynamirror/lib/python3*/site-packages")
    found = {
        re.sub(r"[-_.]+", "-", name).lower(): version
        for name, _, version in (
            path.name.removesuffix(".dist-info").partition("-") for path in site.glob("*.dist-info")
        )
    }
    found.pop("dynamirror")
    assert found == {
        name: version for name, version, other in wanted if not other and name != "flit-core"
    }


def test_the_user_of_the_image_is_a_number_and_owns_nothing(image: Image) -> None:
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", image.user)
    for path in (image.root / "opt").rglob("*"):
        status = path.lstat()
        assert status.st_uid == 0, path
        assert status.st_mode & 0o004, f"{path}: the user cannot read it"
        assert path.is_symlink() or not status.st_mode & 0o022, path


@pytest.mark.skipif(HADOLINT is None, reason="needs hadolint")
def test_hadolint_finds_nothing() -> None:
    assert HADOLINT is not None
    done = subprocess.run(
        [HADOLINT, "--no-color", str(DOCKERFILE)], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("", 0), done.stderr


def test_one_argument_names_the_base_of_every_stage() -> None:
    bases = [step.text.split()[0] for step in STEPS if step.name == "FROM"]
    assert bases == ["${BASE}"] * 2
    arguments = [step.text for step in STEPS if step.name == "ARG"]
    assert re.fullmatch(r"BASE=python:3\.\d+-slim-\w+", arguments[0])


def test_every_package_is_installed_with_its_hash_or_is_ours() -> None:
    installs = [
        command
        for step in STEPS
        if step.name == "RUN"
        for command in step.text.split("&&")
        if "pip install" in command
    ]
    assert len(installs) == 2
    assert "--require-hashes" in installs[0]
    assert "--no-deps --no-build-isolation ." in installs[1]
    assert not [step for step in STEPS if step.name == "ADD"]


def test_the_final_stage_runs_nothing_and_ends_as_an_orchestrator_expects() -> None:
    last = max(number for number, step in enumerate(STEPS) if step.name == "FROM")
    final = {step.name: step for step in STEPS[last:]}
    assert "RUN" not in final
    assert final["STOPSIGNAL"].text == "SIGTERM"
    # In JSON, since a shell would take the signal.
    assert final["ENTRYPOINT"].words == ["dynamirror"]
    assert final["CMD"].words[0] == "run"


def test_every_service_of_the_compose_file_is_closed_in_and_seen_by_this_machine_only() -> None:
    services = msgspec.yaml.decode(COMPOSE.read_text(encoding="utf-8"))["services"]
    assert set(services) == {"valkey", "dynamodb", "table", "mirror", "writer"}
    for name, service in services.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
        for needed, how in service.get("depends_on", {}).items():
            is_checked = "healthcheck" in services[needed] or needed == "mirror"
            assert is_checked or how["condition"] == "service_completed_successfully", needed
        if "build" in service:
            context = COMPOSE.parent / service["build"]["context"]
            assert context / service["build"]["dockerfile"] == COMPOSE.parent / "../.." / (
                DOCKERFILE.relative_to(ROOT)
            )
            lock = service["build"].get("args", {}).get("LOCK", "run")
            assert (ROOT / f"requirements/{lock}.txt").is_file()
        # A file of this machine may be one that the user of the container cannot read.
        assert "volumes" not in service


def test_every_image_of_ours_is_built_once_and_fetched_from_nowhere() -> None:
    services = msgspec.yaml.decode(COMPOSE.read_text(encoding="utf-8"))["services"].values()
    ours = [service for service in services if service["image"].startswith("dynamirror")]
    built = [service["image"] for service in ours if "build" in service]
    assert sorted(built) == sorted({service["image"] for service in ours})
    assert all("build" in each or each["pull_policy"] == "never" for each in ours)


def test_the_emulator_s_container_is_started_and_checked_as_ours_is(
    dynamodb: EmbeddedDynamoDB,
) -> None:
    service = msgspec.yaml.decode(COMPOSE.read_text(encoding="utf-8"))["services"]["dynamodb"]
    variables = {*service["environment"]} - {"no_proxy"}
    assert variables == {"BIND_HOST", "GATEWAY_PORT", "SERVICES"}
    source = Path(ministack.__file__).read_text(encoding="utf-8")
    assert [name for name in variables if f'"{name}"' not in source] == []
    port = service["environment"]["GATEWAY_PORT"]
    _, _, *words = service["healthcheck"]["test"]
    words[-1] = words[-1].replace(f"http://127.0.0.1:{port}", dynamodb.endpoint_url)
    subprocess.run([sys.executable, *words], check=True, timeout=30)


@pytest.mark.skipif(not has_compose(), reason="needs docker compose")
def test_docker_compose_accepts_the_file() -> None:
    assert DOCKER is not None
    done = subprocess.run(
        [DOCKER, "compose", "--file", str(COMPOSE), "config", "--quiet"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
