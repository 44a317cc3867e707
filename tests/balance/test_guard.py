"""What comes through the balancer's door, and what the door says to the rest; a step that fails leaves no trace."""

import copy
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from polytask.balance import METHODS, Balancer, LossMethod, get_method
from polytask.balance.contract.asks import TWIN_BATCH
from polytask.balance.contract.state import MethodState
from polytask.balance.engine.compiled import CompiledGraphs
from polytask.balance.engine.transaction import BrokenGradientError, Transaction, all_finite
from polytask.errors import ConfigError, MethodError, NonFiniteError, TaskError

from .models import Trunk

LOSS_METHODS = [name for name, method in METHODS.items() if issubclass(method, LossMethod)]


def batch(rows=6, seed=0):
    return torch.randn(rows, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# ------------------------------------------------------------------------------------------------ the door


@pytest.mark.parametrize("name", ["equal", "uw", "upgrad", "graddrop", "orthogonal_gradients"])
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: p.sum() * (1 + 1j), "must be a real number, found dtype torch.complex64"),
        (lambda p: torch.ones(2, device="meta", requires_grad=True).sum(), "'meta' device"),
        (lambda p: p * 2, r"found shape \(2,\)"),
        (lambda p: p.sum().detach(), "requires_grad=False"),
    ],
)
def test_losses_that_cannot_be_balanced(name, make, words):
    p = torch.ones(2, requires_grad=True)
    balancer = Balancer(name, announce=None)
    with pytest.raises(TaskError, match=words):
        balancer.backward({"good": p.sum(), "bad": make(p)})
    assert p.grad is None
    assert balancer.step == 0


