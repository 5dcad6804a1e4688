"""The names that an app imports from `dynamirror.cdk`."""

import subprocess
import sys
from importlib import import_module

import pytest
from constructs import Construct

from dynamirror import cdk


@pytest.mark.parametrize("name", cdk.__all__)
def test_an_app_imports_each_name_from_the_package(name: str) -> None:
    module = import_module(f"dynamirror.cdk.{cdk._MODULES[name]}")
    assert getattr(cdk, name) is getattr(module, name)
    assert getattr(cdk, name).__module__ == module.__name__


def test_the_package_exports_every_construct() -> None:
    assert sorted(cdk.__all__) == sorted(cdk._MODULES)
    modules = [import_module(f"dynamirror.cdk.{name}") for name in set(cdk._MODULES.values())]
    constructs = {
        name
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, Construct)
        and value.__module__ == module.__name__
    }
    assert constructs <= set(cdk.__all__)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'dynamirror\.cdk' has no attribute 'Nat'"):
        _ = cdk.Nat


def test_the_package_alone_does_not_import_aws_cdk() -> None:
    code = "import sys, dynamirror.cdk; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    modules = set(done.stdout.split())
    assert "dynamirror.cdk" in modules
    assert not {"aws_cdk", "constructs", "jsii"} & modules
