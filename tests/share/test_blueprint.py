"""The single builder: options declared and checked, seeds for every encoder, an architecture of one's own."""

import functools
import inspect

import pytest
import torch
from torch import nn

import polytask as pt
from polytask.data import InputSpec, MultiTaskData, TensorSource
from polytask.errors import ConfigError
from polytask.share import ARCHITECTURES, Blueprint, HardSharing, MultiTaskModel, build_head, build_model
from polytask.share.blueprint import encoder_name, find_function
from polytask.share.naming import TaskModules
from polytask.share.options import fraction, whole, widths
from polytask.study import Config, compare
from polytask.tasks import Task, TaskSet
from tests.study.toy import toy_data


class Mixture(MultiTaskModel):
    """A toy with options: the mean of some experts, and a head per task."""

    options = {"experts": whole(2), "dropout": fraction(0.0)}  # noqa: RUF012

    def __init__(self, encoder, tasks, *, experts=2, dropout=0.0, seed=None):
        super().__init__(tasks)
        self.encoder = encoder
        self.experts = nn.ModuleList(nn.Linear(encoder.out_features, 4) for _ in range(experts))
        self.drop, self.seed, self.heads = nn.Dropout(dropout), seed, TaskModules()
        for task in self.tasks.values():
            self._extend(task)

    def _extend(self, task):
        self.heads[task.name] = build_head(task, 4, seed=self.seed)

    def encode(self, inputs):
        features = self.encoder(inputs)
        return self.drop(torch.stack([expert(features) for expert in self.experts]).mean(0))

    def decode(self, features, tasks=None):
        return {name: self.heads[name](features) for name in self.select(tasks)}

    def shared_parameters(self):
        yield from self.encoder.parameters()
        yield from self.experts.parameters()

    def task_parameters(self, name):
        return self.heads[name].parameters()


@pytest.fixture
def mixture():
    ARCHITECTURES["mixture"] = Mixture
    yield
    del ARCHITECTURES["mixture"]


@pytest.fixture
def data():
    tasks = TaskSet([Task("age"), Task("sex", "binary")])
    rows = TensorSource(torch.randn(6, 5), {"age": torch.randn(6), "sex": torch.arange(6) % 2})
    return MultiTaskData("toy", tasks, rows, rows, rows, InputSpec("vector", (5,)), "mlp:8,4")


def noisy(inputs):
    """An encoder of one's own."""
    return nn.Sequential(nn.Linear(inputs.shape[0], 3), nn.Dropout(0.5), nn.ReLU())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_options_are_declared_with_the_constructors_names_and_defaults(name):
    parameters = dict(list(inspect.signature(ARCHITECTURES[name]).parameters.items())[2:])
    declared = ARCHITECTURES[name].options
    assert set(declared) == set(parameters) - {"seed", "heads"}
    assert {key: option.default for key, option in declared.items()} == {
        key: parameters[key].default for key in declared
    }


