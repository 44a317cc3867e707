"""Hard sharing: gradients are those of plain training and add up; names, widths and heads."""

import copy
import dataclasses
import pickle

import pytest
import torch
from torch import nn

from polytask.errors import ConfigError, TaskError
from polytask.share import HardSharing, TaskModules, build_head
from polytask.share.naming import module_key
from polytask.tasks import KINDS, Task, TaskSet

TASKS = TaskSet([Task("age"), Task("sex", "binary"), Task("colour", "multiclass", classes=4)])


def trunk():
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 6), nn.ReLU())


def targets(rows):
    return {"age": torch.randn(rows).double(), "sex": torch.randint(2, (rows,)), "colour": torch.randint(4, (rows,))}


def gradients(parameters):
    return [None if parameter.grad is None else parameter.grad.clone() for parameter in parameters]


def test_output_has_one_entry_per_task_in_order():
    model = HardSharing(trunk(), TASKS)
    output = model(torch.randn(7, 5))
    assert {name: tuple(value.shape) for name, value in output.items()} == {
        "age": (7, 1),
        "sex": (7, 1),
        "colour": (7, 4),
    }
    assert list(model(torch.randn(2, 5), tasks=["colour", "age"])) == ["age", "colour"]
    assert list(model(torch.randn(2, 5), tasks=[])) == []
    with pytest.raises(TaskError, match="unknown task 'sexx'; did you mean 'sex'"):
        model(torch.randn(2, 5), tasks=["sexx"])


def test_forward_is_encode_then_decode():
    model = HardSharing(trunk(), TASKS)
    x = torch.randn(3, 5)
    z = model.encode(x)
    assert z.shape == (3, 6)
    for name, value in model.decode(z, tasks=("sex",)).items():
        torch.testing.assert_close(value, model(x)[name])


def test_one_task_is_plain_training():
    """The same three steps of SGD with and without polytask end at the same parameters."""
    encoder = trunk().double()
    head = nn.Linear(6, 1).double()
    plain = nn.Sequential(copy.deepcopy(encoder), copy.deepcopy(head))
    model = HardSharing(encoder, [Task("age")], heads={"age": head})
    x, y = torch.randn(20, 5).double(), torch.randn(20).double()
    optimizers = [torch.optim.SGD(module.parameters(), lr=0.1) for module in (plain, model)]
    for _ in range(3):
        for optimizer in optimizers:
            optimizer.zero_grad()
        nn.functional.mse_loss(plain(x)[:, 0], y).backward()
        sum(model.tasks.losses(model(x), {"age": y}).values()).backward()
        for optimizer in optimizers:
            optimizer.step()
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-14)


@pytest.mark.parametrize("missing", [0.0, 0.6])
def test_shared_gradient_is_the_weighted_sum_of_the_tasks_gradients(missing):
    model = HardSharing(trunk(), TASKS).double()
    x, y = torch.randn(30, 5).double(), targets(30)
    y["age"][torch.rand(30) < missing] = float("nan")
    y["sex"][torch.rand(30) < missing] = -100
    weights = {"age": 0.5, "sex": 2.0, "colour": 1.0}

    losses = TASKS.losses(model(x), y)
    sum(weights[name] * loss for name, loss in losses.items()).backward()
    joint = gradients(model.encoder.parameters())

    total = [torch.zeros_like(parameter) for parameter in model.encoder.parameters()]
    for name in TASKS:
        model.zero_grad()
        TASKS.losses(model(x, tasks=[name]), y)[name].backward()
        own = gradients(model.encoder.parameters())
        total = [before + weights[name] * gradient for before, gradient in zip(total, own, strict=True)]
        others = [p for other in TASKS if other != name for p in model.task_parameters(other)]
        assert all(parameter.grad is None for parameter in others)
    torch.testing.assert_close(joint, total)


def test_rows_without_label_do_not_move_the_trunk():
    model = HardSharing(trunk(), [Task("age")]).double()
    x, y = torch.randn(10, 5).double(), torch.randn(10).double()
    y[4:] = float("nan")
    found = []
    for rows in (slice(0, 4), slice(0, 10)):
        model.zero_grad()
        model.tasks.losses(model(x[rows]), {"age": y[rows]})["age"].backward()
        found.append(gradients(model.parameters()))
    torch.testing.assert_close(*found)


