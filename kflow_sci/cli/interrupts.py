"""Ctrl-C that waits until compiled code has returned.

The one idea: code compiled by numba calls a little Python (it unpickles what it needs when it is first needed), and an
exception raised there is lost: the call ends with a ``SystemError`` instead. An interrupt that falls into such a moment
is therefore sent again a moment later.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType

_CALLED_BY_COMPILED_CODE = "_numba_unpickle"
_MOMENT = 0.01  # s; what is called there takes microseconds


def wait_for_compiled_code() -> None:
    """Let SIGINT raise ``KeyboardInterrupt`` only where it is not lost.

    Does nothing where another handler is installed, where the signal is ignored, and outside the main thread.
    """
    if (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    ):
        signal.signal(signal.SIGINT, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    while frame is not None:
        if frame.f_code.co_name == _CALLED_BY_COMPILED_CODE:
            threading.Timer(_MOMENT, signal.raise_signal, [number]).start()
            return
        frame = frame.f_back
    raise KeyboardInterrupt
