"""Shared by every test: shapes in signatures are checked at run time, and random numbers start from a fixed seed."""

import os

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
