"""Writing and reading the house's own files, in one place.

A file appears whole or not at all, is flushed to the disk before it is named, and is never written through a symbolic
link. Whatever the system or a library raises when it cannot be written becomes one :class:`StorageError` that says what
is wrong and names the path. What is read back is checked as a whole: a file whose checksum or structure does not fit is
a :class:`DamagedError` with its path.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from polytask.errors import DamagedError, StorageError

__all__ = [
    "CHECKSUM",
    "append",
    "check_writable",
    "create",
    "encode",
    "fingerprint",
    "fitting",
    "read_bytes",
    "read_json",
    "seal",
    "storing",
    "write_atomically",
    "write_json",
]

CHECKSUM = "checksum"
"""Key of a sealed JSON file: SHA-256 of the rest of it."""

NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_WORDS = {
    errno.ENOSPC: "the disk is full",
    getattr(errno, "EDQUOT", -1): "the disk quota is used up",
    errno.EFBIG: "the file is larger than this place allows",
    errno.EROFS: "the place is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.ELOOP: "it is a symbolic link",
    errno.EEXIST: "something else is in its place",
    errno.ENOTDIR: "its folder is a file",
    errno.EISDIR: "a folder is in its place",
    errno.EIO: "the device failed",
}
_SPACE = (errno.ENOSPC, getattr(errno, "EDQUOT", -1), errno.EFBIG)


# ---------------------------------------------------------------------------------------------------------- writing


@contextlib.contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn what goes wrong while ``path`` is written into a :class:`StorageError`.

    Libraries have errors of their own for a full disk; what is behind them is found in their text or context, or by
    trying to write there. An error that has nothing to do with the disk is left as it is.

    Raises:
        StorageError: It cannot be written.
    """
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        cause = _cause(error, path)
        if cause is None:
            raise
        number, found = cause
        words = _WORDS.get(number, "the system refuses")
        raise StorageError(
            f"{path} could not be written: {words} ({found}). What was there before is kept; {_remedy(number)}choose "
            "another place, and run the same again"
        ) from error


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write a file so that it exists either complete or not at all, even if the machine stops in between.

    Its folder is made. A link of this name is replaced, not followed.

    Raises:
        StorageError: It cannot be written; what was there before is intact and nothing else is left behind.
    """
    content = data.encode(errors="backslashreplace") if isinstance(data, str) else data  # half letters, as JSON does
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name[:60]}.{secrets.token_hex(8)}.tmp")
        try:
            _write(temporary, content)
            os.replace(temporary, path)  # noqa: PTH105 - tests stop the process here
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        _flush(path.parent)


def create(path: Path, write: Callable[[Path], None]) -> dict[str, Any]:
    """Let a library write a new file, flushed to the disk, that nothing refers to yet.

    Args:
        path: Where; its name should be one nobody can foresee.
        write: Writes to the path it is given, where an empty file is waiting.

    Returns:
        The file's :func:`fingerprint`.

    Raises:
        StorageError: It cannot be written, or exists; nothing is left behind.
    """
    with storing(path):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINK, 0o666)
        mode = stat.S_IMODE(os.fstat(handle).st_mode)
        os.close(handle)
    try:
        with storing(path):
            write(path)
            path.chmod(mode)  # safetensors makes files that only their owner can read
            _flush(path)
            return fingerprint(path)
    except Exception:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        raise


def append(path: Path, data: bytes, at: int) -> None:
    """Write ``data`` behind the first ``at`` bytes of a file, flushed to the disk; what came after them is cut off.

    Raises:
        StorageError: It cannot be written; the first ``at`` bytes are intact.
    """
    with storing(path):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | NO_LINK, 0o666)
        try:
            os.ftruncate(handle, at)
            os.lseek(handle, at, os.SEEK_SET)
            _write_all(handle, data)
            os.fsync(handle)
        finally:
            os.close(handle)


def write_json(path: Path, value: Any, *, sealed: bool = False) -> None:
    """Write plain values as JSON, atomically.

    Args:
        path: Where.
        value: Mappings, lists, texts, numbers; NaN and infinities become ``null``.
        sealed: Whether to add a ``checksum``, by which :func:`read_json` notices any change to the mapping ``value``.

    Raises:
        StorageError: It cannot be written; what was there before is intact.
    """
    if sealed:
        plain = json.loads(encode(value))
        value = {**plain, CHECKSUM: seal(plain)}
    write_atomically(path, encode(value))


def encode(document: Any) -> str:
    r"""JSON text of plain values; NaN and infinities, which JSON does not know, become ``null``.

    Examples:
        >>> encode({"rmse": float("nan"), "tasks": ("a", "b")})
        '{"rmse": null, "tasks": ["a", "b"]}\n'
    """
    return json.dumps(_plain(document), ensure_ascii=False, allow_nan=False) + "\n"


def check_writable(path: Path) -> None:
    """Find out whether a file could be written, without touching it.

    Raises:
        StorageError: It could not.
    """
    with storing(path):
        _try(path.parent)


# ---------------------------------------------------------------------------------------------------------- reading


def read_bytes(path: Path) -> bytes:
    """The contents of a file.

    Raises:
        FileNotFoundError: There is none.
        DamagedError: Something else than a file is there.
        StorageError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except (IsADirectoryError, NotADirectoryError) as error:
        raise DamagedError(f"{path} is damaged: it is not a file") from error
    except OSError as error:
        words = _WORDS.get(error.errno or 0, "the system refuses")
        raise StorageError(f"{path} could not be read: {words} ({error.strerror})") from error


