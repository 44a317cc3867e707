"""The package as a whole: what an import costs, which way imports point, what is public, how long files may be."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import polytask

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "polytask"

# A room may import the rooms below it, never one beside or above it.
LEVELS = {
    "errors": 0,
    "remedies": 0,
    "section": 0,
    "signals": 0,
    "lazy": 0,
    "version": 0,
    "blas": 0,
    "registry": 1,
    "options": 1,
    "files": 1,
    "folders": 2,
    "solvers": 1,
    "tasks": 2,
    "linear": 2,
    "tables": 2,
    "decide": 2,
    "data": 3,
    "masked": 3,
    "balance": 3,
    "schedule": 3,
    "share": 4,
    "train": 5,
    "study": 6,
    "deploy": 7,
    "cli": 8,
    "__main__": 9,
}
# Rooms that must stay below their level's permission.
ONLY = {
    "linear": {"errors", "blas", "lazy", "registry", "solvers"},
    "solvers": {"errors", "blas"},
    "masked": {"errors", "lazy", "linear"},
    "tables": {"errors", "lazy"},
    "decide": {"errors", "section"},
}
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
)
PUBLIC = [
    name for name in MODULES if not any(part.startswith("_") for part in name.split(".")) and not name.endswith(".cli")
]


def _path(module: str) -> Path:
    stem = PACKAGE.parent.joinpath(*module.split("."))
    return stem / "__init__.py" if stem.is_dir() else stem.with_suffix(".py")


def _room(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "polytask" and len(parts) > 1 else None


def _imports(tree: ast.AST) -> list[str]:
    """Full names of what a module imports at run time, also inside functions, without what only type checkers see."""
    found: list[str] = []
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            found.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found.extend(f"{node.module}.{alias.name}" for alias in node.names)
        waiting.extend(ast.iter_child_nodes(node))
    return found


def _loaded_by(statement: str, packages: set[str]) -> set[str]:
    """Which of the packages a fresh interpreter has loaded after the statement."""
    code = f"import sys; {statement}; print(*sorted({packages!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("import polytask", {"torch", "numpy", "scipy", "sklearn", "pandas", "matplotlib", "accelerate"}),
        ("import polytask.errors", {"torch", "numpy", "scipy", "sklearn", "pandas"}),
        ("import polytask.folders", {"torch", "numpy", "pydantic", "safetensors"}),
        ("import polytask.solvers", {"torch", "sklearn", "pandas", "matplotlib"}),
        ("import polytask.tables", {"torch", "matplotlib"}),
        ("from polytask.masked import masked_score, make_task_scorer", {"torch", "matplotlib"}),
        ("import polytask.decide", {"torch", "matplotlib", "sklearn"}),
        ("import polytask.schedule", {"torch", "scipy", "sklearn", "pandas", "matplotlib"}),
        ("import polytask.balance", {"accelerate", "pandas", "matplotlib", "sklearn", "torchmetrics"}),
        ("import polytask.train", {"pandas", "torchmetrics", "matplotlib", "sklearn", "accelerate", "scipy.linalg"}),
        ("import polytask.study", {"torchmetrics", "scipy.stats", "sklearn", "polytask.linear", "jinja2"}),
        ("import polytask.cli", {"torch", "sklearn", "pandas", "matplotlib", "accelerate", "torchmetrics"}),
    ],
)
def test_importing_does_not_load_heavy_packages(statement, heavy):
    assert _loaded_by(statement, heavy) == set()


def test_the_probe_of_loaded_packages_sees_what_is_loaded():
    assert _loaded_by("import numpy", {"numpy", "torch"}) == {"numpy"}


def test_every_lazy_name_resolves():
    for name in polytask.__all__:
        assert getattr(polytask, name) is not None
    assert set(polytask.__all__) <= set(dir(polytask))


def test_a_wrong_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Balancr'"):
        _ = polytask.Balancr


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_downward(module):
    room = _room(module)
    for name in _imports(ast.parse(_path(module).read_text())):
        other = _room(name)
        if name.split(".")[0] != "polytask" or other == room:
            continue
        if room is None and other == "version":
            continue
        assert room is not None, f"{module} imports {name}: the top level loads every room on first use"
        assert room in LEVELS, f"the room {room!r} has no level here yet"
        assert other in LEVELS, f"{module} imports {name}: from the room it lives in, not from the top level"
        assert LEVELS[other] < LEVELS[room], f"{module} imports {name}, which is not below it"
        assert other in ONLY.get(room, LEVELS), f"{module} imports {name}; {room} may import only {ONLY[room]}"


@pytest.mark.parametrize("module", [name for name in MODULES if name != "polytask"])
def test_rooms_do_not_reach_others_through_the_top_level(module):
    """``polytask.data`` after ``import polytask`` would be an import that the test above cannot see."""
    used = {
        node.attr
        for node in ast.walk(ast.parse(_path(module).read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "polytask"
    }
    assert used == set()


@pytest.mark.parametrize("module", [module for module in MODULES if module.startswith("polytask.linear.core.")])
def test_what_linear_computes_with_knows_no_estimator(module):
    for name in _imports(ast.parse(_path(module).read_text())):
        if name.startswith("polytask.linear"):
            assert name.startswith("polytask.linear.core."), f"{module} imports {name}, which is above it"


def _walks(graph: dict[str, set[str]], start: str) -> set[str]:
    """Every module that is entered from a module, or from what it imports."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        new = graph[waiting.pop()] - seen
        seen |= new
        waiting.extend(new)
    return seen


