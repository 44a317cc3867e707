"""Running trials: here one after the other, or side by side in processes of their own."""

from __future__ import annotations

import functools
import logging
import multiprocessing
import multiprocessing.connection
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, final

import torch

from polytask.errors import TrialError
from polytask.remedies import Notation, notation, said_in, worded
from polytask.signals import undisturbed
from polytask.study.outcome.results import TrialResult
from polytask.study.splits import Splits
from polytask.study.trial import blank, record_failure, run_trial
from polytask.study.trial_spec import TrialSpec
from polytask.train import History

__all__ = ["Job", "run_jobs"]

logger = logging.getLogger("polytask")

Job = tuple[TrialSpec, Path]

KILLED = "killed, probably out of memory"


def run_jobs(
    jobs: Sequence[Job], splits: Splits, *, workers: int, resume: bool, done: Callable[[TrialResult], None],
    epoch: Callable[[str, int], None],
) -> None:  # fmt: skip
    """Run trials and hand over each result as it comes.

    Args:
        jobs: What to train, and where.
        splits: On what, by seed.
        workers: Processes; 1 runs them here.
        resume: Whether to go on from checkpoints.
        done: Called with every result.
        epoch: Called with the name of a trial and the epochs it has finished, when trials run here.

    Raises:
        TrialError: A directory cannot be written, or no process can be started.
        KeyboardInterrupt: Ctrl-C; no process is left behind.
    """
    if min(workers, len(jobs)) <= 1:
        for spec, folder in jobs:
            epoch(folder.name, 0)
            tell = functools.partial(_tell, epoch, folder.name)
            done(run_trial(spec, splits.of(spec.seed), folder, resume=resume, on_epoch=tell))
        return
    left, together = list(jobs), min(workers, len(jobs))
    while left:
        before, left = left, _side_by_side(left, splits, workers=together, resume=resume, done=done)
        if left and together == 1 and left[0] is before[0]:  # alone in its process, and the process died
            spec, folder = left.pop(0)
            done(record_failure(folder, blank(spec, folder), "its process was killed", KILLED))
        together = 1  # with less memory in use, and so that it shows whose process dies


def _side_by_side(
    jobs: Sequence[Job], splits: Splits, *, workers: int, resume: bool, done: Callable[[TrialResult], None]
) -> list[Job]:
    """Run trials in processes of their own, in order, and return those that are left when one of them dies."""
    executor = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_Worker.start,
        initargs=(splits, resume, notation()),
    )
    clean = False
    waiting: dict[Future[TrialResult], Job] = {}
    try:
        _begin(executor)
        waiting = {executor.submit(_Worker.run, *job): job for job in jobs}
        while waiting:
            finished, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in sorted(finished, key=lambda future: isinstance(future.exception(), BrokenProcessPool)):
                done(future.result())
                del waiting[future]
        clean = True
    except BrokenProcessPool:
        logger.warning("a worker process died, out of memory or killed; what is left runs one trial at a time")
    finally:
        with undisturbed():
            if not clean:
                _stop(executor)
            executor.shutdown(wait=True, cancel_futures=True)
    return list(waiting.values())


def _begin(executor: ProcessPoolExecutor) -> None:
    """Wait for a first process.

    Raises:
        TrialError: None can be started.
    """
    try:
        executor.submit(os.getpid).result()
    except BrokenProcessPool as error:
        raise TrialError(
            "no worker process can be started (the calling script starts the study without "
            "`if __name__ == '__main__':`, or memory is too small for a second process); run it with "
            f"{worded('workers=1', '--workers 1')}"
        ) from error


def _tell(epoch: Callable[[str, int], None], name: str, history: History) -> None:
    epoch(name, history.epochs)


@final
class _Worker:
    """What a worker process keeps: the data, sent once, and how its messages are worded."""

    splits: Splits | None = None
    resume: bool = True
    spoken: Notation = "python"

    @classmethod
    def start(cls, splits: Splits, resume: bool, spoken: Notation) -> None:
        cls.splits, cls.resume, cls.spoken = splits, resume, spoken
        torch.set_num_threads(1)
        parent = multiprocessing.parent_process()
        if parent is not None:
            threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()

    @classmethod
    def run(cls, spec: TrialSpec, folder: Path) -> TrialResult:
        assert cls.splits is not None
        with said_in(cls.spoken):
            return run_trial(spec, cls.splits.of(spec.seed), folder, resume=cls.resume)


def _follow(sentinel: int) -> None:
    """End this process when its parent has gone, however that happened."""
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


def _stop(executor: ProcessPoolExecutor) -> None:
    """End the workers now; their trials go on from their checkpoints the next time."""
    processes: dict[int, Any] = dict(getattr(executor, "_processes", None) or {})
    for process in processes.values():
        process.terminate()
    for process in processes.values():
        process.join(5)
        if process.is_alive():
            process.kill()
