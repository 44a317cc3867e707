"""``polytask methods``."""

import json
import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest
from rich.cells import cell_len
from rich.console import Console

from polytask.balance import METHODS, registry
from polytask.cli import catalogue
from polytask.cli.catalogue import method_facts
from polytask.cli.methods import _List


def test_the_table_names_every_method_and_what_it_needs(polytask):
    outcome = polytask("methods", "--json")
    assert outcome.code == 0
    listed = {method["name"]: method for method in outcome.json["methods"]}
    assert set(listed) == set(METHODS)
    assert listed["upgrad"]["needs"] == "gramian"
    assert listed["famo"]["needs_after_step"] is True
    assert all(method["paper"] and method["verified"] and method["idea"] for method in listed.values())


def test_the_table_is_readable(polytask):
    outcome = polytask("methods")
    assert outcome.code == 0
    first_words = {line.split()[0] for line in outcome.out.splitlines() if line.strip()}
    assert set(METHODS) <= first_words


def test_a_card(polytask):
    card = METHODS["nash_mtl"].card
    assert card.title in polytask("methods", "nash_mtl").out
    assert polytask("methods", "nash_mtl", "--json").json["url"] == card.url


def test_an_unknown_method_names_the_nearest(polytask):
    outcome = polytask("methods", "fairgard")
    assert outcome.code == 2
    assert "did you mean 'fairgrad'?" in outcome.err


FACTS = {
    *("name", "title", "needs", "needs_after_step", "needs_metrics", "also_needs", "asks", "state", "cost", "idea"),
    *("invariances", "verified", "notes", "task_weights", "heads", "paper", "url", "package"),
}


def test_json_has_every_fact_of_every_method(polytask):
    listed = polytask("methods", "--json").json
    assert listed["broken"] == {}
    for method in listed["methods"]:
        assert set(method) == FACTS, method["name"]
        assert method["state"] is not None, method["name"]
        assert method["invariances"], method["name"]
        assert method["cost"][0] in "12K", method["name"]
        assert method["task_weights"], method["name"]
        assert any(f"'{policy}'" in method["heads"] for policy in ("plain", "weighted", "transformed")), method["name"]


@pytest.mark.parametrize(
    ("name", "per", "count"),
    [
        ("equal", "task", 0),
        ("lbtw", "task", 1),
        ("gradvac", "pair", 1),
        ("moco", "coordinate", 1),
        ("adatask", "coordinate", 2),
        ("cr_mogm", "inner", 1),
        ("igb_v2", "object", 1),
        ("igb_v2", "task", 2),
    ],
)
def test_the_state_is_that_of_the_method(name, per, count):
    assert len(method_facts(name, METHODS[name])["state"][per]) == count


def test_state_in_the_card(polytask):
    assert "first, second per task and coordinate" in polytask("methods", "adatask").out
    assert "none" in polytask("methods", "mgda").out


@pytest.mark.parametrize("width", [60, 80, 119, 120, 160, 400])
def test_the_list_fits_the_terminal_and_hides_nothing(width):
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    facts = [method_facts(name, METHODS[name]) for name in METHODS]
    console.print(_List(facts))
    console.file.close()
    text = console.export_text()
    assert max(cell_len(line.rstrip()) for line in text.splitlines()) <= width
    assert set(METHODS) <= {line.split()[0] for line in text.splitlines() if line.strip()}
    words = text.split()
    for method in facts:
        assert set(method["paper"].split()) <= set(words), method["name"]
        for sentence in (*method["invariances"], *method["verified"]):
            assert set(sentence.split()) <= {word.rstrip(";") for word in words} | set(words), method["name"]


def test_methods_are_grouped_by_what_they_need(polytask):
    text = polytask("methods").out
    places = [text.index(f"needs {needs}") for needs in ("losses", "gramian", "jacobian", "features")]
    assert places == sorted(places)
    assert text.index("\npcgrad") > places[1]
    assert text.index("\nuw") < places[1]


class Stranger(METHODS["mgda"].__bases__[0]):
    """A method that cannot be tried out."""

    card = METHODS["mgda"].card

    def __init__(self):
        super().__init__()
        raise RuntimeError("only on Sundays")

    def solve(self, evidence):
        raise NotImplementedError


def test_plugins_are_marked_and_broken_ones_do_not_hide_the_others(polytask, monkeypatch):
    group = registry.PLUGINS
    points = {
        "stranger": EntryPoint("stranger", f"{__name__}:Stranger", group),
        "gone": EntryPoint("gone", "no_such_module:Method", group),
    }
    monkeypatch.setattr(METHODS, "_found", points)
    monkeypatch.setattr(catalogue, "entry_points", lambda group: points.values())
    monkeypatch.setattr(EntryPoint, "load", lambda self: Stranger if self.name == "stranger" else _missing())
    outcome = polytask("methods", "--json")
    assert outcome.code == 0
    listed = {method["name"]: method for method in outcome.json["methods"]}
    assert listed["stranger"]["package"] == f"{__name__}:Stranger"
    assert listed["stranger"]["state"] is None
    assert "no_such_module" in outcome.json["broken"]["gone"]
    text = polytask("methods").out
    assert "left out: cannot import method 'gone'" in text
    assert f"(package {__name__}:Stranger)" in text


def _missing():
    raise ModuleNotFoundError("No module named 'no_such_module'")


def test_what_is_kept_is_what_the_classes_say():
    kept = json.loads(catalogue.FILE.read_text(encoding="utf-8"))
    assert kept["facts"] == json.loads(json.dumps(catalogue.fresh())), "run `make format`"
    assert kept["sources"] == catalogue._digest(), "run `make format`"


def test_changed_sources_are_read_afresh(monkeypatch):
    monkeypatch.setattr(catalogue, "_digest", lambda: "other")
    monkeypatch.setattr(catalogue, "fresh", lambda: {"methods": "read afresh"})
    assert catalogue.catalogue() == {"methods": "read afresh"}


def test_the_list_needs_no_torch():
    code = "import sys; from polytask.cli.catalogue import catalogue; catalogue(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_baseline_of_single_networks_is_explained(polytask):
    assert "One network per task" in polytask("methods", "stl").out
    assert polytask("methods", "stl", "--json").json["name"] == "stl"
