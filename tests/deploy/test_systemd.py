"""The unit for systemd: its syntax, how closed in it is, and the protocol that it counts on."""

import configparser
import os
import shlex
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from uuid import uuid4

import pytest
from tests.support.processes import environment, linux_only, start
from tests.support.streams import Source
from tests.support.system_calls import limited
from tests.support.written_docs import check_command

from dynamirror.cache.client import Cache
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB
from dynamirror.emulators.process import free_port
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.settings import Settings

FOLDER = Path(__file__).parents[2] / "deploy/systemd"
UNIT = FOLDER / "dynamirror.service"
ANALYZE = shutil.which("systemd-analyze")
# Units that ours names, or that every service needs.
OTHERS = (
    *("sysinit.target", "basic.target", "shutdown.target", "multi-user.target"),
    *("network-online.target", "system.slice", "-.slice", "-.mount", "tmp.mount"),
)
# Of 10, where 10 is no hardening at all.
MOST_EXPOSURE = 2.0
WATCHDOG_SECONDS = 2


def section(name: str, path: Path = UNIT) -> dict[str, str]:
    """Return the settings of a section, each at its last value."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(path.read_text(encoding="utf-8"))
    return dict(parser[name])


def all_values() -> dict[str, list[str]]:
    """Return all values of each setting of the service."""
    lines = UNIT.read_text(encoding="utf-8").partition("[Service]")[2].splitlines()
    values: dict[str, list[str]] = {}
    for name, equals, value in (line.partition("=") for line in lines):
        if equals and not name.startswith("#"):
            values.setdefault(name, []).append(value)
    return values


def settings_of_the_example() -> dict[str, str]:
    """Return the variables of the file that the unit reads."""
    lines = (FOLDER / "dynamirror.env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@pytest.mark.skipif(ANALYZE is None, reason="needs systemd-analyze")
def test_systemd_accepts_the_unit_with_its_drop_in(tmp_path: Path) -> None:
    assert ANALYZE is not None
    units = tmp_path / "etc/systemd/system"
    shutil.copytree(FOLDER, units)
    for name in OTHERS:
        where = "[Mount]\nWhat=none\nWhere=/tmp\n" if name == "tmp.mount" else ""
        (units / name).write_text(f"[Unit]\nDescription={name}\n{where}", encoding="utf-8")
    command = tmp_path / shlex.split(section("Service")["ExecStart"])[0].lstrip("/")
    command.parent.mkdir(parents=True)
    command.touch(mode=0o755)
    done = subprocess.run(
        [ANALYZE, "verify", f"--root={tmp_path}", "--man=no", UNIT.name],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stderr, done.returncode) == ("", 0)


@pytest.mark.skipif(ANALYZE is None, reason="needs systemd-analyze")
def test_the_unit_is_closed_in() -> None:
    assert ANALYZE is not None
    done = subprocess.run(
        [
            *(ANALYZE, "security", "--offline=true", "--no-pager"),
            *(f"--threshold={MOST_EXPOSURE * 10:.0f}", str(UNIT)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if "offline" in done.stderr:
        pytest.skip("this systemd-analyze cannot look at files")
    assert done.returncode == 0, done.stdout


def test_the_service_writes_nothing_and_has_no_lasting_user() -> None:
    service = section("Service")
    assert service["DynamicUser"] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == ""
    assert not {"ReadWritePaths", "StateDirectory", "User"} & service.keys()


def test_the_service_has_threads_for_the_shards_of_many_tables() -> None:
    tables, shards_of_a_table, others_of_a_table = 50, 20, 10
    assert int(section("Service")["TasksMax"]) > tables * (shards_of_a_table + others_of_a_table)


def test_the_password_comes_as_a_credential() -> None:
    drop_in = section("Service", FOLDER / "dynamirror.service.d/password.conf")
    name, _, path = drop_in["LoadCredential"].partition(":")
    assert drop_in["Environment"] == f"ELASTICACHE_PASSWORD_FILE=%d/{name}"
    assert path.startswith("/etc/dynamirror/")


def test_the_example_s_settings_and_command_are_valid() -> None:
    env = settings_of_the_example()
    assert Settings.from_env(env).iam_cache == env["ELASTICACHE_NAME"]
    program, *words = shlex.split(section("Service")["ExecStart"])
    assert Path(program).is_absolute()
    assert check_command(["dynamirror", *words]) == []


@linux_only
def test_run_with_few_system_calls_reports_to_systemd_that_it_is_ready_works_and_stops(
    dynamodb: EmbeddedDynamoDB, valkey: EmbeddedValkey, cache: Cache, tmp_path: Path
) -> None:
    assert cache
    address = f"dynamirror-{uuid4()}"
    service = section("Service")
    assert service["Type"] == "notify"
    _program, *words = shlex.split(service["ExecStart"])
    words = [word.rpartition(":")[0] + f":{free_port()}" if ":" in word else word for word in words]
    env = environment(
        tmp_path,
        AWS_ENDPOINT_URL=dynamodb.endpoint_url,
        DYNAMODB_TABLE=Source(dynamodb).name,
        NOTIFY_SOCKET=f"@{address}",
        WATCHDOG_USEC=str(WATCHDOG_SECONDS * 1_000_000),
        **valkey.settings().to_env(),
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(f"\0{address}")
        systemd.settimeout(60)
        process = start(*words, env=env, before=limited(all_values()))
        try:
            assert [systemd.recv(1000) for _ in range(2)] == [b"READY=1", b"WATCHDOG=1"]
            os.kill(process.pid, signal.Signals[service["KillSignal"]])
            while (report := systemd.recv(1000)) == b"WATCHDOG=1":
                pass
            assert report == b"STOPPING=1"
            output, errors = process.communicate(timeout=60)
        finally:
            process.kill()
            process.communicate()
    assert process.returncode == 0, output + errors
