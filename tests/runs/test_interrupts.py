from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from graft.runs.directory import RunDirectory
from graft.runs.interrupts import Held, Terminated, held_back, terminable


def test_sigterm_ends_a_block_like_ctrl_c_and_the_run_says_so(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "run")
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt) as caught, terminable(), run.hold():
        os.kill(os.getpid(), signal.SIGTERM)
    assert isinstance(caught.value, Terminated)
    assert (run.status, run.state.message) == ("interrupted", "stopped by SIGTERM")
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_the_first_signal_is_held_and_the_second_is_not(number: signal.Signals, error: type[BaseException]) -> None:
    with held_back() as held:
        assert held.arrived is None
        os.kill(os.getpid(), number)
        assert held.arrived == number
        assert type(held.interruption()) is error
        with pytest.raises(error):
            os.kill(os.getpid(), number)


def test_outside_the_main_thread_nothing_is_touched() -> None:
    before = signal.getsignal(signal.SIGINT)
    found: list[Held] = []

    def work() -> None:
        with held_back() as held:
            found.append(held)
            assert signal.getsignal(signal.SIGINT) is before

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [Held()]
