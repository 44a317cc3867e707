"""Runs the examples of every docstring and the Python snippets of README and docs as tests.

Examples of one document build on each other: parallel runs must keep a file together (``--dist loadfile``).
"""

import os
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser
from sybil.parsers.rest import DocTestParser

_FLAGS = ELLIPSIS | NORMALIZE_WHITESPACE


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """Examples may write files: each document runs in an empty directory of its own."""
    before = os.getcwd()  # noqa: PTH109 - its pair is os.chdir
    os.chdir(tmp_path_factory.mktemp("document"))
    yield
    os.chdir(before)


@pytest.fixture
def seeded():
    """An example that draws random numbers prints the same ones every time."""
    import torch

    torch.manual_seed(0)


_docstrings = Sybil([DocTestParser(_FLAGS)], path="src/polytask", pattern="*.py", fixtures=("scratch", "seeded"))
_pages = Sybil(
    [PythonCodeBlockParser(doctest_optionflags=_FLAGS), SkipParser()],
    patterns=["README.md", "docs/*.md", "docs/rooms/*.md"],
    fixtures=("scratch", "seeded"),
)
pytest_collect_file = (_docstrings + _pages).pytest()