def test_names_that_are_not_strings_and_losses_that_are_not_named():
    """In a process of its own: in this one the types of arguments are checked before the balancer sees them."""
    code = """
import torch
from polytask.balance import Balancer
p = torch.ones(2, requires_grad=True)
for losses in ({0: p.sum()}, {("a", 1): p.sum()}, [p.sum()], p.sum()):
    for call in (Balancer("uw", announce=None).backward, Balancer("upgrad", announce=None).accumulate):
        try:
            call(losses)
        except Exception as error:
            print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 8
    assert all(line.startswith("TaskError") for line in lines)
    assert lines[0] == "TaskError names of tasks must be strings, found 0; pass {'0': loss, …}"
    assert "must be a dictionary" in lines[-1]


@pytest.mark.parametrize("name", ["equal", "upgrad", "mgda", "graddrop"])
def test_a_graph_that_is_gone(name):
    model = Trunk()
    losses, _ = model.losses(batch())
    sum(losses.values()).backward()
    before = {key: p.grad.clone() for key, p in model.named_parameters()}
    with pytest.raises(TaskError, match="freed by an earlier backward pass"):
        Balancer(name, announce=None).backward(losses)
    assert all(torch.equal(before[key], p.grad) for key, p in model.named_parameters())


@pytest.mark.parametrize("name", ["equal", "uw", "mgda", "upgrad", "graddrop"])
@pytest.mark.parametrize("options", [{}, {"low_memory": True}, {"grads": "features"}])
def test_nothing_to_write_is_no_error(name, options):
    """With heads left alone and one task so far, no parameter is shared."""
    if name == "graddrop" and "low_memory" in options:
        return
    model = Trunk()
    balancer = Balancer(name, heads="none", announce=None, **options)
    losses, z = model.losses(batch(), ["t0"])
    features = z if options.get("grads") == "features" else None
    balancer.backward(losses, features)
    assert model.heads["t0"].weight.grad is None
    losses, z = model.losses(batch())
    balancer.backward(losses, z if features is not None else None)
    assert model.trunk[0].weight.grad is not None
    assert model.heads["t0"].weight.grad is None


class Words(nn.Module):
    """A head per task behind an embedding of its own with sparse gradients, and one embedding for all."""

    def __init__(self, sparse):
        super().__init__()
        torch.manual_seed(0)
        self.shared = nn.Linear(3, 4)
        self.own = nn.ModuleDict({name: nn.Embedding(9, 4, sparse=sparse) for name in "ab"})

    def losses(self, rows=((1, 1, 2), (3, 2, 8))):
        z = self.shared(torch.linspace(-1, 1, 9).view(3, 3))
        return {n: (self.own[n](torch.tensor(r)) * z).sum().square() for n, r in zip("ab", rows, strict=True)}


@pytest.mark.parametrize("name", sorted(METHODS))
def test_sparse_gradients_of_heads(name):
    found = {}
    for sparse in (True, False):
        model = Words(sparse)
        options = {"primary": "a"} if name in ("pcd", "metabalance", "ol_aux") else {}
        try:
            method = get_method(name, **options)
        except ConfigError:
            pytest.skip("needs options")
        if TWIN_BATCH in method.asks or method.needs == "features":
            pytest.skip("needs more than losses")
        try:
            balancer = Balancer(method, announce=None)
            for _ in "12":  # twice, to accumulate
                balancer.backward(model.losses())
        except TaskError:
            pytest.skip("names other tasks")
        found[sparse] = [p.grad.to_dense() for p in model.parameters()]
        if sparse and method.needs != "graph":
            assert model.own["a"].weight.grad.is_sparse
    for one, two in zip(found[True], found[False], strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize("name", ["equal", "upgrad"])
def test_a_sparse_gradient_that_is_not_finite(name):
    model = Words(sparse=True)
    losses = model.losses()
    losses["b"] = losses["b"] + (model.own["b"](torch.tensor([4])) * 0).abs().sqrt().sum()
    with pytest.raises(NonFiniteError, match="gradient of task 'b'"):
        Balancer(name, announce=None).backward(losses)
    assert all(p.grad is None for p in model.parameters())


# ------------------------------------------------------------------------------------------------ transaction


def test_a_transaction_adds_into_the_same_tensor_and_runs_hooks_once():
    p, q = (torch.ones(2, requires_grad=True) for _ in "12")
    p.grad = before = torch.tensor([1.0, 2.0])
    seen = []
    p.register_post_accumulate_grad_hook(lambda leaf: seen.append(leaf.grad.clone()))
    with Transaction([p, q, p]) as transaction:
        (p * 3 + q).sum().backward()
        (p * 3).sum().backward()
        assert not seen
        transaction.settle()
    assert p.grad is before
    assert before.tolist() == [7.0, 8.0]
    assert [found.tolist() for found in seen] == [[7.0, 8.0]]
    with pytest.raises(BrokenGradientError), Transaction([p, q]) as transaction:  # noqa: PT012
        (p * 0).abs().sqrt().sum().backward()
        transaction.settle()
    assert p.grad is before
    assert before.tolist() == [7.0, 8.0]
    assert q.grad.tolist() == [1.0, 1.0]
    assert len(seen) == 1
    p.sum().backward()
    assert len(seen) == 2


@pytest.mark.parametrize("name", ["equal", "uw", "upgrad", "graddrop", "orthogonal_gradients"])
def test_hooks_after_accumulation_run_once_per_step_and_never_on_nan(name):
    model = Trunk()
    steps = []
    for key, parameter in model.named_parameters():
        parameter.register_post_accumulate_grad_hook(lambda leaf, key=key: steps.append(key))
    balancer = Balancer(name, announce=None)
    balancer.backward(model.losses(batch())[0])
    assert sorted(steps) == sorted(key for key, _ in model.named_parameters())
    losses, _ = model.losses(batch())
    losses["t1"] = losses["t1"] + (losses["t1"] - losses["t1"].detach()).abs().sqrt()
    with pytest.raises(NonFiniteError):
        balancer.backward(losses)
    assert len(steps) == len(list(model.parameters()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64])
def test_all_finite(dtype):
    largest = torch.finfo(dtype).max
    good = [torch.full((3,), largest, dtype=dtype), torch.zeros(2, 2, dtype=dtype).t(), torch.zeros(0, dtype=dtype)]
    assert all_finite(good)
    assert all_finite([])
    assert all_finite([*good, torch.ones(1).expand(4)])
    for bad in (float("nan"), float("inf"), -float("inf")):
        assert not all_finite([*good, torch.tensor([0.0, bad]).to(dtype)])
        assert not all_finite([*good, torch.tensor([0.0, bad]).to_sparse()])


def test_state_is_written_whole_and_finite():
    outer, inner = MethodState(), MethodState()
    outer.declare("pair", 0.0, per="pair")
    inner.declare("mean", 0.0)
    outer.adopt("inner", inner)
    inner.write("mean", ["a"], np.array([1.0]))
    outer.write("pair", ["a", "b"], np.eye(2))
    before = copy.deepcopy(outer.state_dict())
    with pytest.raises(NonFiniteError, match=r"'mean' would become \[2.0, inf\] for tasks a, b"), outer.whole():  # noqa: PT012
        outer.write("pair", ["a", "c"], np.ones((2, 2)))
        inner.write("mean", ["a"], np.array([5.0]))
        inner.write("mean", ["a", "b"], np.array([2.0, np.inf]))
    assert outer.state_dict() == before


@pytest.mark.parametrize("name", LOSS_METHODS)
def test_enormous_losses_leave_no_state_that_is_not_finite(name):
    """Squares, products and logarithms of what is finite: a step or an error, but no infinity that stays."""
    for scale in (1e-300, 1e154, 1e300):
        p = torch.full((2,), 1.0, dtype=torch.float64, requires_grad=True)
        balancer = Balancer(name, announce=None)
        for _ in range(3):
            before = str(balancer.method.state_dict())
            try:
                with np.errstate(all="ignore"):
                    balancer.backward({"a": (p * scale).sum(), "b": p.square().sum()})
            except NonFiniteError:
                assert str(balancer.method.state_dict()) == before
            assert p.grad is None or torch.isfinite(p.grad).all()
        assert "inf" not in str(balancer.method.state_dict())
        assert "nan" not in str(balancer.method.state_dict())


# ------------------------------------------------------------------------------------------------ mixed precision


def test_losses_that_were_scaled_by_hand_are_noticed():
    p = torch.ones(2, requires_grad=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=65536.0)
    with pytest.warns(UserWarning, match="product with 65536, .* scaler=scaler"):
        Balancer("uw", announce=None).backward({n: scaler.scale((p * c).sum()) for n, c in (("a", 1), ("b", 2))})
    weight = torch.tensor(2.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for losses in ({"a": p.sum() * weight}, {"a": p.sum() * 0.5, "b": p.sum()}, {"a": p.sum() * 1000.0}):
            Balancer("uw", announce=None).backward(losses)
        Balancer("uw", announce=None).backward({"a": p.sum()}, scaler=scaler)


def test_an_overflow_in_a_micro_batch_of_a_plain_sum():
    model = Trunk()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = copy.deepcopy(model.state_dict())
    balancer = Balancer("equal", announce=None)
    losses, _ = model.losses(batch())
    losses["t1"] = losses["t1"] + (losses["t1"] - losses["t1"].detach()).abs().sqrt()
    balancer.accumulate(losses, scaler=scaler)
    balancer.backward(model.losses(batch(seed=1))[0], scaler=scaler)
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == 512.0
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


# ------------------------------------------------------------------------------------------------ compiled graphs

COMPILED = """
import sys, torch, torch._functorch.config, torch.compiler.config
from torch import nn
import polytask as pt
mode = sys.argv[1]
if mode != "plain":
    torch._functorch.config.donated_buffer = False