@pytest.mark.parametrize(
    ("option", "good", "bad"),
    [
        (whole(2), [1, 8], [0, -1, 1.5, True, "2", None, float("nan")]),
        (whole(None), [1, None], [0, "x"]),
        (fraction(0.1), [0, 0.0, 0.99], [1, -0.1, "0", None, True, float("nan")]),
        (widths(), [[], [3], (4, 5)], [[0], "12", 3, [1.5], [True], None]),
    ],
)
def test_options_take_what_they_say_and_nothing_else(option, good, bad):
    for value in good:
        option.read(value)
    for value in bad:
        with pytest.raises((ValueError, TypeError)):
            option.read(value)


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ("hrad", "did you mean 'hard'"),
        ({"name": "hard", "head_hiden": [3]}, "did you mean 'head_hidden'"),
        ({"name": "hard", "head_hidden": [0]}, r"head_hidden must be a list of whole numbers ≥ 1, found \[0\]"),
        ({"name": "hard", "width": "wide"}, "width must be a whole number ≥ 1, found 'wide'"),
        ({"head_hidden": [3]}, "a name, or a table with a name"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_built(data, architecture, message):
    with pytest.raises(ConfigError, match=message):
        Blueprint.of(data, architecture=architecture)


@pytest.mark.parametrize("encoder", ["mlp:6", noisy])
def test_a_seed_decides_every_parameter_whatever_the_encoder(data, encoder):
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first = Blueprint.of(data, encoder=encoder, seed=4).build().state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(5)
    second = build_model(data, encoder=encoder, seed=4).state_dict()
    other = Blueprint.of(data, encoder=encoder, seed=6).build().state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not any(torch.equal(first[key], other[key]) for key in first if key.endswith("weight"))


def test_plain_values_are_the_whole_blueprint(data):
    blueprint = Blueprint.of(data, encoder=noisy, architecture={"name": "hard", "head_hidden": [2]}, tasks=["sex"])
    again = Blueprint.from_dict(blueprint.to_dict())
    assert again == blueprint
    assert again.encoder is noisy


@pytest.mark.parametrize("name", ["nowhere:f", "polytask.share:nothing", "no_colon", "polytask.share:__name__", ":f"])
def test_a_function_that_is_not_there_is_named(name):
    with pytest.raises(ConfigError, match="the encoder was made by the function"):
        find_function(name)


def test_heads_of_ones_own_still_work(data):
    own = nn.Linear(4, 1)
    model = build_model(data, heads={"age": own})
    assert isinstance(model, HardSharing)
    assert model.heads["age"] is own


def test_an_encoder_that_makes_no_module_is_named(data):
    with pytest.raises(ConfigError, match=r"<lambda> must return a module, found int"):
        Blueprint.of(data, encoder=lambda inputs: 3).build()


def test_an_architecture_of_ones_own_needs_a_class_and_a_line(mixture, tmp_path):
    """Options from Python and from a configuration; trained, compared, kept and loaded."""
    data = toy_data()
    sharing = {"name": "mixture", "experts": 3}
    result = compare(
        data, methods=["stl", "equal"], seeds=1, architecture=sharing, train={"epochs": 1}, out=tmp_path, progress=False
    )
    assert result.protocol.architecture == "mixture (experts=3)"
    for trial in result.trials:
        loaded = pt.load(tmp_path / "trials" / trial.id)
        assert len(loaded.model.experts) == 3
        assert loaded.blueprint.options == {"experts": 3}
    more = {"name": "mixture", "experts": 4}
    again = compare(
        data, methods=["stl", "equal"], seeds=1, architecture=more, train={"epochs": 1}, out=tmp_path, progress=False
    )
    assert not {trial.id for trial in again.trials} & {trial.id for trial in result.trials}


@pytest.mark.parametrize(
    "model",
    [
        {"architecture": "mixture", "experts": 8},
        {"architecture": {"name": "mixture", "experts": 8}},
        {"architecture": {"name": "mixture"}, "experts": 8},
    ],
)
def test_a_configuration_takes_the_options_of_its_architecture(mixture, model):
    config = Config.of({"data": {"source": "multidigits"}, "model": model})
    assert config.compare_options()["architecture"] == {"name": "mixture", "experts": 8}
    assert Config.parse(config.to_toml()) == config
    for wrong, message in (({"expert": 8}, "did you mean 'experts'"), ({"experts": 0}, "a whole number ≥ 1")):
        with pytest.raises(ConfigError, match=rf"\[model\].*{message}"):
            Config.of({"data": {"source": "multidigits"}, "model": {"architecture": "mixture", **wrong}})


def test_only_architectures_can_be_listed():
    with pytest.raises(ConfigError, match="a subclass of MultiTaskModel that declares options"):
        ARCHITECTURES["mine"] = nn.Linear


def made(inputs, width=4, loss=None):
    return torch.nn.Linear(inputs, width)


class Maker:
    def __call__(self, inputs):
        return torch.nn.Linear(inputs, 4)

    def make(self, inputs):
        return torch.nn.Linear(inputs, 4)


NAMED = {
    "partial": lambda: functools.partial(made, width=8),
    "partial of a partial": lambda: functools.partial(functools.partial(made, 3), loss=made),
    "partial of an object": lambda: functools.partial(made, Maker()),
    "object": Maker,
    "bound": lambda: Maker().make,
    "module": lambda: torch.nn.HuberLoss(delta=2.0),
}


@pytest.mark.parametrize("make", NAMED)
def test_a_name_holds_no_address(make):
    """Two objects made alike have one name, in whatever process; a trial that was kept is found again."""
    first, second = NAMED[make](), NAMED[make]()
    assert encoder_name(first) == encoder_name(second)
    assert "0x" not in encoder_name(first)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (functools.partial(made, width=8), functools.partial(made, width=9)),
        (torch.nn.HuberLoss(delta=1.0), torch.nn.HuberLoss(delta=2.0)),
        (
            torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor(2.0)),
            torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor(3.0)),
        ),
    ],
)
def test_a_name_tells_what_gives_other_numbers_apart(one, other):
    assert encoder_name(one) != encoder_name(other)
