"""Shared by every test: shapes in signatures are checked at run time, and random numbers start from a fixed seed."""

import os
import subprocess

os.environ.setdefault("OMP_NUM_THREADS", "1")

from jaxtyping import install_import_hook

install_import_hook("polytask", "typechecking.check")

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _fixed_seed():
    import torch

    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - libraries under test may use the global generator


@pytest.fixture
def small_disk(tmp_path):
    """A disk of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if done.returncode != 0:
        pytest.skip("mounting a small disk takes more rights than this process has")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)
