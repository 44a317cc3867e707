"""Files that may be compressed: their endings, and a stream of what is in them."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from pathlib import Path
from typing import cast

from polytask.errors import DataError

__all__ = ["PACKED", "ending", "stream"]

PACKED = (".gz", ".bz2", ".xz", ".zip")
"""Endings of compressed files that are read as what they contain."""


def ending(path: Path) -> str:
    """The ending that says what a file holds, in small letters, without that of its compression.

    Examples:
        >>> ending(Path("rows.CSV.gz")), ending(Path("rows.csv"))
        ('.csv', '.csv')
    """
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() if suffix in PACKED else suffix


def stream(path: Path) -> io.BufferedIOBase:
    """The bytes of a file, unpacked.

    Raises:
        DataError: An archive holds no file or several.
    """
    match path.suffix.lower():
        case ".gz":
            return gzip.GzipFile(path)
        case ".bz2":
            return bz2.BZ2File(path)
        case ".xz":
            return lzma.LZMAFile(path)
        case ".zip":
            try:
                archive = zipfile.ZipFile(path)
            except zipfile.BadZipFile as error:
                raise DataError(f"{path.name} cannot be unpacked: {error}") from error
            names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX")]
            if len(names) != 1:
                raise DataError(
                    f"{path.name} holds {len(names)} files; expected one table. Unpack it and name the file"
                )
            return cast(io.BufferedIOBase, archive.open(names[0]))
        case _:
            return path.open("rb")
