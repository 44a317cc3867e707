"""Heads and losses evaluated at once are those of each task by itself: values, gradients, parameters after steps."""

import copy

import pytest
import torch
from tests.tasks.cases import CASES
from torch import nn

from polytask.balance import Aliases, Balancer
from polytask.data import Batch, Part, TensorSource
from polytask.errors import MethodError, NonFiniteError, TaskError
from polytask.share import HardSharing, linear_heads
from polytask.tasks import KINDS, Task, TaskSet
from polytask.tasks.together import alike
from polytask.train import Trainer
from polytask.train.forward import Forward

CPU = torch.device("cpu")
ROWS = 24
KNOWN = [name for name in CASES if name != "custom"]


def three_of_each(*names, **more):
    """Three tasks of each kind, and of regression with scales of their own, in turn."""
    kinds = names or KNOWN
    found = [Task(f"{kind}{i}", **CASES[kind].options, **more) for i in range(3) for kind in kinds]
    own = [Task(f"far{i}", shift=3.0 * i, scale=2.0 + i) for i in range(2)]
    return TaskSet([*found, *own])


def draw(tasks, rows=ROWS, missing=0.3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    targets = {}
    for name, task in tasks.items():
        y = CASES[task.kind].target(rows, generator)
        gone = torch.rand(y.shape, generator=generator) < missing
        targets[name] = y.masked_fill(gone, float("nan") if y.is_floating_point() else -100)
    return torch.randn(rows, 6, generator=generator), targets


def make(tasks, **options):
    torch.manual_seed(0)
    return HardSharing(nn.Sequential(nn.Linear(6, 10), nn.Tanh()), tasks, seed=0, **options)


def losses_of(model, tasks, inputs, targets, **options):
    batch = Batch((Part(inputs, targets),), ("",))
    return [Forward(model, tasks, device=CPU, together=way, **options).losses(batch) for way in (None, "sum")]


def gradients(model, losses):
    model.zero_grad(set_to_none=True)
    torch.stack([(i + 1) * loss for i, loss in enumerate(losses.values())]).sum().backward()
    return {name: p.grad for name, p in model.named_parameters()}


def check_same(model, tasks, inputs, targets, rtol=1e-5, **options):
    apart, together = losses_of(model, tasks, inputs, targets, **options)
    assert together.counts == apart.counts
    assert list(together.values) == list(apart.values)
    assert len({loss.grad_fn for loss in together.values.values()}) < len(together.values)  # some are one vector
    for name, loss in apart.values.items():
        torch.testing.assert_close(together.values[name], loss, rtol=rtol, atol=rtol / 10)
    one, other = gradients(model, apart.values), gradients(model, together.values)
    for name, gradient in one.items():
        assert (gradient is None) == (other[name] is None), name
        if gradient is not None:
            torch.testing.assert_close(other[name], gradient, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("missing", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("hidden", [(), (5,)])
def test_every_kind_at_once_is_each_by_itself(missing, hidden):
    tasks = three_of_each()
    check_same(make(tasks, head_hidden=hidden), tasks, *draw(tasks, missing=missing))


def test_kinds_that_are_evaluated_at_once_can_be():
    """A filler is a possible label, and the loss and its gradient are finite at an output of zero."""
    for name, kind in KINDS.items():
        if kind.filler is None:
            continue
        rule = Task("t", **CASES[name].options).rule
        output = torch.zeros(1, rule.out_features, requires_grad=True)
        label = rule.check(torch.full((1,), kind.filler, dtype=CASES[name].target(1, torch.Generator()).dtype))
        loss = rule.loss(rule.arrange(output), label)
        (slope,) = torch.autograd.grad(loss.sum(), output)
        assert torch.isfinite(loss).all(), name
        assert torch.isfinite(slope).all(), name


def test_a_task_without_a_label_in_the_batch_is_absent():
    tasks = three_of_each()
    inputs, targets = draw(tasks)
    targets["regression1"] = torch.full((ROWS,), float("nan"))
    targets["multiclass0"] = torch.full((ROWS,), -100)
    model = make(tasks)
    check_same(model, tasks, inputs, targets)
    assert model.heads["regression1"].weight.grad is None


def test_tasks_left_out_of_the_batch():
    tasks = three_of_each()
    inputs, targets = draw(tasks)
    check_same(make(tasks), tasks, inputs, {name: y for name, y in targets.items() if name[-1] != "1"})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_a_broken_prediction_at_a_missing_label_leaves_no_trace(value):
    """As where the row is dropped: NaN times a weight of zero would be NaN, e^(10^30) times zero as well."""
    tasks = TaskSet([Task(f"t{i}", "count") for i in range(3)])
    _, targets = draw(tasks, missing=0.0)
    for y in targets.values():
        y[0] = -100
    model = HardSharing(nn.Identity(), tasks, width=6, seed=0)
    inputs = torch.randn(ROWS, 6)
    inputs[0] = value
    found = losses_of(model, tasks, inputs, targets)[1]
    assert all(torch.isfinite(loss) for loss in found.values.values())
    check_same(model, tasks, inputs[1:], {name: y[1:] for name, y in targets.items()})


def test_whole_numbers_as_regression_targets_double_models_and_columns_of_other_types():
    tasks = TaskSet([Task(f"t{i}", shift=1.0 + i, scale=3.0) for i in range(4)])
    inputs, _ = draw(tasks)
    whole = {name: torch.randint(0, 9, (ROWS,)) for name in tasks}
    check_same(make(tasks).double(), tasks, inputs.double(), whole, rtol=1e-12)
    check_same(make(tasks), tasks, inputs, whole)
    check_same(make(tasks), tasks, inputs, {**whole, "t1": whole["t1"].double()})
    check_same(make(tasks), tasks, inputs, {**whole, "t1": whole["t1"][:, None]})


def test_own_missing_values_and_options():
    tasks = TaskSet(
        [Task(f"m{i}", "multiclass", classes=3, missing=-1) for i in range(2)]
        + [Task(f"o{i}", "multiclass", classes=3) for i in range(2)]
        + [Task("p", "multiclass", classes=4)]
    )
    inputs, _ = draw(TaskSet([Task("x")]))
    targets = {name: torch.randint(0, 3, (ROWS,)) for name in tasks}
    for name, y in targets.items():
        y[::3] = -1 if name[0] == "m" else -100
    check_same(make(tasks), tasks, inputs, targets)
    assert alike(tasks["m0"]) == alike(tasks["m1"]) != alike(tasks["o0"]) != alike(tasks["p"])
    assert alike(Task("mine", "regression", loss=nn.L1Loss())) is None


def test_under_bf16_within_its_rounding():
    """Against single precision, the error is that of the tasks by themselves, or less."""
    tasks = three_of_each()
    model, data = make(tasks), draw(tasks)
    exact = gradients(model, losses_of(model, tasks, *data)[0].values)
    apart, together = (gradients(model, half.values) for half in losses_of(model, tasks, *data, precision="bf16"))
    for name, gradient in exact.items():
        error, usual = ((found[name] - gradient).norm() for found in (together, apart))
        assert error <= 1.5 * usual + 1e-3 * gradient.norm(), name


def test_frozen_and_tied_heads():
    tasks = three_of_each("regression", "multiclass")
    model = make(tasks)
    model.heads["regression0"].weight.requires_grad_(False)
    model.heads["multiclass2"].requires_grad_(False)
    model.heads["regression1"].weight = model.heads["regression2"].weight
    model.heads["far0"].bias = model.heads["far1"].bias
    check_same(model, tasks, *draw(tasks))
    assert model.heads["multiclass2"].weight.grad is None


def heard(head):
    calls = []
    head.register_forward_hook(lambda *_: calls.append(1))
    return calls


def test_heads_that_do_more_than_a_product_are_called():
    tasks = three_of_each("regression")
    model = make(tasks)
    calls = heard(model.heads["regression0"])
    nn.utils.parametrizations.weight_norm(model.heads["regression1"])
    model.heads["far1"] = nn.Sequential(nn.Linear(10, 4), nn.ReLU(), nn.Linear(4, 1))
    model.heads["regression2"] = nn.Linear(10, 1, bias=False)
    assert list(linear_heads(model, tasks)) == ["far0"]
    check_same(model, tasks, *draw(tasks))
    assert len(calls) == 2


def test_a_model_that_somebody_listens_to_is_called():
    tasks = three_of_each("binary")
    model = make(tasks)
    calls = heard(model)
    assert linear_heads(model, tasks) == {}
    check_same(model, tasks, *draw(tasks))
    assert len(calls) == 2
    handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
    try:
        assert linear_heads(make(tasks), tasks) == {}
    finally:
        handle.remove()


def test_other_models_have_their_losses_evaluated_at_once(make_net, make_source):
    tasks = TaskSet([Task("a"), Task("b")])
    net = make_net()
    inputs, targets = make_source(missing=["a"]).batch(torch.arange(20))
    check_same(net, tasks, inputs, {"a": targets["a"], "b": targets["a"].flip(0)})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda y: y.__setitem__("binary1", torch.full((ROWS,), 2)), "'binary1'.*labels 0 … 1, found 2"),
        (lambda y: y.__setitem__("regression2", torch.full((ROWS,), float("inf"))), "'regression2'.*finite labels"),
        (lambda y: y.update({n: v[:5] for n, v in y.items() if n.startswith("binary")}), "'binary0'.*shape"),
    ],
)
def test_errors_name_the_task(change, words):
    tasks = three_of_each("regression", "binary")
    inputs, targets = draw(tasks)
    change(targets)
    for way in (None, "sum", "aliases"):
        with pytest.raises(TaskError, match=words):
            Forward(make(tasks), tasks, device=CPU, together=way).losses(Batch((Part(inputs, targets),), ("",)))


