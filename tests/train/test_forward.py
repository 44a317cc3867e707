import pytest
import torch
from torch import nn

from polytask.data import Batch, Part
from polytask.errors import ConfigError, TaskError
from polytask.train.forward import Forward, frozen_side_effects

CPU = torch.device("cpu")


def batch_of(*parts):
    return Batch(tuple(Part(x, y) for x, y in parts), tuple(str(i) for i in range(len(parts))))


def test_losses_are_the_tasks_own(make_net, make_source, tasks):
    net = make_net()
    inputs, targets = make_source(missing=["b"]).batch(torch.arange(10))
    found = Forward(net, tasks, device=CPU).losses(batch_of((inputs, targets)))
    expected = tasks.losses(net(inputs), targets)
    assert found.values.keys() == expected.keys()
    assert all(torch.equal(found.values[name], expected[name]) for name in expected)
    assert found.counts == {"a": 10, "b": 5}


def test_a_task_in_two_parts_is_averaged_over_all_its_labels(make_net, make_source, tasks):
    net = make_net()
    inputs, targets = make_source(missing=["a"]).batch(torch.arange(30))
    parts = [
        (inputs[:7], {name: y[:7] for name, y in targets.items()}),
        (inputs[7:], {"a": targets["a"][7:]}),
    ]
    found = Forward(net, tasks, device=CPU).losses(batch_of(*parts))
    assert found.counts == {"a": 15, "b": 7}
    torch.testing.assert_close(found.values["a"], tasks["a"].loss(net(inputs)["a"], targets["a"]))
    torch.testing.assert_close(found.values["b"], tasks["b"].loss(net(inputs[:7])["b"], targets["b"][:7]))


def test_only_wanted_tasks_are_computed(make_net, make_source, tasks):
    net = make_net()
    called = []
    net.heads["b"].register_forward_hook(lambda *_: called.append("b"))
    inputs, targets = make_source().batch(torch.arange(4))
    Forward(net, tasks.subset(["a"]), device=CPU).losses(batch_of((inputs, targets)))
    Forward(net, tasks, device=CPU).losses(batch_of((inputs, {"a": targets["a"]})))
    assert called == []


def test_plain_modules_are_called_without_tasks(make_source, tasks):
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(8, 2)

        def forward(self, x):
            y = self.layer(x)
            return {"a": y[:, 0], "b": y[:, 1]}

    inputs, targets = make_source().batch(torch.arange(4))
    assert set(Forward(Plain(), tasks, device=CPU).losses(batch_of((inputs, targets))).values) == {"a", "b"}


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (torch.zeros(4), "must return a dictionary from task names to predictions, found Tensor"),
        ({"a": torch.zeros(4, 1), "bb": torch.zeros(4, 1)}, "unknown task 'b'; did you mean 'bb'"),
        ({"a": torch.zeros(4, 3), "b": torch.zeros(4, 1)}, "task 'a'.*4, 3"),
    ],
)
def test_wrong_outputs_are_named(outputs, message, make_source, tasks):
    class Wrong(nn.Module):
        def forward(self, x):
            return outputs

    inputs, targets = make_source().batch(torch.arange(4))
    with pytest.raises(TaskError, match=message):
        Forward(Wrong(), tasks, device=CPU).losses(batch_of((inputs, targets)))


def test_batch_of_other_tasks_only_is_an_error(make_net, tasks):
    with pytest.raises(TaskError, match="targets of aa, but the tasks to train are a, b"):
        Forward(make_net(), tasks, device=CPU).losses(batch_of((torch.zeros(2, 8), {"aa": torch.zeros(2)})))


def test_features_are_what_the_heads_read(make_net, make_source, tasks):
    net = make_net()
    inputs, targets = make_source().batch(torch.arange(6))
    found = Forward(net, tasks, device=CPU, features=True).losses(
        batch_of((inputs, targets), (inputs[:2], {"a": targets["a"][:2]}))
    )
    assert [z.shape for z in found.features] == [(6, 16), (2, 16)]
    assert torch.autograd.grad(found.values["a"], found.features[1])[0].abs().sum() > 0
    with pytest.raises(ConfigError, match=r"Linear has no encode and no decode"):
        Forward(nn.Linear(2, 2), tasks, device=CPU, features=True)


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_low_precision_runs_the_model_and_not_the_loss(precision, dtype, make_net, make_source, tasks):
    net = make_net()
    seen = []
    net.trunk.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    inputs, targets = make_source().batch(torch.arange(32))
    low = Forward(net, tasks, device=CPU, precision=precision).losses(batch_of((inputs, targets)))
    full = Forward(net, tasks, device=CPU).losses(batch_of((inputs, targets)))
    assert seen == [dtype, torch.float32]
    for name in tasks:
        assert low.values[name].dtype == torch.float32
        torch.testing.assert_close(low.values[name], full.values[name], rtol=0.02, atol=0)


def test_frozen_side_effects_keeps_statistics_and_random_state_and_repeats_masks(make_net):
    net = make_net(dropout=0.5, norm=True).train()
    x = torch.randn(16, 8)
    start = torch.get_rng_state()
    first = net(x)["a"].detach()
    after = torch.get_rng_state()
    before = {name: value.clone() for name, value in net.named_buffers()}
    with frozen_side_effects(net, [start]):
        again = net(x)["a"].detach()
    assert torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), after)
    assert all(torch.equal(value, before[name]) for name, value in net.named_buffers())
    assert before["trunk.1.num_batches_tracked"] == 1
