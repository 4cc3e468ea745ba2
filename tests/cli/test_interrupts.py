"""Ctrl-C at moments when compiled code would lose it."""

from __future__ import annotations

import pickle
import signal
import time
from collections.abc import Iterator

import pytest
from numba.core import serialize

from kflow_sci.cli.interrupts import wait_for_compiled_code


@pytest.fixture(autouse=True)
def _handler_of_a_command() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    wait_for_compiled_code()
    yield
    signal.signal(signal.SIGINT, before)


class Interrupting:
    """Ctrl-C while it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return signal.raise_signal, (int(signal.SIGINT),)


def test_an_interrupt_is_raised_at_once_in_plain_code() -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_an_interrupt_in_what_compiled_code_calls_comes_after_it() -> None:
    finished = False
    with pytest.raises(KeyboardInterrupt):
        serialize._numba_unpickle(0, pickle.dumps(Interrupting()), b"a name of its own")
        finished = True
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            time.sleep(0.01)
    assert finished


def test_a_handler_of_somebody_else_stays() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    wait_for_compiled_code()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
