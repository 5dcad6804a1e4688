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

import pytest
from tests.support.deadlines import wait_until
from tests.support.dockerfile import Image, build, parse, why_not
from tests.support.streams import Source

from dynamirror.cache.client import Cache
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB
from dynamirror.emulators.process import free_port
from dynamirror.emulators.valkey import EmbeddedValkey

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy/docker/Dockerfile"
STEPS = parse(DOCKERFILE.read_text(encoding="utf-8"))
HADOLINT = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
# 143 is SIGTERM's, after everything has been put in order.
ENDED = {0, 128 + signal.SIGTERM}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Build the image."""
    if reason := why_not():
        pytest.skip(reason)
    return build(DOCKERFILE, ROOT, tmp_path_factory.mktemp("image"))


@pytest.fixture
def env(dynamodb: EmbeddedDynamoDB, valkey: EmbeddedValkey, cache: Cache) -> dict[str, str]:
    """Name a table and an empty cache, as `docker run --env` does."""
    assert cache
    return {"AWS_ENDPOINT_URL": dynamodb.endpoint_url, **valkey.settings().to_env()}


def at_other_ports(words: list[str], ports: Mapping[int, int]) -> list[str]:
    """Return words with other ports, as `docker run --publish` maps them."""
    text = json.dumps(words)
    for port, other in ports.items():
        text = re.sub(rf"\b{port}\b", str(other), text)
    other_words: list[str] = json.loads(text)
    return other_words


def test_a_container_that_can_write_nothing_mirrors_until_sigterm(
    image: Image, env: dict[str, str], dynamodb: EmbeddedDynamoDB, cache: Cache
) -> None:
    source = Source(dynamodb)
    source.put("1", name={"S": "Ada"})
    ports = {port: free_port() for port in image.ports}
    health = at_other_ports(image.health, ports)
    process = image.start(
        [*image.entrypoint, *at_other_ports(image.command, ports)],
        {**env, "DYNAMODB_TABLE": source.name},
    )
    try:
        key = f"{source.name}:1"
        wait_until(lambda: cache.call(key, b"GET", key) is not None or process.poll() is not None)
        assert process.poll() is None, process.communicate()[0]
        source.put("1", name={"S": "Grace"})
        wait_until(lambda: json.loads(cache.call(key, b"GET", key))["name"] == "Grace")
        healthy = image.start(health, {})
        assert (healthy.communicate()[0], healthy.returncode) == ("", 0)
        process.send_signal(signal.Signals[image.stop_signal])
        output, _errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode in ENDED, output
    assert "Traceback" not in output
    unhealthy = image.start(health, {})
    assert "refused" in unhealthy.communicate()[0]
    assert unhealthy.returncode == 1


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
