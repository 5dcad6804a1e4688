"""The command line: parse options, call one function, print, exit with a status."""

import signal
import sys

_INTERRUPTED = 130


def main() -> None:
    """Run the command line, and exit with a status.

    Ctrl-C and SIGTERM wait for the end of the first imports: what is imported, and Python itself,
    may ignore their exceptions, so that the command would go on.
    """
    held: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _frame: held.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        from dynamirror.cli.program import run_program  # noqa: PLC0415 - see above

        run_program(held, before[signal.SIGINT])
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except RuntimeError as error:  # Python 3.11 makes it of what happens in `__set_name__`
        if not isinstance(error.__cause__, KeyboardInterrupt):
            raise
        sys.exit(_INTERRUPTED)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