def test_parameters_are_shared_or_of_one_task_and_nothing_else():
    model = HardSharing(trunk(), TASKS, head_hidden=(3,))
    parts = [set(map(id, model.shared_parameters()))] + [set(map(id, model.task_parameters(t))) for t in TASKS]
    assert set.union(*parts) == {id(parameter) for parameter in model.parameters()}
    assert sum(map(len, parts)) == len(list(model.parameters()))
    with pytest.raises(TaskError, match="unknown task 'height'"):
        list(model.task_parameters("height"))


def test_order_of_tasks_does_not_change_outputs():
    x = torch.randn(3, 5)
    encoder = trunk()
    forwards = HardSharing(encoder, TASKS, seed=1)(x)
    backwards = HardSharing(encoder, reversed(list(TASKS.values())), seed=1)(x)
    for name in TASKS:
        torch.testing.assert_close(forwards[name], backwards[name], rtol=0, atol=0)


def test_dictionary_inputs_reach_the_users_encoder_as_they_are():
    class Two(nn.Module):
        out_features = 3

        def forward(self, inputs):
            return inputs["a"] + inputs["b"]

    output = HardSharing(Two(), TASKS)({"a": torch.ones(2, 3), "b": torch.zeros(2, 3)})
    assert output["age"].shape == (2, 1)


class TestWidth:
    @pytest.mark.parametrize(
        "encoder",
        [
            nn.Linear(5, 6),
            nn.Sequential(nn.Linear(5, 6), nn.LayerNorm(6), nn.GELU(), nn.Dropout(0.1)),
            nn.Sequential(nn.Linear(5, 9), nn.Sequential(nn.Linear(9, 6), nn.ReLU()), nn.Identity()),
        ],
    )
    def test_is_read_from_the_last_layer(self, encoder):
        assert HardSharing(encoder, TASKS).width == 6

    @pytest.mark.parametrize("encoder", [nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten()), nn.Module()])
    def test_is_asked_for_when_unknown(self, encoder):
        with pytest.raises(ConfigError, match="pass width=, or give the encoder an attribute out_features"):
            HardSharing(encoder, TASKS)

    def test_is_not_needed_for_heads_of_the_user(self):
        model = HardSharing(nn.Flatten(), [Task("age")], heads={"age": nn.Linear(6, 1)})
        assert model(torch.zeros(2, 2, 3))["age"].shape == (2, 1)

    def test_that_is_wrong_is_noticed_with_both_numbers(self):
        with pytest.raises(ConfigError, match=r"width 4, the encoder returned \(2, 6\); pass width=6"):
            HardSharing(trunk(), TASKS, width=4)(torch.zeros(2, 5))

    def test_encoder_must_return_a_tensor(self):
        class Pair(nn.Module):
            def forward(self, x):
                return x, x

        with pytest.raises(ConfigError, match="must return a tensor, found tuple"):
            HardSharing(Pair(), TASKS, width=5)(torch.zeros(2, 5))


class TestHeads:
    def test_users_heads_are_kept_and_the_others_built(self):
        own = nn.Linear(6, 1)
        model = HardSharing(trunk(), TASKS, heads={"age": own, "sex": None}, head_hidden=(7,))
        assert model.heads["age"] is own
        assert [type(module) for module in model.heads["sex"]] == [nn.Linear, nn.ReLU, nn.Linear]

    def test_unknown_task_is_named(self):
        with pytest.raises(TaskError, match="heads: unknown task 'agee'; did you mean 'age'"):
            HardSharing(trunk(), TASKS, heads={"agee": nn.Linear(6, 1)})

    @pytest.mark.parametrize("widths", [(0, ()), (4, (0,))])
    def test_widths_are_positive(self, widths):
        with pytest.raises(ConfigError, match="head of task 'age': expected positive widths"):
            build_head(Task("age"), *widths)

    def test_every_kind_has_a_head(self):
        options = {"multiclass": {"classes": 3}, "multilabel": {"classes": 3}, "ordinal": {"classes": 3}}
        options["custom"] = {"loss": nn.functional.mse_loss, "classes": 2}
        for kind in KINDS:
            task = Task("t", kind, **options.get(kind, {}))
            assert build_head(task, 5)(torch.zeros(2, 5)).shape == (2, task.out_features)


