"""One class for every list of names: lookup, what a program or a package adds, and what is refused."""

import pytest

from polytask.balance import METHODS
from polytask.balance.gramian.mgda import MGDA
from polytask.data import DATASETS
from polytask.deploy import FORMS
from polytask.errors import ConfigError, MethodError, TaskError
from polytask.linear import ESTIMATORS
from polytask.registry import Registry, check_options
from polytask.share import ENCODERS
from polytask.study.contenders import CONTENDERS
from polytask.tasks import KINDS

ALL = [METHODS, KINDS, ENCODERS, DATASETS, ESTIMATORS, CONTENDERS, FORMS]
EVERY = pytest.mark.parametrize("registry", ALL, ids=lambda registry: registry.what)


@EVERY
def test_every_place_holds_what_it_says(registry):
    for name in registry.own:
        assert registry.fits(registry[name]), name
    assert list(registry)[: len(registry.own)] == list(registry.own)


@EVERY
def test_every_registry_has_an_entry_point_group_of_its_own(registry):
    assert registry.group == f"polytask.{registry.what}s"


@EVERY
def test_an_unknown_name_is_answered_with_the_nearest(registry):
    name = next(iter(registry))
    with pytest.raises(registry.error, match=f"unknown {registry.what} '{name}x'; did you mean '{name}'"):
        registry.find(f"{name}x")


def test_a_program_adds_its_own_and_takes_it_back():
    mine = type("Mine", (MGDA,), {})
    METHODS["mine"] = mine
    try:
        assert METHODS["mine"] is mine
        assert "mine" in list(METHODS)
        with pytest.raises(ConfigError, match="there is a method called 'mine' already"):
            METHODS["mine"] = MGDA
    finally:
        del METHODS["mine"]
    assert "mine" not in METHODS


@pytest.mark.parametrize(("registry", "error"), [(METHODS, MethodError), (KINDS, TaskError), (ENCODERS, ConfigError)])
def test_what_does_not_fit_is_refused(registry, error):
    with pytest.raises(error, match=f"'mine' is not an? {registry.what}: expected .* found 3"):
        registry["mine"] = 3


def test_polytasks_own_names_are_neither_replaced_nor_removed():
    with pytest.raises(ConfigError, match="already"):
        METHODS["mgda"] = MGDA
    with pytest.raises(KeyError):
        del METHODS["mgda"]


def test_a_package_adds_a_kind(monkeypatch, tmp_path):
    info = tmp_path / "more_kinds-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: more-kinds\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[polytask.kinds]\nother = polytask.tasks.kinds.regression:Regression\n")
    monkeypatch.syspath_prepend(tmp_path)
    fresh = Registry("kind", KINDS.own, package="polytask.tasks.kinds", group=KINDS.group, fits=KINDS.fits)
    assert fresh["other"] is KINDS["regression"]
    assert set(fresh) == {*KINDS.own, "other"}


def test_options_are_checked_by_name():
    def made(data, *, width=3, depth):
        """Something with options."""

    check_options("encoder 'x'", made, ["depth"], skip=1)
    with pytest.raises(ConfigError, match="unknown option of encoder 'x': 'wdith'; did you mean 'width'"):
        check_options("encoder 'x'", made, ["depth", "wdith"], skip=1)
    with pytest.raises(ConfigError, match="encoder 'x' needs the option depth, as in 'x:depth=…'"):
        check_options("encoder 'x'", made, [], skip=1, as_in="x:")
    check_options("anything", lambda **options: options, ["whatever"])
