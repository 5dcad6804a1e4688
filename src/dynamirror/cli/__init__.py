"""The command line: parse options, call one function, print, exit with a status."""

import sys

_INTERRUPTED = 130


def main() -> None:
    """Run the command line, and exit with a status.

    It imports all that it needs, so that Ctrl-C meanwhile is no traceback.
    """
    try:
        from dynamirror.cli.program import run_program  # noqa: PLC0415 - see above

        run_program()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except RuntimeError as error:  # Python 3.11 makes it of what happens in `__set_name__`
        if not isinstance(error.__cause__, KeyboardInterrupt):
            raise
        sys.exit(_INTERRUPTED)