if mode == "advice":
    torch.compiler.config.force_disable_caches = True
torch.manual_seed(0)
encoder = nn.Sequential(nn.Linear(10, 32), nn.GELU(), nn.Linear(32, 32), nn.GELU())
a, b = nn.Linear(32, 1), nn.Linear(32, 4)
x, y = torch.randn(32, 10), torch.randint(0, 4, (32,))
def step(encoder_):
    encoder.zero_grad()
    z = encoder_(x)
    losses = {"a": a(z).square().mean(), "b": nn.functional.cross_entropy(b(z), y)}
    pt.Balancer("equal" if mode == "plain" else "fairgrad", announce=None).backward(losses)
    return torch.cat([p.grad.flatten() for p in encoder.parameters()])
eager = step(encoder)
try:
    compiled = step(torch.compile(encoder))
    print("difference", float((compiled - eager).norm() / eager.norm()))
except pt.errors.MethodError as error:
    print("refused", error)
"""


def test_a_graph_from_the_cache_on_disk_is_refused_and_the_advice_leads_to_a_right_step(tmp_path):
    found = []
    for mode in ("plain", "half the advice", "advice"):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", COMPILED, mode],
            capture_output=True,
            text=True,
            check=False,
            env={**__import__("os").environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"},
        )
        if "InvalidCxxCompiler" in done.stderr:
            pytest.skip("no C++ compiler")
        assert done.returncode == 0, done.stderr
        found.append(done.stdout.strip().splitlines()[-1])
    plain, half, advice = found
    assert float(plain.split()[-1]) < 1e-5
    assert half.startswith("refused")
    assert "force_disable_caches = True" in half
    assert float(advice.split()[-1]) < 1e-5


def test_a_compiled_graph_is_tried_once():
    """Whatever overwrites what it saved counts as such a graph; here one is named so."""

    class CompiledFunction(torch.autograd.Function):
        passes = 0
        spoils = True

        @staticmethod
        def forward(ctx, x):
            ctx.held = x.detach().clone()
            return x * x

        @staticmethod
        def backward(ctx, gradient):
            CompiledFunction.passes += 1
            found = 2 * ctx.held * gradient
            if CompiledFunction.spoils:
                ctx.held.zero_()
            return found

    p = torch.tensor([1.0, 2.0], requires_grad=True)

    def losses():
        z = CompiledFunction.apply(p)
        return {"a": z.sum(), "b": (z * 3).sum()}

    balancer = Balancer("mgda", announce=None)
    with pytest.raises(MethodError, match="task 'a' twice gives two gradients"):
        balancer.backward(losses())
    assert p.grad is None
    CompiledFunction.spoils = False
    CompiledFunction.passes = 0
    balancer.backward(losses())
    assert CompiledFunction.passes == 4
    balancer.backward(losses())
    assert CompiledFunction.passes == 6
    CompiledFunction.spoils = True  # one pass for all is enough for a weighted sum
    Balancer("uw", announce=None).backward(losses())
    assert isinstance(pickle.loads(pickle.dumps(CompiledGraphs())), CompiledGraphs)
    copy.deepcopy(balancer)