def read_json(path: Path, schema: Any = None) -> Any:
    """What :func:`write_json` wrote, checked as a whole.

    Args:
        path: Where.
        schema: A pydantic model, or any type that pydantic can check (strictly: a text is no number); ``None`` checks
            only that it is JSON.

    Returns:
        The value, as an instance of ``schema``; a checksum is verified and left out.

    Raises:
        FileNotFoundError: There is no such file.
        DamagedError: It is no JSON, its checksum does not fit, or the schema does not.
        StorageError: It cannot be read.
    """
    content = read_bytes(path)
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path} is damaged: it is no JSON ({error})") from error
    if isinstance(value, dict) and CHECKSUM in value and value.pop(CHECKSUM) != seal(value):
        raise DamagedError(f"{path} is damaged: its contents do not fit its checksum")
    return value if schema is None else fitting(value, schema, path)


def fitting(value: Any, schema: Any, path: Path) -> Any:
    """Plain values, or JSON as bytes, as an instance of ``schema``; see :func:`read_json`.

    Raises:
        DamagedError: They do not fit; the message names ``path`` and the first place that does not.
    """
    import pydantic  # reading a file is rare, and importing polytask must stay cheap

    content = value if isinstance(value, bytes) else json.dumps(value)
    try:
        return pydantic.TypeAdapter(schema).validate_json(content, strict=True)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "it"
        raise DamagedError(f"{path} is damaged: {place}: {first['msg']}") from error


def fingerprint(path: Path, length: int | None = None) -> dict[str, Any]:
    """Name, size and SHA-256 of a file, or of its first ``length`` bytes.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        if length is None:
            found = hashlib.file_digest(file, "sha256")
            length = file.tell()
        else:
            content = file.read(length)
            found, length = hashlib.sha256(content), len(content)
    return {"name": path.name, "bytes": length, "sha256": found.hexdigest()}


# --------------------------------------------------------------------------------------------------------- details


def _write(path: Path, data: bytes) -> None:
    """A new file, flushed to the disk."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINK, 0o666)
    try:
        _write_all(handle, data)
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_all(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def _flush(path: Path) -> None:
    """Make sure that a file, or the names in a folder, survive a power cut."""
    if os.name == "nt" and path.is_dir():  # Windows opens no folders
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _try(folder: Path) -> None:
    """Write a small file and delete it."""
    probe = folder / f".{secrets.token_hex(8)}.tmp"
    try:
        _write(probe, b"0" * 4096)
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)


def _remedy(number: int) -> str:
    if number in _SPACE:
        return "free some space or "
    return "make it writable or " if number in (errno.EROFS, errno.EACCES, errno.EPERM) else ""


def _cause(error: Exception, path: Path) -> tuple[int, str] | None:
    """Number and words of the system's error behind an error of writing; ``None`` if there is none."""
    behind: BaseException | None = error
    while behind is not None:
        if isinstance(behind, OSError):
            return behind.errno or 0, behind.strerror or str(behind)
        behind = behind.__cause__ or behind.__context__
    if found := re.search(r"os error (\d+)", str(error)):  # safetensors, which is written in Rust
        number = int(found[1])
        return number, os.strerror(number)
    try:
        _try(path.parent)
    except OSError as refused:
        return refused.errno or 0, refused.strerror or str(refused)
    return None


def seal(value: Any) -> str:
    """Checksum of plain values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
