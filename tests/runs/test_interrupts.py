from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from graft.runs import interrupts
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
def test_the_first_signal_is_held_and_a_second_wish_is_not(
    number: signal.Signals, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interrupts, "SAME_WISH_SECONDS", 0.0)
    with held_back() as held:
        assert held.arrived is None
        os.kill(os.getpid(), number)
        assert held.arrived == number
        assert type(held.interruption()) is error
        with pytest.raises(error):
            os.kill(os.getpid(), number)


def test_twenty_signals_are_one_wish_from_the_first_to_the_last_line_of_state(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "run")

    def press() -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) * 7:
            os.kill(os.getpid(), number)

    stopped = 0
    try:
        with terminable(), run.hold():
            try:
                with held_back() as held:
                    press()
                    raise held.interruption()
            finally:
                press()
                stopped += 1
    except KeyboardInterrupt:
        stopped += 1
    assert stopped == 2
    assert (run.status, run.state.message) == ("interrupted", "stopped by Ctrl-C")


def test_nothing_cuts_a_save(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "SAME_WISH_SECONDS", 0.0)
    with held_back() as held:
        os.kill(os.getpid(), signal.SIGINT)
        with held.whole():
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_closed_terminal_ends_a_run_in_order_unless_nohup_said_otherwise(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "run")
    with pytest.raises(Terminated) as caught, terminable(), run.hold():
        os.kill(os.getpid(), signal.SIGHUP)
    assert (caught.value.number, run.state.message) == (signal.SIGHUP, "stopped by SIGHUP")
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with terminable(), held_back() as held:
            os.kill(os.getpid(), signal.SIGHUP)
            assert held.arrived is None
    finally:
        signal.signal(signal.SIGHUP, before)


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
