"""What `import polytask` and its rooms cost beyond `import torch`, in seconds and as a ratio.

Each figure is the median of fresh interpreters, after one run that warms the file cache.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

STATEMENTS = {
    "(nothing)": "pass",
    "torch": "import torch",
    "polytask": "import polytask",
    "torch, polytask": "import torch, polytask",
    "torch, polytask.Balancer": "import torch, polytask; polytask.Balancer",
    "torch, polytask.Trainer": "import torch, polytask; polytask.Trainer",
    "torch, polytask.compare": "import torch, polytask; polytask.compare",
    "polytask.cli": "import polytask.cli",
}


def seconds(statement: str, repeats: int = 5) -> float:
    """Median wall time of a fresh interpreter that runs the statement."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", statement], check=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def main() -> None:
    measured = {name: seconds(statement) for name, statement in STATEMENTS.items()}
    torch = measured["torch"]
    print(f"{'imported':<28}{'seconds':>9}{'beyond torch':>14}{'ratio':>8}")
    for name, value in measured.items():
        print(f"{name:<28}{value:>9.2f}{value - torch:>+14.2f}{value / torch:>8.2f}")


if __name__ == "__main__":
    main()
