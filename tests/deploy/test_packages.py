"""What SAM and Terraform deploy, the commands that docs show for it, and the package itself."""

import json
import os
import re
import shlex
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
from cfnlint import api as cfnlint
from cfnlint.config import ManualArgs
from cfnlint.decode import cfn_yaml
from tests.support.templates import STREAM_ARN  # prepares jsii
from tests.support.written_docs import ROOT, blocks

from dynamirror.cdk import package
from dynamirror.cdk.template_parameters import CODE_PARAMETERS, PARAMETERS
from dynamirror.errors import ConfigError

MODULE = ROOT / "deploy/terraform"
SAM = ROOT / "deploy/sam"
PAGES = ("cloudformation", "sam", "terraform")
ALL = {**PARAMETERS, **CODE_PARAMETERS}
REQUIRED = {name for name, parameter in ALL.items() if parameter.default is None}
OUTPUTS = {
    "CacheEndpoint",
    "CacheName",
    "CachePort",
    "CacheSecurityGroupId",
    "ReaderPolicyArn",
    "ReaderUser",
    "VpcId",
}
TERRAFORM = shutil.which("terraform")
with_terraform = pytest.mark.skipif(TERRAFORM is None, reason="there is no terraform")


def page(name: str) -> str:
    """Return the text of a page."""
    return (ROOT / f"docs/{name}.md").read_text(encoding="utf-8")


def words(name: str) -> list[list[str]]:
    """Return the commands of a page, each as its words."""
    text = "\n".join(block.text for block in blocks(page(name)) if block.language == "")
    return [shlex.split(line) for line in text.replace("\\\n", " ").splitlines()]


def overrides(command: list[str]) -> dict[str, str]:
    """Return the parameters that a command of `aws` or `sam` passes."""
    begin = command.index("--parameter-overrides") + 1
    return dict(word.split("=", 1) for word in command[begin:])


def matches(name: str, value: str) -> bool:
    """Return whether CloudFormation accepts a value of a parameter."""
    parameter = ALL[name]
    if parameter.allowed_values:
        return value in parameter.allowed_values
    short = parameter.max_length is None or len(value) <= parameter.max_length
    return short and bool(re.fullmatch(parameter.allowed_pattern or ".*", value))


def test_the_commands_of_the_page_give_values_that_the_template_accepts() -> None:
    commands = [it for it in words("cloudformation") if "--parameter-overrides" in it]
    one, *of_views, other = commands
    values = overrides(one)
    assert REQUIRED <= set(values) <= set(ALL)
    assert [name for name, value in values.items() if not matches(name, value)] == []
    assert [set(overrides(it)) for it in of_views] == [{"MirrorToml"}, {"MirrorTomlKey"}]
    assert set(overrides(other)) == {"S3Bucket"}
    for command in commands:
        assert command[:3] == ["aws", "cloudformation", "deploy"]
        assert {"--s3-bucket", "--capabilities", "CAPABILITY_IAM"} <= set(command)


def test_the_page_lists_all_parameters() -> None:
    table = page("cloudformation").partition("## Parameters")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert listed == set(ALL)


@pytest.mark.parametrize("name", PAGES)
def test_the_files_that_the_commands_name_are_there(name: str) -> None:
    for command in words(name):
        if command and command[0] == "cd":
            assert (ROOT / command[1]).is_dir()
        if command and command[0] == "make":
            assert command[1] == "package"


def sam_template() -> Any:
    """Return the template of the SAM application."""
    return cfn_yaml.load(str(SAM / "template.yaml"))


