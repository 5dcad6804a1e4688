"""The whole of a command: import the commands, run one, and turn its error into a status."""

import errno
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from io import TextIOWrapper
from typing import Any

from dynamirror.cli.lost_interrupts import TerminatedError, lost_interrupts_raised_again
from dynamirror.cli.printable import printable
from dynamirror.errors import DynamirrorError, OptionError
from dynamirror.extras import extra_needed

# Errors of what standard output leads to.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


def run_program(held: Sequence[int], interrupt: Any) -> None:
    """Run the command line; exit with status 1, or 2 for a wrong option, and one sentence.

    It imports the commands, so that a missing extra is no traceback. It handles SIGTERM: the first
    process of a container ignores what it does not handle.

    Args:
        held: signals that came before the commands are imported, which are sent again then.
        interrupt: the handler of SIGINT from then on.
    """
    if isinstance(sys.stdout, TextIOWrapper):  # no letter is worth a traceback
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with extra_needed("the command line", "cli"):
            from dynamirror.cli.commands import app  # noqa: PLC0415 - see above
        with lost_interrupts_raised_again(interrupt):
            for number in held:
                signal.raise_signal(number)
            app()
    except OptionError as error:
        sys.exit(_failed(error, 2))
    except DynamirrorError as error:
        sys.exit(_failed(error, 1))
    except TerminatedError:
        sys.exit(0 if sys.argv[1:2] == ["run"] else 128 + signal.SIGTERM)
    except BrokenPipeError:  # the reader of our output has gone
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        if error.errno not in _FULL or error.filename is not None:
            raise
        with suppress(OSError):
            sys.stdout.close()  # or the end of the process would try once more
        sys.exit(_failed(DynamirrorError(f"the output cannot be written: {error.strerror}"), 1))


def _failed(error: DynamirrorError, status: int) -> int:
    sys.stderr.write(f"dynamirror: {printable(str(error))}\n")
    return status
