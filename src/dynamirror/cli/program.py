"""The whole of a command: import the commands, run one, and turn its error into a status."""

import errno
import signal
import sys
from contextlib import suppress
from io import TextIOWrapper

from dynamirror.cli.lost_interrupts import TerminatedError, lost_interrupts_sent_again
from dynamirror.cli.printable import printable
from dynamirror.errors import DynamirrorError, OptionError
from dynamirror.extras import extra_needed

# Errors of what standard output leads to.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


def run_program() -> None:
    """Run the command line; exit with status 1, or 2 for a wrong option, and one sentence.

    It imports the commands, so that a missing extra is no traceback. SIGTERM meanwhile ends it: the
    first process of a container ignores what it does not handle.
    """
    before = signal.signal(signal.SIGTERM, _terminate)
    if isinstance(sys.stdout, TextIOWrapper):  # no letter is worth a traceback
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with lost_interrupts_sent_again():
            with extra_needed("the command line", "cli"):
                from dynamirror.cli.commands import app  # noqa: PLC0415 - see above
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
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(_number: int, _frame: object) -> None:
    raise TerminatedError


def _failed(error: DynamirrorError, status: int) -> int:
    sys.stderr.write(f"dynamirror: {printable(str(error))}\n")
    return status
