"""The fixtures of `dynamirror.testing`, in place of the suite's own of the same names."""

from dynamirror.testing import (
    dynamodb,
    embedded_valkey,
    emulated_aws,
    mirror,
    mirror_config,
    valkey,
)

__all__ = ["dynamodb", "embedded_valkey", "emulated_aws", "mirror", "mirror_config", "valkey"]