class TestAddTask:
    def test_keeps_the_others_and_starts_where_a_joint_model_would(self):
        encoder = trunk()
        model = HardSharing(encoder, [TASKS["age"]], seed=3)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        model.add_task(TASKS["sex"])
        assert model.tasks.names == ("age", "sex")
        for name, value in before.items():
            torch.testing.assert_close(model.state_dict()[name], value, rtol=0, atol=0)
        joint = HardSharing(encoder, [TASKS["age"], TASKS["sex"]], seed=3)
        x = torch.randn(4, 5)
        torch.testing.assert_close(model(x), joint(x), rtol=0, atol=0)

    def test_takes_a_head(self):
        model, own = HardSharing(trunk(), [TASKS["age"]]), nn.Linear(6, 1)
        model.add_task(TASKS["sex"], head=own)
        assert model.heads["sex"] is own

    def test_refuses_a_name_twice_and_unknown_options_and_stays_as_it_was(self):
        model = HardSharing(trunk(), TASKS)
        with pytest.raises(TaskError, match="has a task 'age' already"):
            model.add_task(Task("age", "binary"))
        with pytest.raises(TaskError, match="takes head=, found haed"):
            model.add_task(Task("height"), haed=None)
        assert (model.tasks, len(model.heads)) == (TASKS, 3)


class TestNames:
    awkward = (
        "type",
        "train",
        "forward",
        "sepal.length",
        "sepal%2Elength",
        "%type",
        "_names",
        "training",
        "größe 1",
        "keys",
    )

    def test_any_task_name_works(self):
        model = HardSharing(trunk(), [Task(name) for name in self.awkward])
        x = torch.randn(2, 5)
        assert tuple(model(x)) == self.awkward
        again = HardSharing(trunk(), [Task(name) for name in self.awkward])
        again.load_state_dict(model.state_dict())
        torch.testing.assert_close(again(x), model(x))
        model.train()
        torch.testing.assert_close(pickle.loads(pickle.dumps(copy.deepcopy(model)))(x), model(x))

    def test_keys_are_distinct(self):
        assert len({module_key(name) for name in self.awkward}) == len(self.awkward)

    def test_modules_move_with_the_container(self):
        heads = TaskModules({"type": nn.Linear(2, 1)}).double()
        assert heads["type"].weight.dtype == torch.float64
        assert (list(heads), len(heads), "type" in heads, "x" in heads) == (["type"], 1, True, False)


class TestDescribe:
    def test_counts_parameters(self):
        model = HardSharing(trunk(), TASKS)
        model.encoder[0].requires_grad_(False)
        summary = model.describe()
        assert summary.shared == 5 * 8 + 8 + 8 * 6 + 6
        assert summary.per_task == {"age": 7, "sex": 7, "colour": 28}
        assert summary.total == sum(parameter.numel() for parameter in model.parameters())
        assert summary.frozen == 48
        assert summary.flops is None
        with pytest.raises(ValueError, match="call describe"):
            summary.flops_of(["age"])

    def test_counts_operations_per_row_of_any_subset(self):
        model = HardSharing(trunk(), TASKS)
        summary = model.describe(torch.randn(9, 5))
        assert summary.flops == {"": 2 * (5 * 8 + 8 * 6), "age": 12, "sex": 12, "colour": 48}
        assert summary.flops_of(["age", "colour"]) == 176 + 60
        assert dataclasses.asdict(summary) == summary.to_dict()

    def test_changes_nothing(self):
        encoder = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Dropout(0.5))
        model = HardSharing(encoder, TASKS)
        encoder[2].eval()
        before = copy.deepcopy(model.state_dict())
        state = torch.get_rng_state()
        model.describe(torch.randn(9, 5, generator=torch.Generator().manual_seed(0)))
        torch.testing.assert_close(model.state_dict(), before)
        assert torch.equal(torch.get_rng_state(), state)
        assert [module.training for module in encoder] == [True, True, False]

    def test_prints_a_table(self):
        text = str(HardSharing(trunk(), TASKS).describe(torch.randn(2, 5)))
        assert [line.split() for line in text.splitlines()[1:]] == [
            ["part", "parameters", "operations", "per", "row"],
            ["shared", "102", "176"],
            ["age", "7", "12"],
            ["sex", "7", "12"],
            ["colour", "28", "48"],
            ["total", "144", "248"],
        ]
