import os
import random
import signal
import threading

import numpy as np
import pytest
import torch

from polytask.train.surroundings import Interrupts, generators, restore_generators, seeded


def draw():
    return random.random(), np.random.random(), float(torch.rand(()))  # noqa: NPY002


def test_seeded_repeats_and_restores():
    state = generators()
    inside = []
    for _ in range(2):
        with seeded(3):
            inside.append(draw()[1:])  # type checks of the tests draw from Python's own generator
    assert inside[0] == inside[1]
    after = draw()
    restore_generators(state)
    assert draw()[1:] == after[1:]


def test_generators_survive_saving(tmp_path):
    np.random.normal()  # noqa: NPY002 - leaves half of a pair behind, which is part of the state
    torch.save(generators(), tmp_path / "state")
    first = (*draw(), np.random.normal())  # noqa: NPY002
    restore_generators(torch.load(tmp_path / "state", weights_only=True))
    second = (*draw(), np.random.normal())  # noqa: NPY002
    assert second[1:] == first[1:]


def test_first_interrupt_is_a_flag_and_the_second_acts():
    before = signal.getsignal(signal.SIGINT)
    with Interrupts() as interrupts:
        assert not interrupts.requested
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupts.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_threads_other_than_the_main_one_leave_signals_alone():
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def work():
        with Interrupts() as interrupts:
            seen.append((interrupts.requested, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, before)]
