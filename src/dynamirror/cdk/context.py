"""The deployment that CDK context describes: `-c config=mirror.toml -c NAME=VALUE`."""

from collections.abc import Collection
from typing import Any

from constructs import Node

from dynamirror.deployment.file import Deployment, read_deployment
from dynamirror.deployment.overrides import check_names


def deployment_of(node: Node, *, other_context: Collection[str] = ()) -> Deployment:
    """Read the deployment that the context of an app describes.

    Args:
        node: construct node of the app.
        other_context: names of context that other parts of the app read; any other is refused.

    Raises:
        ConfigError: an option is wrong, unknown or does not apply, or the file is wrong.
    """
    context = node.get_all_context()
    check_names(context, other_context)
    values = {name: _text(value) for name, value in context.items()}
    return read_deployment(values.get("config") or None, values)


def _text(value: Any) -> str:
    """Return a value of context, which cdk.json may hold as another type, as text."""
    if value is None:
        return ""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
