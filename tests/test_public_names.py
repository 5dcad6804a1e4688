"""`import dynamirror` costs nothing, and has every public name."""

import subprocess
import sys

import pytest

import dynamirror


@pytest.mark.parametrize("name", dynamirror.__all__)
def test_a_public_name_is_an_attribute_of_the_package(name: str) -> None:
    assert getattr(dynamirror, name)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Writer'"):
        _ = dynamirror.Writer


def test_the_package_alone_imports_no_dependency() -> None:
    code = "import sys, dynamirror; print({'boto3', 'msgspec', 'libvalkey'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "set()\n"