# ---------------------------------------------------------------------------------------------------- whole fits


def trained(tasks, source, method, monkeypatch, together):
    """The model after a fit, and its balancer, with the fast path or, by hand, without."""
    model, balancer = make(tasks), Balancer(method, tasks=tasks, announce=None)
    with monkeypatch.context() as patch:
        if not together:
            patch.setattr(Balancer, "sums", property(lambda self: False))
        trainer = Trainer(model, tasks, balancer, progress=False, epochs=3, batch_size=7)
        assert (trainer._forward._together is not None) == together
        trainer.fit(source)
    return model, balancer


@pytest.mark.parametrize("method", ["equal", "uw", "dwa", "rlw", "gls"])
def test_fits_end_at_the_same_parameters(method, monkeypatch):
    tasks = TaskSet([Task(f"r{i}", weight=1.0 + i) for i in range(3)] + [Task(f"b{i}", "binary") for i in range(3)])
    source = TensorSource(*draw(tasks, missing=0.6))
    (one, first), (other, second) = (
        trained(tasks, source, method, monkeypatch, together) for together in (False, True)
    )
    for (name, p), q in zip(one.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(q, p, rtol=1e-4, atol=1e-5, msg=name)
    assert first.last.tasks == second.last.tasks
    assert str(first.partition) == str(second.partition)


def test_the_partition_stays_what_single_graphs_say():
    """Also where a layer is trained that was frozen in the beginning, so that it is new in a vector of losses."""
    tasks = three_of_each("regression")
    model = make(tasks)
    model.encoder[0].bias.requires_grad_(False)

    def thaw(history):
        model.encoder[0].bias.requires_grad_(True)

    balancer = Balancer("equal", tasks=tasks, announce=None)
    Trainer(model, tasks, balancer, progress=False, epochs=2, batch_size=8, on_epoch=thaw).fit(
        TensorSource(*draw(tasks))
    )
    assert model.encoder[0].bias.grad is not None
    assert {id(p) for p in balancer.partition.shared} == {id(p) for p in model.shared_parameters()}
    assert {n: {id(p) for p in own} for n, own in balancer.partition.owned.items()} == {
        name: {id(p) for p in model.task_parameters(name)} for name in tasks
    }


def test_a_gradient_that_is_not_finite_names_its_task():
    tasks = three_of_each("regression")
    model = make(tasks)
    source = TensorSource(*draw(tasks, missing=0.0))
    model.heads["regression1"].weight.register_hook(lambda gradient: gradient * float("nan"))
    trainer = Trainer(model, tasks, Balancer("equal", tasks=tasks, announce=None), progress=False, epochs=1)
    assert trainer._forward._together is not None
    kept = copy.deepcopy(model.state_dict())
    with pytest.raises(NonFiniteError, match="gradient of task 'regression1' is nan"):
        trainer.fit(source)
    assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())


