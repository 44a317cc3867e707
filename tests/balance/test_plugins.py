"""Methods of other packages: found by entry point, imported when asked for, refused when they do not fit."""

import subprocess
import sys
import textwrap

import pytest
import torch

from polytask.balance import METHODS, Balancer, get_method
from polytask.errors import ConfigError, MethodError
from polytask.registry import Registry

SOURCE = """
    import numpy as np
    from polytask.balance import Card, GramianMethod, Solution

    class Loudest(GramianMethod):
        '''The longest gradient alone.'''

        card = Card("Loudest", "nobody, 2030", "https://example.org", "Shout.", "K", ("order of tasks",), ("by hand",))

        def __init__(self, share=1.0):
            super().__init__()
            self.share = share

        def solve(self, evidence):
            weights = np.zeros(evidence.size)
            weights[np.argmax(np.diag(evidence.inner))] = self.share
            return Solution(weights)

    not_a_method = 3
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Install a distribution whose entry points are given."""

    def install(points, name="loud-methods", module="loudly"):
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(SOURCE))
        info = tmp_path / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = [f"{key} = {value}" for key, value in points.items()]
        (info / "entry_points.txt").write_text("\n".join(["[polytask.methods]", *lines]) + "\n")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(METHODS, "_found", None)
        monkeypatch.delitem(sys.modules, module, raising=False)
        return tmp_path

    yield install
    sys.modules.pop("loudly", None)


def fresh():
    own = {"equal": "loss.equal:EW", "mgda": "gramian.mgda:MGDA"}
    return Registry(
        METHODS.what,
        own,
        package="polytask.balance",
        group=METHODS.group,
        fits=METHODS.fits,
        expected=METHODS.expected,
        error=MethodError,
    )


def test_a_plugin_is_a_method_like_any_other(package):
    package({"loudest": "loudly:Loudest"})
    assert "loudest" in METHODS
    assert "loudest" in list(METHODS)
    method = get_method("loudest", share=0.5)
    assert method.weights(torch.diag(torch.tensor([1.0, 9.0]))).tolist() == [0.0, 0.5]
    assert Balancer("loudest").method.card.title == "Loudest"
    with pytest.raises(ConfigError, match="did you mean 'share'"):
        get_method("loudest", shares=1)
    with pytest.raises(MethodError, match="did you mean 'loudest'"):
        get_method("loudes")


def test_plugins_are_imported_only_when_asked_for(package):
    package({"loudest": "loudly:Loudest"})
    registry = fresh()
    assert len(registry) == 3
    assert set(registry) == {"equal", "mgda", "loudest"}
    assert "loudly" not in sys.modules
    assert registry["loudest"].__name__ == "Loudest"
    assert "loudly" in sys.modules


def test_own_names_do_not_look_for_plugins(package):
    package({"mgda": "loudly:Loudest"})
    registry = fresh()
    assert registry["mgda"].__name__ == "MGDA"
    assert "equal" in registry


def test_a_name_of_polytask_is_refused(package):
    package({"mgda": "loudly:Loudest"})
    with pytest.raises(ConfigError, match=r"two methods are called 'mgda': one of polytask itself, one of .*loud-meth"):
        list(fresh())


def test_a_name_of_another_package_is_refused(package):
    package({"loudest": "loudly:Loudest"})
    package({"loudest": "loudly:Loudest"}, name="other-methods")
    with pytest.raises(ConfigError, match=r"'loudest'.*the package (loud|other)-\w+ .*the package (loud|other)-"):
        list(fresh())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("loudly:not_a_method", "not a method: expected a subclass .* found 3"),
        ("loudly:Missing", "cannot import method 'bad' of the package loud-methods"),
        ("absent_module:Loudest", "cannot import method 'bad' .* No module named"),
    ],
)
def test_what_is_not_a_method_is_refused(package, value, message):
    package({"bad": value})
    with pytest.raises(MethodError, match=message):
        fresh()["bad"]


@pytest.mark.slow
def test_the_command_line_shows_plugins(package):
    folder = package({"loudest": "loudly:Loudest"})
    script = f"import sys; sys.path.insert(0, {str(folder)!r}); from polytask.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "methods", "loudest"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Shout." in done.stdout
