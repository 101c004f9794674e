"""``python -m cso_train``."""

import atexit
import os
import sys
from contextlib import suppress


def _end_at_once() -> None:
    """End a process of several without taking the interpreter down.

    Threads of torch's Gloo backend may still hold tensors of the last exchange, and outlive their group. One that
    lets go of such a tensor while the interpreter is taken down aborts the process, which the launcher takes for
    a failed run.
    """
    if "RANK" in os.environ and isinstance(_code, int):
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(_code)


_code: object = None
atexit.register(_end_at_once)  # before all others are imported: it is the last to run

from cso_train.cli import main  # noqa: E402

try:
    main(prog_name="python -m cso_train")
except SystemExit as end:
    _code = end.code
    raise
