"""Commands that refuse an option that would be ignored: one given twice, or an empty one."""

from collections import Counter
from typing import Any

from typer.core import TyperCommand

from dynamirror.errors import OptionError


class OneValueCommand(TyperCommand):
    """A command whose options are given once at the most, except those that may be repeated.

    An empty text is most often a variable of the shell that is not set. Taken for an option that is
    left out, it would lead a command to another cache, account or view.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments as usual.

        Raises:
            OptionError: an option is given twice, or is empty.
        """
        values, _rest, order = self.make_parser(ctx).parse_args(args=list(args))
        for parameter, count in Counter(order).items():
            if count > 1 and not getattr(parameter, "multiple", False):
                option = max(parameter.opts, key=len)
                raise OptionError(f"{option}: is given {count} times; give it once")
        rest = super().parse_args(ctx, args)
        for parameter in self.params:
            value = values.get(parameter.name)
            if value == "" or (isinstance(value, list) and "" in value):
                is_option = parameter.param_type_name == "option"
                name = max(parameter.opts, key=len) if is_option else parameter.metavar
                raise OptionError(f"{name}: is empty; give a value")
        return rest
