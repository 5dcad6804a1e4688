"""The Kubernetes manifests: valid, complete, restricted, and true of the image."""

import inspect
import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import kubernetes_validate
import msgspec
import pytest
from tests.support import manifests
from tests.support.dockerfile import parse
from tests.support.manifests import FOLDER, resource, resources, settings
from tests.support.written_docs import check_command

from dynamirror import __version__
from dynamirror.cli.run import run
from dynamirror.runner.health_endpoint import LIVE_PATH, READY_PATH
from dynamirror.settings import Settings, load_views

ROOT = Path(__file__).parents[2]
VERSIONS = ("1.30", "1.33", kubernetes_validate.latest_version())
KUBECTL = shutil.which("kubectl")
NAME = {"app.kubernetes.io/name": "dynamirror"}


def pod() -> Any:
    """Return the specification of the pods."""
    return resource("Deployment")["spec"]["template"]["spec"]


def container() -> Any:
    """Return the only container."""
    (found,) = pod()["containers"]
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_knows_every_field(version: str) -> None:
    for each in resources():
        kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.skipif(KUBECTL is None, reason="needs kubectl")
def test_kustomize_puts_all_of_it_together() -> None:
    assert KUBECTL is not None
    done = subprocess.run(
        [KUBECTL, "kustomize", str(FOLDER)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\nkind: ") == len(resources()) + 2
    assert "name: dynamirror-settings\n" not in done.stdout, "the hash of the settings is missing"


def test_each_file_is_in_the_kustomization_or_said_to_be_optional() -> None:
    named = {*manifests.kustomization()["resources"], "kustomization.yaml", "servicemonitor.yaml"}
    assert {path.name for path in FOLDER.glob("*.yaml")} == named
    assert {path.name for path in FOLDER.iterdir()} - named == {"settings.env", "mirror.toml"}


def test_the_image_has_the_tag_of_this_version() -> None:
    (image,) = manifests.kustomization()["images"]
    assert image["name"] == container()["image"]
    assert image["newTag"] == __version__


def test_the_pods_meet_the_restricted_standard_and_write_nothing() -> None:
    namespace = resource("Namespace")["metadata"]["labels"]
    assert namespace["pod-security.kubernetes.io/enforce"] == "restricted"
    assert pod()["securityContext"]["runAsNonRoot"]
    assert pod()["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    security = container()["securityContext"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["readOnlyRootFilesystem"]
    assert all(mount["readOnly"] for mount in container()["volumeMounts"])
    assert pod()["automountServiceAccountToken"] is False


def test_user_command_and_ports_are_those_of_the_image() -> None:
    steps = {
        step.name: step
        for step in parse((ROOT / "deploy/docker/Dockerfile").read_text(encoding="utf-8"))
    }
    security = pod()["securityContext"]
    assert f"{security['runAsUser']}:{security['runAsGroup']}" == steps["USER"].text
    assert [word for word in container()["args"] if word != "--ha"] == steps["CMD"].words
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    assert " ".join(map(str, ports.values())) == steps["EXPOSE"].text
    assert check_command(["dynamirror", *container()["args"]]) == []
    options = dict(pairwise(container()["args"]))
    assert options["--health"].endswith(f":{ports['health']}")
    assert options["--metrics"].endswith(f":{ports['metrics']}")


def test_a_pod_is_restarted_by_its_liveness_and_counted_by_its_readiness() -> None:
    paths = {
        probe: container()[probe]["httpGet"] for probe in container() if probe.endswith("Probe")
    }
    assert paths == {
        "startupProbe": {"path": LIVE_PATH, "port": "health"},
        "livenessProbe": {"path": LIVE_PATH, "port": "health"},
        "readinessProbe": {"path": READY_PATH, "port": "health"},
    }


def test_one_of_two_pods_stays_while_nodes_are_drained() -> None:
    assert resource("Deployment")["spec"]["replicas"] == 2
    assert resource("PodDisruptionBudget")["spec"]["minAvailable"] == 1
    assert "--ha" in container()["args"]


def test_a_pod_has_time_to_drain() -> None:
    drain = inspect.signature(run).parameters["drain"].default
    assert pod()["terminationGracePeriodSeconds"] > drain


@pytest.mark.parametrize("kind", ["Deployment", "PodDisruptionBudget", "NetworkPolicy", "Service"])
def test_every_selector_selects_the_pods(kind: str) -> None:
    spec = resource(kind)["spec"]
    selector = spec.get("podSelector") or spec["selector"]
    assert selector.get("matchLabels", selector) == NAME
    assert resource("Deployment")["spec"]["template"]["metadata"]["labels"] == NAME


def test_the_monitor_is_a_resource_without_the_mark_before_it() -> None:
    text = (FOLDER / "kustomization.yaml").read_text(encoding="utf-8")
    uncommented = re.sub("#(.*servicemonitor)", r"\1", text)
    names = {*manifests.kustomization()["resources"], "servicemonitor.yaml"}
    assert {*msgspec.yaml.decode(uncommented)["resources"]} == names


def test_the_monitor_selects_the_service() -> None:
    spec = manifests.read("servicemonitor.yaml")["spec"]
    assert spec["selector"]["matchLabels"] == resource("Service")["metadata"]["labels"]
    assert spec["endpoints"][0]["port"] == resource("Service")["spec"]["ports"][0]["name"]


def test_what_the_pods_mount_is_there() -> None:
    generated = {each["name"] for each in manifests.kustomization()["configMapGenerator"]}
    volumes = {volume["name"]: volume for volume in pod()["volumes"]}
    assert {mount["name"] for mount in container()["volumeMounts"]} == volumes.keys()
    assert volumes["views"]["configMap"]["name"] in generated
    assert container()["envFrom"] == [{"configMapRef": {"name": "dynamirror-settings"}}]
    assert "env" not in container(), "a secret in the environment is seen by too many"


def test_the_example_s_settings_and_views_are_valid() -> None:
    env = settings()
    assert Settings.from_env(env).iam_cache == env["ELASTICACHE_NAME"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container()["volumeMounts"]}
    assert env["DYNAMIRROR_CONFIG"] == f"{mounts['views']}/mirror.toml"
    assert load_views(str(FOLDER / "mirror.toml"))
    # With a password, as the comment in the file shows it.
    text = (FOLDER / "settings.env").read_text(encoding="utf-8")
    (line,) = (line for line in text.splitlines() if "ELASTICACHE_PASSWORD_FILE" in line)
    name, _, path = line.lstrip("# ").partition("=")
    assert path == f"{mounts['password']}/password"
    del env["ELASTICACHE_NAME"]
    assert Settings.from_env(env | {name: path}).password_file == path


def test_the_cache_and_aws_can_be_reached_and_only_prometheus_reaches_the_pods() -> None:
    spec = resource("NetworkPolicy")["spec"]
    assert set(spec["policyTypes"]) == {"Ingress", "Egress"}
    assert [rule["ports"] for rule in spec["ingress"]] == [[{"port": "metrics"}]]
    blocks = [
        peer["ipBlock"]["cidr"]
        for rule in spec["egress"]
        for peer in rule.get("to", ())
        if "ipBlock" in peer
    ]
    # NodeLocal DNSCache, and the agent of EKS Pod Identity in both families.
    assert blocks == ["169.254.20.10/32", "169.254.170.23/32", "fd00:ec2::23/128"]
    everywhere = [rule["ports"] for rule in spec["egress"] if "to" not in rule]
    assert everywhere == [[{"port": 443}, {"port": Settings(host="cache").port}]]
