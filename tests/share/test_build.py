"""Models for a dataset: the registry, and initial parameters that make comparisons paired."""

import subprocess
import sys

import pytest
import torch

from polytask.data import InputSpec, MultiTaskData, TensorSource
from polytask.errors import ConfigError, TaskError
from polytask.share import ARCHITECTURES, HardSharing, MultiTaskModel, build_model, local_seed
from polytask.tasks import Task, TaskSet

from .cases import CASES


@pytest.fixture
def data():
    tasks = TaskSet([Task("age"), Task("sex", "binary"), Task("grade", "ordinal", classes=4)])
    rows = TensorSource(torch.randn(6, 5), {"age": torch.randn(6)})
    return MultiTaskData("toy", tasks, rows, rows, rows, InputSpec("vector", (5,)), "mlp:8,4")


def test_default_is_hard_sharing_over_the_datas_encoder(data):
    model = build_model(data)
    assert isinstance(model, HardSharing)
    assert (model.width, model.tasks) == (4, data.tasks)
    assert model(data.train.batch(torch.arange(6))[0])["grade"].shape == (6, 3)


@pytest.mark.parametrize("seed", [0, 1, 12345678901234567890])
def test_single_task_model_starts_where_the_multi_task_model_does(data, seed):
    """Paired comparisons: trunk and head of a task depend on the seed and the task's name, not on the other tasks."""
    joint = build_model(data, seed=seed, head_hidden=(3,)).state_dict()
    seen = set()
    for name in data.tasks:
        alone = build_model(data, tasks=[name], seed=seed, head_hidden=(3,)).state_dict()
        for key, value in alone.items():
            torch.testing.assert_close(value, joint[key], rtol=0, atol=0)
        seen |= set(alone)
    assert seen == set(joint)


def test_other_seeds_and_other_tasks_start_elsewhere(data):
    zero, one = build_model(data, seed=0).state_dict(), build_model(data, seed=1).state_dict()
    weights = [key for key in zero if key.endswith("weight")]
    assert weights
    assert all(not torch.equal(zero[key], one[key]) for key in weights)
    assert not torch.equal(zero["heads.age.weight"], zero["heads.sex.weight"])


def test_global_generator_is_left_alone_and_not_used(data):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = build_model(data, seed=0)(torch.ones(1, 5))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    torch.testing.assert_close(build_model(data, seed=0)(torch.ones(1, 5)), first, rtol=0, atol=0)


def test_no_seed_draws_from_the_global_generator(data):
    outputs = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        outputs.append(build_model(data, seed=None)(torch.ones(1, 5))["age"])
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


def test_seeds_mean_the_same_in_every_process():
    code = """
import torch
from polytask.share import local_seed
with local_seed(3, "head", "age"):
    print(torch.rand(()).item())
"""
    with local_seed(3, "head", "age"):
        here = torch.rand(()).item()
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "9"}
    )
    assert float(said.stdout) == here


def test_encoder_may_be_text_or_a_module(data):
    assert build_model(data, encoder="mlp:9").width == 9
    own = torch.nn.Linear(5, 3)
    assert build_model(data, encoder=own).encoder is own


def test_mistakes_name_the_nearest(data):
    with pytest.raises(ConfigError, match="unknown architecture 'hrad'; did you mean 'hard'"):
        build_model(data, architecture="hrad")
    with pytest.raises(TaskError, match="unknown task 'agee'; did you mean 'age'"):
        build_model(data, tasks=["agee"])
    with pytest.raises(ConfigError, match="unknown encoder"):
        build_model(data, encoder="nlp:3")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_architectures_are_multi_task_models_that_override_nothing_concrete(name):
    """Abstract methods are implemented; concrete ones of the base class stay as they are."""
    cls = ARCHITECTURES[name]
    assert issubclass(cls, MultiTaskModel)
    assert not cls.__abstractmethods__
    concrete = {
        attribute
        for attribute, value in vars(MultiTaskModel).items()
        if not attribute.startswith("__")
        and not getattr(value, "__isabstractmethod__", False)
        and attribute != "_abc_impl"
    }
    assert not concrete & set(vars(cls))


def test_every_architecture_is_in_the_conformance_list():
    assert set(ARCHITECTURES.own) <= {case.name for case in CASES}
