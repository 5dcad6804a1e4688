"""Groups of options: a command takes the options of one group as one dataclass."""

import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import wraps
from typing import Any, TypeVar

R = TypeVar("R")


def with_option_groups(command: Callable[..., R]) -> Callable[..., R]:
    """Return a command whose dataclass parameters are replaced by their fields.

    Typer reads options from `inspect.signature`. The returned function has a signature with the
    fields in place of each group, and builds the groups before it calls the command.

    Args:
        command: a command for Typer; the fields of its groups are annotated as options.
    """
    signature = inspect.signature(command, eval_str=True)
    groups: dict[str, Any] = {}
    parameters: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        group = parameter.annotation
        if isinstance(group, type) and is_dataclass(group):
            groups[name] = group
            parameters += inspect.signature(group).parameters.values()
        else:
            parameters.append(parameter)

    @wraps(command)
    def with_groups(**options: Any) -> R:
        for name, group in groups.items():
            options[name] = group(
                **{field.name: options.pop(field.name) for field in fields(group)}
            )
        return command(**options)

    vars(with_groups)["__signature__"] = signature.replace(parameters=parameters)
    return with_groups
