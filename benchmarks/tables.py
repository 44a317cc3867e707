"""What reading a table costs, as a ratio to pandas: reading, inference and encoding together, time and memory.

A CSV and a Parquet file of a million rows (``--rows``) and 30 columns: floats, whole numbers, categories, dates, gaps.
Every figure is the CPU time, and the growth of the peak of memory, of a fresh interpreter; the least of three.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

WAYS = {
    "pandas": "frame = pd.read_{kind}(path)",
    "pyarrow": "import pyarrow.csv, pyarrow.parquet; frame = {arrow}.to_pandas()",
    "open_table": "frame = open_table(path).frame",
    "inspect_table": "inspect_table(path, ['y0', 'y1'])",
    "read_table": "read_table(path, ['y0', 'y1'])",
}
ARROW = {"csv": "pyarrow.csv.read_csv(path)", "parquet": "pyarrow.parquet.read_table(path)"}
MEASURED = """
import json, resource, sys, time
import pandas as pd, torch
from polytask.data import inspect_table, read_table
from polytask.data.opening import open_table
path = {path!r}
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.process_time()
{way}
seconds = time.process_time() - start
print(json.dumps([seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024]))
"""


def table(rows: int) -> pd.DataFrame:
    """Thirty columns as tables have them, two of them targets."""
    rng = np.random.default_rng(0)
    columns: dict[str, object] = {f"x{i}": rng.normal(size=rows).round(6) for i in range(14)}
    columns |= {f"n{i}": rng.integers(0, 1000, rows) for i in range(6)}
    columns |= {f"c{i}": np.array(["red", "green", "blue", "grey"])[rng.integers(0, 4, rows)] for i in range(4)}
    columns |= {f"city{i}": np.array([f"city {k}" for k in range(300)])[rng.integers(0, 300, rows)] for i in range(2)}
    days = pd.Timestamp("2015-01-01") + pd.to_timedelta(rng.integers(0, 3000, rows), unit="D")
    columns["day"] = days.strftime("%Y-%m-%d")
    columns["gap"] = np.where(rng.random(rows) < 0.2, np.nan, rng.normal(size=rows).round(6))
    columns["y0"], columns["y1"] = rng.normal(size=rows).round(6), rng.integers(0, 2, rows)
    return pd.DataFrame(columns)


def measured(path: Path, way: str, repeats: int) -> tuple[float, float]:
    """CPU seconds and mebibytes of a fresh interpreter."""
    kind = path.suffix[1:]
    code = MEASURED.format(path=str(path), way=WAYS[way].format(kind=kind, arrow=ARROW[kind]))
    runs = []
    for _ in range(repeats):
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, capture_output=True, text=True)
        runs.append(json.loads(done.stdout.splitlines()[-1]))
    return min(seconds for seconds, _ in runs), min(memory for _, memory in runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        frame = table(chosen.rows)
        paths = [Path(folder) / "t.csv", Path(folder) / "t.parquet"]
        frame.to_csv(paths[0], index=False)
        frame.to_parquet(paths[1])
        kept = frame.memory_usage(deep=True).sum() / 2**20
        print(f"{chosen.rows:,} rows, {frame.shape[1]} columns; the DataFrame keeps {kept:.0f} MiB")
        for path in paths:
            print(f"\n{path.suffix[1:]:<9}{'CPU s':>9}{'ratio':>8}{'peak MiB':>10}{'ratio':>8}")
            base = measured(path, "pandas", chosen.repeats)
            for way in WAYS:
                found = base if way == "pandas" else measured(path, way, chosen.repeats)
                print(f"{way:<14}{found[0]:>4.2f}{found[0] / base[0]:>8.2f}{found[1]:>10.0f}{found[1] / base[1]:>8.2f}")


if __name__ == "__main__":
    main()