def _graph(modules: list[str]) -> dict[str, set[str]]:
    """Modules, each with those of them that it imports."""
    graph = {}
    for module in modules:
        names = _imports(ast.parse(_path(module).read_text()))
        graph[module] = {name if name in modules else name.rpartition(".")[0] for name in names} & set(modules)
    return graph


@pytest.mark.parametrize("room", list(LEVELS))
def test_no_module_of_a_room_imports_itself_by_a_detour(room):
    graph = _graph([name for name in MODULES if _room(name) == room])
    assert {module for module in graph if module in _walks(graph, module)} == set()


def test_a_detour_is_seen():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}
    assert [module for module in graph if module in _walks(graph, module)] == ["a", "b", "c"]


def test_the_scan_of_imports_sees_functions_and_skips_type_checking():
    source = "from a import b\ndef f():\n    import c.d\nif TYPE_CHECKING:\n    import e\nelse:\n    import f\n"
    assert sorted(_imports(ast.parse(source))) == ["a.b", "c.d", "f"]


@pytest.mark.parametrize("name", PUBLIC)
def test_the_public_names_exist_and_are_documented(name):
    module = importlib.import_module(name)
    assert module.__doc__, f"{name} has no docstring"
    if not hasattr(module, "__all__"):
        assert len(ast.parse(_path(name).read_text()).body) == 1, f"{name} has no __all__"
        return
    assert len(set(module.__all__)) == len(module.__all__), "a name is listed twice"
    for public in module.__all__:
        thing = getattr(module, public)
        if inspect.isclass(thing) or inspect.isroutine(thing):
            assert "__doc__" not in vars(thing) or vars(thing)["__doc__"], f"{name}.{public} has no docstring"
            text = inspect.getdoc(thing)
            assert text, f"{name}.{public} has no docstring"
            assert not text.startswith(f"{public}("), f"{name}.{public} has only the docstring dataclass makes"


@pytest.mark.parametrize("module", MODULES)
def test_files_stay_short(module):
    lines = len(_path(module).read_text().splitlines())
    is_method = re.fullmatch(r"polytask\.balance\.(loss|gramian|jacobian)\.\w+", module)
    assert lines <= (150 if is_method else 400)


def test_no_file_names_a_path_of_somebodys_machine():
    pattern = re.compile(r"(?<![\w.:/])/(?:home|Users|root|work|opt|mnt)/\w")
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode != 0:
        pytest.skip("not a git checkout: the project's files cannot be told from build outputs")
    guilty = []
    for name in filter(None, listing.stdout.split("\0")):
        path = ROOT / name
        if not path.is_file() or path.suffix in {".png", ".gz", ".parquet", ".safetensors"}:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if pattern.search(line):
                guilty.append(f"{name}:{number}: {line.strip()}")
    assert guilty == []


def _symbols(text: str) -> set[str]:
    """Single letters that stand by themselves in a formula."""
    return set(re.findall(r"(?<![A-Za-z_])[A-Za-z](?![A-Za-z_])", text))


@pytest.mark.parametrize("module", MODULES)
def test_no_formula_begins_with_a_capital_that_is_no_symbol_of_its_own(module):
    """Fixers of docstrings capitalise the first letter, also of a formula: "Z − y" for z − y."""
    wrong = []
    for node in ast.walk(ast.parse(_path(module).read_text(encoding="utf-8"))):
        text = ast.get_docstring(node) if isinstance(node, (ast.ClassDef, ast.FunctionDef)) else None
        first = re.match(r"([B-HJ-Z])(?![A-Za-z_])", text or "")
        if text is None or first is None:
            continue
        letter, known = first[1], _symbols(text[1:])
        if isinstance(node, ast.FunctionDef):
            known |= {argument.arg for argument in [*node.args.args, *node.args.kwonlyargs]}
        if letter.lower() in known and letter not in known:
            wrong.append(text.splitlines()[0])
    assert not wrong
