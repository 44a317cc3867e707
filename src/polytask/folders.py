"""The folders the house writes to: one process at a time, nothing unusable in the way, nothing left behind."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from polytask.errors import StorageError
from polytask.files import NO_LINK, storing
from polytask.remedies import elsewhere

__all__ = ["locked", "make_folder", "remove", "set_aside", "sweep"]

logger = logging.getLogger("polytask")


def make_folder(path: Path) -> None:
    """Make a folder and those above it.

    Raises:
        StorageError: It cannot be made.
    """
    with storing(path):
        path.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def locked(folder: Path, name: str = ".lock") -> Iterator[None]:
    """Keep other processes out of a folder that is made if need be; a process that ends lets go, however it ends.

    The lock is a file of this process' number that is gone afterwards. Two locks on one folder exclude each other also
    within a process.

    Raises:
        StorageError: Another process works in the folder, or it cannot be written.
    """
    make_folder(folder)
    path = folder / name
    with storing(path):
        handle = _take(path, folder)
    try:
        with storing(path):
            _sign(handle)
        yield
    finally:
        with contextlib.suppress(OSError):
            if _is_at(path, os.fstat(handle)):
                path.unlink()  # before letting go: whoever comes next makes a file of its own
        os.close(handle)


def set_aside(path: Path) -> Path:
    """Rename what cannot be used, so that it can be looked at and is out of the way.

    Returns:
        Its new name: the old one with ``.unreadable``, and a number where that exists.

    Raises:
        StorageError: It cannot be renamed.
    """
    new, number = path.with_name(f"{path.name}.unreadable"), 2
    while os.path.lexists(new):
        new, number = path.with_name(f"{path.name}.unreadable.{number}"), number + 1
    with storing(path):
        path.rename(new)
    return new


def remove(path: Path) -> None:
    """Delete a file, a folder with what it holds, or a link (not what it points to); as far as that is possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Delete the temporary files that a killed process left in a folder."""
    for left in folder.glob(".*.tmp"):
        remove(left)


def _take(path: Path, folder: Path) -> int:
    """An open, locked lock file that is still the one of its name."""
    fcntl = _fcntl()
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NONBLOCK", 0) | NO_LINK, 0o666)
        try:
            mine = os.fstat(handle)
            if not stat.S_ISREG(mine.st_mode):
                raise StorageError(f"{path} is no file; delete it and run the same again")
            if fcntl is not None:
                _flock(fcntl, handle, folder)
                if not _is_at(path, mine):  # its former holder deleted it between our opening and locking it
                    os.close(handle)
                    continue
        except BaseException:
            with contextlib.suppress(OSError):
                os.close(handle)
            raise
        return handle


def _sign(handle: int) -> None:
    """Write into the lock who holds it; that a full disk takes not even this shows before any work is done."""
    if os.fstat(handle).st_nlink == 1:  # a second name of somebody's file is not written to
        os.ftruncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())


def _is_at(path: Path, mine: os.stat_result) -> bool:
    try:
        return os.path.samestat(mine, path.lstat())
    except FileNotFoundError:
        return False


def _flock(fcntl: ModuleType, handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES, errno.EAGAIN):
            logger.warning("%s cannot be locked (%s): see to it that one process at a time uses it", folder, error)
            return
        holder = os.pread(handle, 200, 0).decode(errors="replace").strip()
        who = f" ({holder})" if holder.startswith("process ") else ""
        raise StorageError(f"another process is working in {folder}{who}; wait for it, or {elsewhere()}") from None


def _fcntl() -> ModuleType | None:
    """The module that locks files, where there is one."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    return fcntl
