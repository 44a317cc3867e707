"""What CONTRIBUTING.md names exists: files, and the lists in them."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = re.sub(r"\s+", " ", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
PATHS = sorted({path for path in re.findall(r"`((?:src|tests|benchmarks)/[\w./]+)`", PAGE) if "NAME" not in path})
LISTS = sorted(set(re.findall(r"`(\w+)` of `((?:src|tests)/[\w./]+\.py)`", PAGE)))


@pytest.mark.parametrize("path", PATHS)
def test_a_path_exists(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize(("name", "path"), LISTS)
def test_a_list_is_where_it_is_said_to_be(name, path):
    found = set()
    for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
        elif isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            found.add(node.name)
    assert name in found


def test_every_recipe_with_a_conformance_list_is_seen():
    assert {name for name, _ in LISTS} >= {
        "ENTRIES",
        "CASES",
        "PLANS",
        "FULL",
        "CONTENDERS",
        "FORMS",
        "KINDS",
        "METHODS",
        "DATASETS",
        "ENCODERS",
    }
    assert len(PATHS) > 10