def test_a_loss_that_is_not_finite_names_its_task():
    tasks = three_of_each("count")
    inputs, targets = draw(tasks, missing=0.0)
    model = make(tasks)
    with torch.no_grad():
        model.heads["count2"].bias.fill_(1e4)  # its exponential is infinite
    trainer = Trainer(model, tasks, Balancer("equal", tasks=tasks, announce=None), progress=False, epochs=1)
    with pytest.raises(NonFiniteError, match="loss of task 'count2' is inf"):
        trainer.fit(TensorSource(inputs, targets))


@pytest.mark.parametrize("options", [{"nonfinite": "skip"}, {"heads": "plain"}])
def test_where_single_graphs_are_needed_nothing_is_evaluated_at_once(options):
    tasks = three_of_each("regression")
    trainer = Trainer(make(tasks), tasks, Balancer("equal", tasks=tasks, announce=None, **options), progress=False)
    assert trainer._forward._together is None
    assert Trainer(make(tasks), tasks, "uw", progress=False, accumulate=2)._forward._together is None
    skips = Balancer("upgrad", tasks=tasks, announce=None, nonfinite="skip")
    assert Trainer(make(tasks), tasks, skips, progress=False)._forward._together is None


# ------------------------------------------------------------------------------------- gradients of single tasks