def test_the_sam_application_is_clean_and_fits_the_template_of_the_mirror() -> None:
    text = (SAM / "template.yaml").read_text(encoding="utf-8")
    found = cfnlint.lint(text, config=ManualArgs(regions=["eu-west-1"]))
    assert "\n".join(map(str, found)) == ""
    template = sam_template()
    mirror = template["Resources"]["Mirror"]["Properties"]
    assert (SAM / mirror["TemplateURL"]).resolve() == ROOT / "dist/dynamirror.template.json"
    assert REQUIRED <= set(mirror["Parameters"]) <= set(ALL)
    assert set(re.findall(r"Mirror\.Outputs\.(\w+)", text)) <= OUTPUTS
    (deploy,) = [it for it in words("sam") if it[:2] == ["sam", "deploy"]]
    assert set(overrides(deploy)) == set(template["Parameters"])
    reader = template["Resources"]["Reader"]["Properties"]
    module, function = reader["Handler"].split(".")
    source = (SAM / reader["CodeUri"] / f"{module}.py").read_text(encoding="utf-8")
    assert f"def {function}(event" in source


def terraform_text(name: str) -> str:
    """Return a file of the module."""
    return (MODULE / name).read_text(encoding="utf-8")


def test_the_terraform_module_gives_the_template_all_of_its_parameters() -> None:
    main = terraform_text("main.tf")
    given = set(re.findall(r"^\s+([A-Z]\w+)\s+= ", main, re.MULTILINE))
    # Each of a list of groups gets a rule of its own instead.
    assert given == set(ALL) - {"ApplicationSecurityGroupId"}
    outputs = set(re.findall(r'outputs\["(\w+)"\]', main + terraform_text("outputs.tf")))
    assert outputs <= OUTPUTS


def test_each_variable_of_the_module_has_type_and_description_and_is_on_the_page() -> None:
    variables = re.split(r'^variable "', terraform_text("variables.tf"), flags=re.MULTILINE)[1:]
    names = [text.partition('"')[0] for text in variables]
    for text in variables:
        assert re.search(r"^  description = ", text, re.MULTILINE)
        assert re.search(r"^  type +?= ", text, re.MULTILINE)
    uses = terraform_text("main.tf")
    table = page("terraform").partition("## Variables")[2].partition("\n## ")[0]
    for name in names:
        assert f"var.{name}" in uses
        assert f"`{name}`" in table
    declared = re.findall(r'^output "(\w+)"', terraform_text("outputs.tf"), re.MULTILINE)
    listed = page("terraform").partition("## Outputs")[2]
    assert [name for name in declared if f"`{name}`" not in listed] == []


def test_the_example_passes_groups_and_roles_between_module_and_application() -> None:
    example = terraform_text("example/main.tf")
    assert "application_security_group_ids = [aws_security_group.application.id]" in example
    assert "policy_arn = module.mirror.reader_policy_arn" in example
    declared = re.findall(r'^output "(\w+)"', terraform_text("outputs.tf"), re.MULTILINE)
    used = re.findall(r"module\.mirror\.(\w+)", example + page("terraform"))
    assert set(used) <= set(declared)


