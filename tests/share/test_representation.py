"""What an architecture says that its tasks share, and what is done about it."""

import pytest
import torch
from torch import nn

from polytask.balance import Balancer
from polytask.data import TensorSource
from polytask.errors import ConfigError
from polytask.remedies import said_in
from polytask.share import MultiTaskModel, Representation
from polytask.tasks import Task, TaskSet
from polytask.train import Trainer

from .toys import MMoE

TASKS = TaskSet([Task("a"), Task("b"), Task("c")])


def rows(n=48, dtype=torch.float32):
    x = torch.randn(n, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)
    y = {"a": x[:, 0].clone(), "b": x[:, 1] - x[:, 0], "c": x.sum(1)}
    y["b"][::3] = float("nan")
    return TensorSource(x, y)


def mmoe(seed=0, **options):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        trunk = nn.Linear(5, 6)
    return MMoE(trunk, TASKS, seed=seed, **options)


def test_shared_or_a_reason():
    assert Representation.ONE.is_shared
    assert Representation.SEVERAL.is_shared
    for form in ("per_task", "nothing"):
        assert not Representation(form, "so it is").is_shared
        with pytest.raises(ValueError, match="needs a reason"):
            Representation(form)


@pytest.mark.parametrize(
    ("form", "words"), [("per_task", "every task reads a tensor of its own"), ("nothing", "tasks share nothing")]
)
def test_the_refusal_says_why_and_what_instead(form, words):
    with pytest.raises(ConfigError, match=rf"in Net {words}: so it is\. Use grads='params'"):
        Representation(form, "so it is").check("Net")
    with said_in("toml"), pytest.raises(ConfigError, match=r'grads = "features" takes .* Use grads = "params"'):
        Representation(form, "so it is").check("Net")


@pytest.mark.parametrize(
    ("said", "given"),
    [
        (Representation.ONE, {"z": torch.ones(2)}),
        (Representation.ONE, [torch.ones(2)]),
        (Representation.SEVERAL, torch.ones(2)),
        (Representation.SEVERAL, {}),
        (Representation.SEVERAL, (torch.ones(2), torch.ones(3))),
    ],
)
def test_what_encode_returns_is_what_was_said(said, given):
    if isinstance(given, tuple):
        assert said.tensors(given, "Net") == list(given)
        return
    with pytest.raises(ConfigError, match=r"Net\.encode\(\) says that it returns (one|several) tensors?"):
        said.tensors(given, "Net")


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("method", ["upgrad", "cagrad", "fairgrad"])
def test_the_trainer_takes_the_steps_of_a_hand_loop(method, accumulate):
    """Over the experts and what their gates read: Σ w_k·∇L_k with the weights of the summed Gramian."""
    source, model, twin = rows(dtype=torch.float64), mmoe().double(), mmoe().double()
    options = {"optimizer": "sgd", "lr": 0.05, "epochs": 1, "batch_size": 24, "progress": False}
    window = {"accumulate": accumulate, "accumulation": "per_micro_batch"}
    trainer = Trainer(model, TASKS, Balancer(method, grads="features", announce=None), **options, **window)
    trainer.fit(source)

    from polytask.data import MultiTaskLoader

    weigher, hand = Balancer(method, announce=None).method, torch.optim.SGD(twin.parameters(), lr=0.05)
    batches = list(MultiTaskLoader(source, batch_size=24, seed=0))
    for at in range(0, len(batches), accumulate):
        total = [torch.zeros_like(p) for p in twin.parameters()]
        for batch in batches[at : at + accumulate]:
            (part,) = batch.parts
            encoded = twin.encode(part.inputs)
            leaves = {name: z.detach().requires_grad_() for name, z in encoded.items()}
            losses = list(TASKS.losses(twin.decode(leaves), part.targets).values())
            gramian = sum(_gramian(losses, leaf) for leaf in leaves.values())
            weights = weigher.weights(gramian)
            whole = list(TASKS.losses(twin(part.inputs), part.targets).values())
            shared = list(twin.shared_parameters())
            found = torch.autograd.grad(
                sum(w * loss for w, loss in zip(weights, whole, strict=True)), shared, retain_graph=True
            )
            found = dict(zip(map(id, shared), found, strict=True))
            for name, loss in zip(TASKS, whole, strict=True):
                own = list(twin.task_parameters(name))
                found |= dict(zip(map(id, own), torch.autograd.grad(loss, own, retain_graph=True), strict=True))
            total = [before + found[id(p)] / accumulate for before, p in zip(total, twin.parameters(), strict=True)]
        for parameter, gradient in zip(twin.parameters(), total, strict=True):
            parameter.grad = gradient
        hand.step()
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-9)


def _gramian(losses, leaf):
    flat = torch.stack([torch.autograd.grad(loss, leaf, retain_graph=True)[0].flatten() for loss in losses])
    return (flat @ flat.T).double()


class Said(MultiTaskModel):
    """Options may decide what is shared; what a model of one's own without a word returns is taken as it is."""

    options = {}  # noqa: RUF012

    def __init__(self, encoder, tasks, *, apart=False, seed=None):
        super().__init__(tasks)
        self.encoder, self.heads = encoder, nn.ModuleDict({name: nn.Linear(6, 1) for name in self.tasks})
        if apart:
            self.representation = Representation("nothing", "it was asked for")

    def _extend(self, task):
        raise NotImplementedError

    def encode(self, inputs):
        return self.encoder(inputs)

    def decode(self, features, tasks=None):
        return {name: self.heads[name](features) for name in self.select(tasks)}

    def shared_parameters(self):
        return self.encoder.parameters()

    def task_parameters(self, name):
        return self.heads[name].parameters()


def test_an_option_may_decide():
    balancer = Balancer("upgrad", grads="features", announce=None)
    Trainer(Said(nn.Linear(5, 6), TASKS), TASKS, balancer, epochs=1, progress=False).fit(rows())
    with pytest.raises(ConfigError, match="in Said tasks share nothing: it was asked for"):
        Trainer(Said(nn.Linear(5, 6), TASKS, apart=True), TASKS, balancer, progress=False)


class Own(nn.Module):
    """A module of one's own that gives two levels."""

    def __init__(self):
        super().__init__()
        self.low, self.high = nn.Linear(5, 6), nn.Linear(6, 6)
        self.heads = nn.ModuleDict({name: nn.Linear(12, 1) for name in "abc"})

    def encode(self, x):
        low = self.low(x).tanh()
        return [low, self.high(low).tanh()]

    def decode(self, levels, tasks):
        return {name: self.heads[name](torch.cat(levels, 1)) for name in tasks}

    def forward(self, x, tasks=("a", "b", "c")):
        return self.decode(self.encode(x), tasks)


def test_a_module_of_ones_own_may_give_several():
    model = Own()
    before = model.low.weight.detach().clone()
    balancer = Balancer("upgrad", grads="features", announce=None)
    history = Trainer(model, TASKS, balancer, epochs=2, progress=False).fit(rows())
    assert history.value("norm", "a") > 0
    assert not torch.equal(model.low.weight, before)
