"""Running trials: here one after the other, or side by side in processes of their own."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import multiprocessing.connection
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import ModuleType
from typing import Any, final

import torch

from polytask.data import MultiTaskData
from polytask.errors import TrialError
from polytask.study.results import TrialResult
from polytask.study.trial import TrialSpec, run_trial
from polytask.train import History

__all__ = ["Job", "locked", "run_jobs"]

Job = tuple[TrialSpec, Path]


def run_jobs(
    jobs: Sequence[Job], data: MultiTaskData, *, workers: int, resume: bool, done: Callable[[TrialResult], None],
    epoch: Callable[[str, int], None],
) -> None:  # fmt: skip
    """Run trials and hand over each result as it comes.

    Args:
        jobs: What to train, and where.
        data: On what.
        workers: Processes; 1 runs them here.
        resume: Whether to go on from checkpoints.
        done: Called with every result.
        epoch: Called with the name of a trial and the epochs it has finished, when trials run here.

    Raises:
        TrialError: A directory cannot be written, or a process died.
        KeyboardInterrupt: Ctrl-C; no process is left behind.
    """
    if min(workers, len(jobs)) <= 1:
        for spec, folder in jobs:
            epoch(folder.name, 0)
            done(run_trial(spec, data, folder, resume=resume, on_epoch=functools.partial(_tell, epoch, folder.name)))
        return
    executor = ProcessPoolExecutor(
        min(workers, len(jobs)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_Worker.start,
        initargs=(data, resume),
    )
    clean = False
    try:
        waiting: set[Future[TrialResult]] = {executor.submit(_Worker.run, spec, folder) for spec, folder in jobs}
        while waiting:
            finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in finished:
                done(future.result())
        clean = True
    except BrokenProcessPool as error:
        raise TrialError(
            "a worker process died (out of memory, or killed; or the calling script starts the study without "
            "`if __name__ == '__main__':`). Finished trials are kept: run it again, perhaps with workers=1."
        ) from error
    finally:
        if not clean:
            _stop(executor)
        executor.shutdown(wait=True, cancel_futures=True)


def _tell(epoch: Callable[[str, int], None], name: str, history: History) -> None:
    epoch(name, history.epochs)


@final
class _Worker:
    """What a worker process keeps: the data, sent once."""

    data: MultiTaskData | None = None
    resume: bool = True

    @classmethod
    def start(cls, data: MultiTaskData, resume: bool) -> None:
        cls.data, cls.resume = data, resume
        torch.set_num_threads(1)
        parent = multiprocessing.parent_process()
        if parent is not None:
            threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()

    @classmethod
    def run(cls, spec: TrialSpec, folder: Path) -> TrialResult:
        assert cls.data is not None
        return run_trial(spec, cls.data, folder, resume=cls.resume)


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


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a study's folder; the operating system lets go of the lock when a process ends.

    Raises:
        TrialError: Another process works in the folder, or it cannot be written.
    """
    fcntl = _fcntl()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("w")
    except OSError as error:
        raise TrialError(f"cannot write in {folder}: {error}") from error
    with file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise TrialError(f"another process is working in {folder}; wait for it, or give another out=") from None
        yield


def _fcntl() -> ModuleType | None:
    """The module that locks files, where there is one."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    return fcntl
