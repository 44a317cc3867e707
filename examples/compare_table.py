"""Ask of a table whether its targets should be learned together, and write the report.

The table is scikit-learn's diabetes data, 442 patients: the progression of the disease after a year and the blood
pressure, a third of which is deleted here to show that rows with missing labels stay in use.
"""

import argparse
from pathlib import Path

import numpy as np
from sklearn.datasets import load_diabetes

import polytask as pt


def main() -> None:
    """Read the table, compare, print, write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/diabetes"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30)
    options = parser.parse_args()

    frame = load_diabetes(as_frame=True, scaled=False).frame
    frame.loc[np.random.default_rng(0).random(len(frame)) < 1 / 3, "bp"] = np.nan
    data = pt.data.read_table(frame, targets=["target", "bp"])
    print(data.describe())

    result = pt.compare(
        data,
        methods=["stl", "equal", "uw", "fairgrad"],
        seeds=options.seeds,
        train={"epochs": options.epochs},
        out=options.out,
    )
    print(result)
    print("report:", result.report(options.out / "report.html"))


if __name__ == "__main__":
    main()
