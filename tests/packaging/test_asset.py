"""The Lambda function's zip: what is in it, and that nothing else decides its bytes."""

import hashlib
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.pythons import OTHER

from dynamirror.cdk import asset as module
from dynamirror.cdk.asset import Asset, build_asset, main
from dynamirror.errors import ConfigError, DynamirrorError
from dynamirror.settings import load_views

ROOT = Path(__file__).parents[2]
LOCK = Path(module.__file__).with_name("requirements.txt")
BuildNative = Callable[[Path], Asset]
TAG = f"cpython-{OTHER.replace('.', '')}"
COMMAND = (sys.executable, "-m", "dynamirror.cdk.asset")
# An ELF file's machine is at byte 18; AMD64 is 62. https://refspecs.linuxfoundation.org/elf
AARCH64 = (183).to_bytes(2, "little")


def names(asset: Asset) -> list[str]:
    """Return the names of the files in a zip."""
    with zipfile.ZipFile(asset.path) as archive:
        return archive.namelist()


@pytest.fixture
def no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pip finds nothing."""
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)


def test_time_place_user_and_download_leave_no_trace(arm64: Asset, tmp_path: Path) -> None:
    again = tmp_path / "elsewhere" / "other.zip"
    env = os.environ | {"TZ": "Asia/Kathmandu", "XDG_CACHE_HOME": str(tmp_path / "kept")}
    subprocess.run(
        [*COMMAND, "--python", OTHER, "--output", str(again)],
        env=env | {"PYTHONHASHSEED": "7"},
        cwd=tmp_path,
        umask=0o077,
        timeout=300,
        check=True,
    )
    assert again.read_bytes() == arm64.path.read_bytes()


@pytest.mark.usefixtures("no_index")
def test_a_repeated_build_needs_no_network(arm64: Asset, tmp_path: Path) -> None:
    assert build_asset(tmp_path / "lambda.zip", python=OTHER).sha256 == arm64.sha256


def test_damaged_downloads_are_made_anew(
    arm64: Asset, kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (whole,) = kept.glob(f"dynamirror/lambda-arm64-{OTHER}-*.zip")
    damaged = tmp_path / "dynamirror" / whole.name
    damaged.parent.mkdir()
    data = bytearray(whole.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert build_asset(tmp_path / "lambda.zip", python=OTHER).sha256 == arm64.sha256
    assert damaged.read_bytes() == whole.read_bytes()


def test_the_asset_tells_the_truth_about_its_zip(arm64: Asset) -> None:
    data = arm64.path.read_bytes()
    with zipfile.ZipFile(arm64.path) as archive:
        files = archive.infolist()
    assert arm64.sha256 == hashlib.sha256(data).hexdigest()
    assert arm64.zipped == len(data)
    assert arm64.unpacked == sum(file.file_size for file in files)
    assert [file.filename for file in files] == sorted({file.filename for file in files})
    assert {(file.date_time, file.external_attr >> 16) for file in files} == {
        ((1980, 1, 1, 0, 0, 0), 0o100644)
    }


def test_a_zip_is_at_most_ten_megabytes(arm64: Asset, native: Asset) -> None:
    assert arm64.zipped <= 10_000_000
    assert native.zipped <= 10_000_000


@pytest.mark.parametrize(
    "name",
    [
        "dynamirror/handler.py",
        "dynamirror/functions/simulator.py",
        "dynamirror/log_lines.py",
        "dynamirror/cache/scripts/put.lua",
        "dynamirror/cache/amazon_roots.pem",
        "dynamirror/dynamodb/__init__.py",
        f"libvalkey/libvalkey.{TAG}-aarch64-linux-gnu.so",
        f"msgspec/_core.{TAG}-aarch64-linux-gnu.so",
    ],
)
def test_what_the_handlers_import_is_in_it(arm64: Asset, name: str) -> None:
    assert name in names(arm64)


@pytest.mark.parametrize(
    "pattern",
    [
        r"dynamirror/(cli|page|local|cdk|reader|__main__)\b",
        r"(boto3|botocore|s3transfer|async_timeout|aws_cdk|pip|aws_lambda_powertools|jmespath)\b",
        r"bin/",
        r".*\.dist-info/",
        r"(.*/)?(tests?|__pycache__)/",
        r".*\.(pyc|pyi|pth|typed)$",
        r"mirror\.(toml|json)$",
    ],
)
def test_what_they_do_not_import_stays_out(arm64: Asset, pattern: str) -> None:
    assert [name for name in names(arm64) if re.match(pattern, name)] == []


def test_modules_are_compiled_where_that_python_is_here(native: Asset, tmp_path: Path) -> None:
    assert native.compiled
    with zipfile.ZipFile(native.path) as archive:
        archive.extractall(tmp_path)
    tag = sys.implementation.cache_tag
    missing = [
        path
        for path in tmp_path.rglob("*.py")
        if not (path.parent / f"__pycache__/{path.stem}.{tag}.pyc").exists()
    ]
    assert missing == []
    # Never compared with the source, whatever the time of that file.
    done = subprocess.run(
        [
            *(sys.executable, "-I", "-S", "-v", "-c"),
            "import sys; sys.path.insert(0, sys.argv[1]); import dynamirror.handler as it;",
            str(tmp_path),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"{tmp_path}/dynamirror/__pycache__/handler.{tag}.pyc matches" in done.stderr


def test_without_that_python_the_source_must_do(tmp_path: Path) -> None:
    asset = build_asset(tmp_path / "lambda.zip", python=OTHER)
    assert not asset.compiled
    assert not [name for name in names(asset) if name.endswith(".pyc")]


def test_settings_and_modules_that_lie_about_leave_no_trace(
    native: Asset, build_native: BuildNative, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_its_own = tmp_path / "struct.py"
    of_its_own.write_text("raise SystemExit('this is not the struct you want')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONOPTIMIZE", "1")
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path / "elsewhere"))
    assert build_native(tmp_path / "build").sha256 == native.sha256
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    "text",
    ["#!/no/such/interpreter\n", "no program\n", f'#!/bin/sh\nexec {sys.executable} "$@"\n'],
    ids=["its interpreter is gone", "no program", "another version"],
)
def test_what_only_has_that_python_s_name_does_not_compile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    impostor = tmp_path / f"python{OTHER}"
    impostor.write_text(text, encoding="utf-8")
    impostor.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    asset = build_asset(tmp_path / "lambda.zip", python=OTHER)
    assert not asset.compiled


def test_machine_code_is_for_the_function_s_processor(arm64: Asset) -> None:
    with zipfile.ZipFile(arm64.path) as archive:
        binaries = {
            name: data
            for name in archive.namelist()
            if (data := archive.read(name)).startswith(b"\x7fELF") or ".so" in name
        }
    assert len(binaries) == 2
    for name, data in binaries.items():
        assert name.endswith("-aarch64-linux-gnu.so")
        assert data[18:20] == AARCH64


def test_the_lock_is_the_same_for_every_python_and_names_no_place() -> None:
    text = LOCK.read_text(encoding="utf-8")
    assert ";" not in text, "a marker is evaluated for the Python that builds"
    assert "//" not in text
    assert not re.search(r"^-", text, re.MULTILINE)


def test_the_lock_travels_in_the_wheel(tmp_path: Path) -> None:
    build = "import sys; from flit_core.buildapi import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=ROOT, timeout=60, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read("dynamirror/cdk/requirements.txt") == LOCK.read_bytes()


def test_the_views_are_packaged_as_toml_and_as_json(tmp_path: Path, arm64: Asset) -> None:
    config = tmp_path / "of-users.toml"
    config.write_bytes(b'[[view]]\nkey = "user:{id}"\n')
    built = build_asset(tmp_path / "lambda.zip", python=OTHER, config=config)
    with zipfile.ZipFile(built.path) as archive:
        assert archive.read("mirror.toml") == config.read_bytes()
        (tmp_path / "mirror.json").write_bytes(archive.read("mirror.json"))
    assert {*names(built)} - {*names(arm64)} == {"mirror.toml", "mirror.json"}
    assert load_views(str(tmp_path / "mirror.json")) == load_views(str(config))


def test_views_in_json_are_packaged_as_json_only(tmp_path: Path, arm64: Asset) -> None:
    config = tmp_path / "views.json"
    config.write_bytes(b'{"view":[{"key":"user:{id}"}]}')
    built = build_asset(tmp_path / "lambda.zip", python=OTHER, config=config)
    with zipfile.ZipFile(built.path) as archive:
        assert archive.read("mirror.json") == config.read_bytes()
    assert {*names(built)} - {*names(arm64)} == {"mirror.json"}


@pytest.mark.parametrize("text", ["[[view]]\nkye = 'a'\n", "[[view\n", ""])
def test_a_malformed_mirror_toml_is_refused_in_one_sentence(tmp_path: Path, text: str) -> None:
    config = tmp_path / "mirror.toml"
    config.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=re.escape(str(config))) as caught:
        build_asset(tmp_path / "lambda.zip", config=config)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "lambda.zip").exists()


@pytest.mark.parametrize("python", ["3", "3.10", "2.7", "3.13.1", "three"])
def test_a_python_that_lambda_or_we_do_not_know_is_refused(tmp_path: Path, python: str) -> None:
    with pytest.raises(ConfigError, match=r"python must be 3\.11 or newer"):
        build_asset(tmp_path / "lambda.zip", python=python)


@pytest.mark.usefixtures("no_index")
def test_what_pip_says_is_told_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "kept"))
    with pytest.raises(DynamirrorError, match="No matching distribution found for") as caught:
        build_asset(tmp_path / "lambda.zip", python=OTHER)
    assert "\n" not in str(caught.value)
    assert f"Python {OTHER} on arm64" in str(caught.value)
    assert [*tmp_path.iterdir()] == []


def test_a_zip_that_cannot_be_written_is_told_in_one_sentence(arm64: Asset) -> None:
    with pytest.raises(DynamirrorError, match=r"^[^\n]+: cannot be written: [^\n]+$"):
        build_asset(arm64.path / "lambda.zip")


def test_the_command_builds_what_the_function_does_and_prints_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "lambda.zip"
    main(["--output", str(output)])
    assert output.read_bytes() == build_asset(tmp_path / "other.zip").path.read_bytes()
    assert re.fullmatch(
        re.escape(str(output)) + r": \d\.\d MB, \d\.\d MB unpacked, (not )?compiled\n",
        capsys.readouterr().out,
    )


def test_the_command_ends_with_one_sentence_if_it_fails(tmp_path: Path) -> None:
    missing = tmp_path / "mirror.toml"
    with pytest.raises(SystemExit, match=f"^error: {re.escape(str(missing))}: cannot be read"):
        main(["--output", str(tmp_path / "lambda.zip"), "--config", str(missing)])
