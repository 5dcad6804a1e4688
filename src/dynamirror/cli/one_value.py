"""Commands that refuse an option that is given twice, of which only the last would count."""

from collections import Counter
from typing import Any

from typer.core import TyperCommand

from dynamirror.errors import OptionError


class OneValueCommand(TyperCommand):
    """A command whose options are given once at the most, except those that may be repeated."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments as usual.

        Raises:
            OptionError: an option is given twice.
        """
        _options, _rest, order = self.make_parser(ctx).parse_args(args=list(args))
        for parameter, count in Counter(order).items():
            if count > 1 and not getattr(parameter, "multiple", False):
                option = max(parameter.opts, key=len)
                raise OptionError(f"{option}: is given {count} times; give it once")
        return super().parse_args(ctx, args)
