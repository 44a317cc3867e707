"""Nothing that is not finite is stepped on, saved or handed back."""

import pytest
import torch

from polytask.balance import Balancer
from polytask.errors import ConfigError, NonFiniteError
from polytask.study.run import _engine
from polytask.train import Trainer
from polytask.train.health import Health


def trainer_for(net, tasks, method="equal", **options):
    return Trainer(net, tasks, method, progress=False, **{"epochs": 3, "batch_size": 16, **options})


class Bomb:
    """From the second epoch on, one task's gradient is NaN while its loss is finite."""

    def __init__(self, net):
        self.steps, self.armed = 0, False
        self.net, self.head = net, next(module for module in net.modules() if isinstance(module, torch.nn.Linear))
        net.register_forward_hook(self)

    def __call__(self, module, inputs, output):
        if not (self.armed and module.training):
            return output
        weight = self.head.weight
        return {**output, "a": output["a"] + (weight - weight.detach()).abs().sqrt().sum()}


@pytest.mark.parametrize("method", ["equal", "uw", "upgrad", "graddrop", "orthogonal_gradients"])
def test_a_nan_gradient_stops_the_run_and_touches_neither_model_nor_checkpoint(
    method, make_net, make_source, tasks, tmp_path
):
    net, source = make_net(), make_source()
    bomb = Bomb(net)

    def arm(history):
        bomb.armed = True
        bomb.good = {name: value.clone() for name, value in net.state_dict().items()}

    trainer = trainer_for(net, tasks, method, out=tmp_path, on_epoch=arm)
    with pytest.raises(NonFiniteError, match="gradient"):
        trainer.fit(source, val=source)
    assert all(torch.equal(bomb.good[name], value) for name, value in net.state_dict().items())
    other = trainer_for(make_net(), tasks, method)
    other.load(tmp_path / "checkpoint")
    assert other.history.epochs == 1
    assert all(torch.isfinite(value).all() for value in other.model.state_dict().values())


@pytest.mark.parametrize("method", ["equal", "upgrad"])
def test_a_broken_task_can_be_skipped_in_training(method, make_net, make_source, tasks):
    net, source = make_net(), make_source()
    Bomb(net).armed = True
    balancer = Balancer(method, tasks=tasks, nonfinite="skip", announce=None)
    trainer = trainer_for(net, tasks, balancer, epochs=1)
    trainer.fit(source)
    assert all(torch.isfinite(value).all() for value in net.state_dict().values())


class Overflowing(torch.optim.SGD):
    """Makes infinities of finite gradients, as too high a learning rate does."""

    def __init__(self, parameters, lr=1.0):
        super().__init__(parameters, lr=lr)
        self.taken = 0

    def step(self, closure=None):
        self.taken += 1
        super().step(closure)
        if self.taken == 9:  # of six steps in an epoch
            self.param_groups[0]["params"][0].data.view(-1)[0] = float("inf")


@pytest.mark.parametrize("every", [None, 1])
def test_infinities_that_the_optimizer_makes_are_never_saved(every, make_net, make_source, tasks, tmp_path):
    net, source = make_net(), make_source()
    options = {"optimizer": Overflowing, "lr": 1e-3, "out": tmp_path, "checkpoint_every": every}
    with pytest.raises(NonFiniteError, match=r"not finite after step 9, although every gradient was"):
        trainer_for(net, tasks, **options).fit(source, val=source)
    other = trainer_for(make_net(), tasks)
    other.load(tmp_path / "checkpoint")
    assert all(torch.isfinite(value).all() for value in other.model.state_dict().values())


def test_what_is_looked_at():
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    net.register_buffer("mask", torch.tensor([0.0, -float("inf")]))
    net.register_buffer("count", torch.tensor(3))
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.randn(4, 2)).sum().backward()
    optimizer.step()
    health = Health(net, optimizer)
    health.check(1)
    for tensor, name in (
        (net[0].weight.data, "0.weight"),
        (net[1].running_mean, "1.running_mean"),
        (optimizer.state[net[0].bias]["exp_avg_sq"], "the optimizer's exp_avg_sq of 0.bias"),
    ):
        before = tensor.clone()
        tensor.view(-1)[0] = float("nan")
        with pytest.raises(NonFiniteError, match=name):
            health.check(2)
        tensor.copy_(before)
    health.check(3)


def test_evidence_that_the_trainer_cannot_give_is_refused_before_anything_runs(make_net, make_source, tasks):
    with pytest.raises(ConfigError, match=r"grads='sub_batch' .* forward pass"):
        trainer_for(make_net(), tasks, Balancer("upgrad", grads="sub_batch", announce=None))
    trainer_for(make_net(), tasks, Balancer("uw", grads="sub_batch", announce=None))  # looks at losses only
    with pytest.raises(ConfigError, match=r"grads must be 'params' or 'features' in a comparison, found 'sub_batch'"):
        _engine({"grads": "sub_batch"})


def test_coba_is_refused_for_its_own_reason(make_net, tasks):
    with pytest.raises(ConfigError, match="CoBa asks for each task's loss on a validation batch after every step"):
        trainer_for(make_net(), tasks, "coba")