def terraform(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run terraform, which must reach no network."""
    assert TERRAFORM
    return subprocess.run(
        [TERRAFORM, *arguments],
        cwd=folder,
        env={**os.environ, "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@with_terraform
def test_terraform_finds_its_files_well_formed() -> None:
    done = terraform(MODULE, "fmt", "-check", "-recursive", "-diff")
    assert (done.returncode, done.stdout) == (0, "")


def test_terraform_keeps_the_zip_of_the_version_before_until_the_stack_is_updated() -> None:
    """Otherwise CloudFormation could not roll back: a new key is another object."""
    objects = re.split(r'^resource "', terraform_text("main.tf"), flags=re.MULTILINE)[1:]
    for text in objects:
        assert ("create_before_destroy = true" in text) is text.startswith("aws_s3_object")


@with_terraform
def test_terraform_refuses_wrong_variables_and_finds_the_zip(tmp_path: Path) -> None:
    """Without a provider, since none can be had here: the variables and the locals only."""
    shutil.copy(MODULE / "variables.tf", tmp_path)
    locals_ = re.search(
        r"^locals \{\n.*?^\}\n", terraform_text("main.tf"), re.MULTILINE | re.DOTALL
    )
    assert locals_
    output = 'output "zip" {\n  value = local.zip\n}\n'
    (tmp_path / "main.tf").write_text(locals_[0] + output, encoding="utf-8")
    zips = {it: f"dynamirror-0.2.0-{it}-0123456789ab.zip" for it in ("arm64", "x86_64")}
    # As after another build into the same folder.
    for name in (*zips.values(), "dynamirror-0.1.0-x86_64-ba9876543210.zip"):
        (tmp_path / name).touch()
    template = tmp_path / "dynamirror.template.json"
    template.write_text(json.dumps({"Metadata": {"Zips": zips}}), encoding="utf-8")
    values: dict[str, Any] = {
        "name": "orders",
        "package": str(tmp_path),
        "bucket": "code",
        "stream_arn": STREAM_ARN,
        "key_names": ["customer", "order"],
        "architecture": "x86_64",
        "vpc": {"id": "vpc-1", "subnet_ids": ["subnet-1", "subnet-2"]},
    }
    assert terraform(tmp_path, "init").returncode == 0

    def plan(**changes: Any) -> str:
        path = tmp_path / "terraform.tfvars.json"
        path.write_text(json.dumps(values | changes), encoding="utf-8")
        done = terraform(tmp_path, "plan", "-no-color")
        return re.sub(r"[\s│]+", " ", done.stdout + done.stderr)

    assert 'zip = "dynamirror-0.2.0-x86_64-0123456789ab.zip"' in plan()
    cache = {"name": "c", "host": "h", "user": "u", "security_group_id": "sg-1"}
    refused = plan(
        name="Orders",
        bucket="s3://code",
        key_names=["a,b", "c", "d"],
        architecture="arm",
        stream_arn="arn",
        table_key_arn="arn",
        alarm_topic_arn="arn",
        vpc={"id": "vpc-1", "subnet_ids": ["subnet-1"]},
        existing_cache=cache | {"kind": "nodes", "port": 6380, "reader_user": "u"},
    )
    for name in (
        *("name", "bucket", "key_names", "architecture", "stream_arn", "table_key_arn"),
        *("alarm_topic_arn", "vpc.subnet_ids", "existing_cache.kind", "existing_cache.reader_user"),
    ):
        assert f"{name} must " in refused
    assert refused.count("key_names must hold") == 2
    serverless = plan(existing_cache=cache | {"port": 6380, "reader_user": "r"})
    assert "existing_cache.port must be 6379 for a serverless cache" in serverless
    template.unlink()
    assert "package must be the folder that `make package` wrote" in plan()


def test_names_of_zips_are_digests_and_a_second_build_makes_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mirror.toml"
    file.write_text(
        '[[table]]\nname = "orders"\nkeys = { id = "S" }\ncreate = true\n'
        "[alarms]\ndashboard = false\n"
    )
    built = [package.build_package(tmp_path / name, config=file) for name in "ab"]
    for one, other in zip(*(sorted((tmp_path / name).iterdir()) for name in "ab"), strict=True):
        assert one.name == other.name
        assert one.read_bytes() == other.read_bytes()
    template = json.loads(built[0].template.read_text(encoding="utf-8"))
    assert built[0].template.name == "Dynamirror-orders.template.json"
    for architecture, asset in built[0].zips.items():
        assert asset.path.name.endswith(f"-{architecture}-{asset.sha256[:12]}.zip")
        assert asset.path.name in json.dumps(template)
        assert template["Metadata"]["Zips"][architecture] == asset.path.name
        with zipfile.ZipFile(asset.path) as archive:
            assert {"mirror.json", "dynamirror/handler.py"} <= set(archive.namelist())
    monkeypatch.setattr(package, "MAX_TEMPLATE_BYTES", 1_000)
    with pytest.raises(ConfigError, match="divide the tables among mirrors"):
        package.build_package(tmp_path / "a", config=file)
