"""The end of a child process that was forked to call a function."""

import os
import sys


def end_with(function):
    """Calls a function, and ends this process with its exit code.

    A stack trace, which no command may show, is the code 99.
    """
    try:
        function()
        code = 0
    except KeyboardInterrupt:
        code = 130
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else bool(error.code)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 99
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
