"""`dynamirror preflight`, and the preflight of synth."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
from tests.support.emulated_account import EmulatedAccount
from typer.testing import CliRunner

from dynamirror.cli.commands import app
from dynamirror.errors import ConfigError, OptionError

ROOT = Path(__file__).parents[2]


def preflight(*words: str) -> tuple[int, str]:
    """Run the command in this process; return its exit status and its output."""
    result = CliRunner().invoke(app, ["preflight", *words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


@pytest.fixture
def options(account: EmulatedAccount) -> list[str]:
    """The mirror of a table, described by context."""
    table = account.table({"pk": "S", "sk": "S"})
    stream = account.stream(table)
    arn = stream.partition("/stream/")[0]
    words = [f"tableArn={arn}", f"streamArn={stream}", "name=shop"]
    return [*(part for word in words for part in ("-c", word)), "--endpoint-url", account.url]


def test_declared_keys_pass_and_wrong_ones_are_refused(options: list[str]) -> None:
    status, output = preflight(*options, "-c", "keys=pk,sk")
    assert (status, output.splitlines()[-1][:40]) == (0, "mirror shop, stack Dynamirror-shop: 10 o")
    status, output = preflight(*options, "-c", "keys=wrong,names")
    assert status == 1
    (wrong,) = [line for line in output.splitlines() if line.startswith("wrong")]
    assert "keys: they are pk (S), sk (S), not wrong, names; set keys = " in wrong


def test_json_has_every_check(options: list[str]) -> None:
    status, output = preflight(*options, "-c", "keys=sk,pk", "--json")
    report = json.loads(output)
    assert (status, report["ok"], report["stack"]) == (1, False, "Dynamirror-shop")
    assert {"result", "where", "what", "sentence", "remedy"} == set(report["checks"][0])
    assert [check["what"] for check in report["checks"] if check["result"] == "wrong"] == ["keys"]


@pytest.mark.parametrize("file", sorted((ROOT / "examples/deployments").glob("*.toml")), ids=str)
def test_the_example_deployments_pass_offline(file: Path) -> None:
    status, output = preflight("--config", str(file), "--offline")
    assert status == 0, output


def test_views_are_checked_offline(tmp_path: Path) -> None:
    (file := tmp_path / "mirror.toml").write_text('[[view]]\nkey = "user:{pk}"\n')
    status, output = preflight("--config", str(file), "-c", "offline=true")
    assert status == 1
    assert "leaves out id of the primary key" in output


def test_views_of_several_tables_are_checked_together_offline(tmp_path: Path) -> None:
    tables = "".join(
        f'[[table]]\nname = "{name}"\nkeys = {{ id = "S" }}\ncreate = true\n'
        for name in ("orders", "users")
    )
    (file := tmp_path / "mirror.toml").write_text(
        f'[mirror]\nname = "shop"\n{tables}[[view]]\nkey = "x:{{id}}"\n'
    )
    status, output = preflight("--config", str(file), "--offline")
    assert status == 1
    assert "wrong   mirror: entries: views default (table orders) and default" in output


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["-c", "batchSize"],
            "-c: batchSize: must be NAME=VALUE, as in -c batchSize=2000; --config names the file",
        ),
        (["-c", "name=a", "-c", "name=b"], "-c: name: is given twice; give it once"),
        (["--config", "a", "-c", "config=b"], "--config: excludes -c config=; give one"),
    ],
)
def test_a_wrong_option_is_refused(words: list[str], sentence: str) -> None:
    with pytest.raises(OptionError) as refused:
        preflight(*words)
    assert str(refused.value) == sentence


def test_offline_is_true_or_false() -> None:
    with pytest.raises(ConfigError, match=r"^context: offline: must be true or false, not 'maybe'"):
        preflight("-c", "offline=maybe")


def test_an_unknown_name_of_context_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"bathSize: there is no such option; did you mean"):
        preflight("-c", "bathSize=5")


@pytest.fixture(scope="module")
def cdk_app() -> ModuleType:
    """The module of the CDK app."""
    spec = importlib.util.spec_from_file_location("cdk_app", ROOT / "app.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_synth_without_credentials_leaves_the_preflight_out(
    cdk_app: ModuleType,
    account: EmulatedAccount,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The command line of CDK sets the variable if it has credentials; no address is tried."""
    deployment = account.deployment(account.table({"id": "S"}), "wrong")
    monkeypatch.delenv("CDK_DEFAULT_ACCOUNT", raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://192.0.2.1")
    cdk_app._preflight(deployment, {"Resources": {}})
    assert capsys.readouterr().err == (
        "preflight: left out, because there are no AWS credentials\n"
    )


def test_synth_with_credentials_refuses_what_is_wrong(
    cdk_app: ModuleType, account: EmulatedAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = account.table({"id": "S"})
    monkeypatch.setenv("CDK_DEFAULT_ACCOUNT", "000000000000")
    monkeypatch.setenv("AWS_ENDPOINT_URL", account.url)
    cdk_app._preflight(account.deployment(table, "id"), {"Resources": {}})
    with pytest.raises(ConfigError, match=r"keys: they are id \(S\), not wrong; set keys"):
        cdk_app._preflight(account.deployment(table, "wrong"), {"Resources": {}})