def stepped(tasks, model, batch, way, method, **options):
    """Gradients and record of one step, with or without the fast path."""
    balancer = Balancer(method, tasks=tasks, announce=None, **options)
    balancer.partition.see({name: output.sum() for name, output in model(batch.parts[0].inputs).items()})
    forward = Forward(model, tasks, device=CPU, together=way, features=balancer.needs_features)
    model.zero_grad(set_to_none=True)
    found = forward.losses(batch)
    assert isinstance(found.features, Aliases) == (way is not None)
    record = balancer.backward(found.values, found.features)
    return {name: p.grad for name, p in model.named_parameters()}, record


@pytest.mark.parametrize("grads", ["params", "features"])
@pytest.mark.parametrize("method", ["upgrad", "nash_mtl", "pcgrad", "imtl_g", "graddrop"])
@pytest.mark.parametrize("heads", ["auto", "weighted", "none"])
def test_tasks_are_told_apart_by_their_heads_inputs(grads, method, heads):
    """Weights, Gramian and gradients are those of one backward pass per task."""
    tasks = three_of_each("regression", "multiclass")
    inputs, targets = draw(tasks)
    targets["regression2"] = torch.full((ROWS,), float("nan"))
    model, batch = make(tasks).double(), Batch((Part(inputs.double(), targets),), ("",))
    options = {"grads": grads, "heads": heads}
    (one, first), (other, second) = (stepped(tasks, model, batch, way, method, **options) for way in (None, "aliases"))
    assert second.tasks == first.tasks
    torch.testing.assert_close(torch.tensor(second.gramian), torch.tensor(first.gramian), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(torch.tensor(second.raw_weights), torch.tensor(first.raw_weights), rtol=1e-6, atol=1e-8)
    for name, gradient in one.items():
        assert (gradient is None) == (other[name] is None), name
        if gradient is not None:
            torch.testing.assert_close(other[name], gradient, rtol=1e-6, atol=1e-9, msg=name)
    through_the_trunk = 1 if grads == "features" else len(first.tasks)
    assert second.backward_passes == 1 + through_the_trunk


@pytest.mark.parametrize("grads", ["params", "features"])
def test_tied_heads_go_task_by_task(grads):
    """A weight of two tasks is shared, although no gradient reaches it through the representation."""
    tasks = three_of_each("regression")
    model = make(tasks).double()
    model.heads["regression1"].weight = model.heads["regression2"].weight
    inputs, targets = draw(tasks)
    batch = Batch((Part(inputs.double(), targets),), ("",))
    (one, first), (other, second) = (
        stepped(tasks, model, batch, way, "upgrad", grads=grads) for way in (None, "aliases")
    )
    assert first.backward_passes == second.backward_passes
    for name, gradient in one.items():
        torch.testing.assert_close(other[name], gradient, rtol=1e-6, atol=1e-9, msg=name)


@pytest.mark.parametrize("grads", ["params", "features"])
def test_a_frozen_trunk_leaves_the_heads_their_gradients(grads):
    """Linear probes: nothing is shared, and a representation without a gradient tells no tasks apart."""
    tasks = three_of_each("regression")
    model = make(tasks).double()
    model.encoder.requires_grad_(False)
    inputs, targets = draw(tasks)
    batch = Batch((Part(inputs.double(), targets),), ("",))
    (one, first), (other, second) = (
        stepped(tasks, model, batch, way, "upgrad", grads=grads) for way in (None, "aliases")
    )
    assert first.tasks == second.tasks
    for name, gradient in one.items():
        assert (gradient is None) == name.startswith("encoder")
        torch.testing.assert_close(other[name], gradient, rtol=1e-6, atol=1e-9, msg=name)


def test_a_head_that_reads_the_representation_too_goes_task_by_task():
    trunk, heads = nn.Linear(3, 4), {name: nn.Linear(4, 1) for name in "abc"}
    x = torch.randn(6, 3)

    def step(way):
        balancer = Balancer("upgrad", announce=None)
        for module in (trunk, *heads.values()):
            module.zero_grad(set_to_none=True)
        z = trunk(x)
        aliases = Aliases(z)
        read = {name: aliases.of(name)[0] if way else z for name in heads}
        losses = {
            name: head(read[name] + (z if name == "b" and way else 0)).square().mean() for name, head in heads.items()
        }
        if not way:
            losses["b"] = heads["b"](2 * z).square().mean()
        record = balancer.backward(losses, aliases if way else z)
        return trunk.weight.grad.clone(), record.backward_passes

    (one, passes), (other, also) = step(False), step(True)
    torch.testing.assert_close(other, one)
    assert passes == also == 3


def test_a_loss_beside_its_alias_is_refused():
    trunk, head = nn.Linear(3, 4), nn.Linear(4, 1)
    aliases = Aliases(trunk(torch.ones(2, 3)))
    losses = {
        "a": head(aliases.of("a")[0]).sum(),
        "b": (aliases.of("b") * 0).sum().detach() + nn.Linear(1, 1)(torch.ones(1)).sum(),
    }
    with pytest.raises(MethodError, match="the loss of task 'b' does not depend on features="):
        Balancer("upgrad", grads="features", announce=None).backward(losses, aliases)


@pytest.mark.parametrize("grads", ["params", "features"])
def test_a_broken_gradient_of_one_task_names_it(grads):
    """With aliases nothing of one task touches another's row."""
    tasks = three_of_each("regression")
    model = make(tasks)
    model.heads["regression1"].weight.register_hook(lambda gradient: gradient * float("nan"))
    balancer = Balancer("upgrad", tasks=tasks, announce=None, grads=grads)
    trainer = Trainer(model, tasks, balancer, progress=False, epochs=1, batch_size=8)
    assert trainer._forward._together is not None
    with pytest.raises(NonFiniteError, match="gradient of task 'regression1' is nan"):
        trainer.fit(TensorSource(*draw(tasks, missing=0.0)))


@pytest.mark.parametrize("grads", ["params", "features"])
@pytest.mark.parametrize("every", [1, 3])
def test_fits_with_gradient_methods_end_at_the_same_parameters(grads, every, monkeypatch):
    tasks = TaskSet([Task(f"r{i}", weight=1.0 + i) for i in range(3)] + [Task(f"b{i}", "binary") for i in range(2)])
    source = TensorSource(*draw(tasks, missing=0.5))
    ends = []
    for together in (False, True):
        model, balancer = make(tasks), Balancer("upgrad", tasks=tasks, announce=None, grads=grads, every=every)
        with monkeypatch.context() as patch:
            if not together:
                patch.setattr(Balancer, "takes_aliases", property(lambda self: False))
            Trainer(model, tasks, balancer, progress=False, epochs=2, batch_size=8).fit(source)
        ends.append(model)
    for (name, p), q in zip(ends[0].named_parameters(), ends[1].parameters(), strict=True):
        torch.testing.assert_close(q, p, rtol=1e-4, atol=1e-5, msg=name)
