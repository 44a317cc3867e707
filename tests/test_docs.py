"""README, documentation and examples say what is so; their snippets run as tests of their own (see conftest.py)."""

import re
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from typer.main import get_command

import polytask
from polytask.cli import app
from polytask.study import Config

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += sorted((ROOT / "docs" / "rooms").glob("*.md"))
VERBS = get_command(app).commands


def _console_lines() -> list[tuple[str, str]]:
    """Every line of every console block that calls polytask or make, with the page it is from; remarks are cut off."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            lines = (re.sub(r" {2,}.*", "", line).strip() for line in block.splitlines())
            found.extend((page.name, line) for line in lines if line)
    return found


LINES = _console_lines()


@pytest.mark.parametrize(("page", "line"), [pair for pair in LINES if pair[1].startswith("polytask ")])
def test_command_lines_in_the_documentation_are_valid(page, line):
    _, verb, *rest = shlex.split(line)
    assert verb in VERBS, f"{page}: {line}"
    known = {option for parameter in VERBS[verb].params for option in parameter.opts}
    assert {word for word in rest if word.startswith("--")} <= known, f"{page}: {line}"


def test_the_documentation_shows_every_verb():
    shown = {line.split()[1] for _, line in LINES if line.startswith("polytask ")}
    assert shown == set(VERBS)


@pytest.mark.parametrize("target", sorted({line.split()[1] for _, line in LINES if line.startswith("make ")}))
def test_make_targets_in_the_documentation_exist(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("page", [page for page in PAGES if "```toml" in page.read_text()], ids=lambda page: page.name)
def test_configurations_in_the_documentation_are_valid(page):
    for block in re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL):
        Config.parse(block)


def test_the_readme_lists_the_rooms_there_are():
    folder = ROOT / "src" / "polytask"
    rooms = {path.parent.name for path in folder.glob("*/__init__.py")}
    assert set(re.findall(r"^\| `polytask\.(\w+)`", (ROOT / "README.md").read_text(), re.MULTILINE)) == rooms
    assert {path.stem for path in (ROOT / "docs" / "rooms").glob("*.md")} == rooms


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page):
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", prose):
        generated = page.parent.joinpath(target).resolve().parent.name == "generated"
        assert generated or (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_version_is_the_same_everywhere():
    assert 'path = "src/polytask/version.py"' in (ROOT / "pyproject.toml").read_text()
    assert metadata.version("polytask") == polytask.__version__
    assert f"Version {polytask.__version__}" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize(
    ("script", "options", "expected"),
    [
        ("own_loop.py", [], "fairgrad"),
        ("compare_table.py", ["--seeds", "2", "--epochs", "2"], "report.html"),
        ("linear_real_data.py", ["--splits", "2", "--only", "STAR"], "TaskRelationshipRegressorCV"),
    ],
)
def test_examples_run(script, options, expected, tmp_path):
    command = [sys.executable, "-W", "error", str(ROOT / "examples" / script), *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout


def test_every_example_is_run_here():
    marks = test_examples_run.pytestmark[0].args[1]
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == {script for script, *_ in marks}
