import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from polytask.balance import Balancer
from polytask.data import InputSpec, MultiTaskData, MultiTaskLoader, TensorSource
from polytask.errors import ConfigError, DataError, TaskError
from polytask.tasks import Task, TaskSet
from polytask.train import Trainer, TrainOptions


def trainer_for(net, tasks, method="equal", **options):
    return Trainer(net, tasks, method, progress=False, **{"epochs": 2, "batch_size": 16, **options})


def of_task(source, task):
    return TensorSource(source.inputs, {task: source.targets[task]})


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_equal_weights_are_a_hand_written_loop_bit_for_bit(optimizer, make_net, make_source, tasks, bitwise):
    net, twin = make_net(), make_net()
    source = make_source(missing=["b"])
    trainer_for(net, tasks, optimizer=optimizer, lr=0.01, epochs=3).fit(source)

    own = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[optimizer]
    stepper = own(twin.parameters(), lr=0.01, weight_decay=0.0, fused=True)
    loader = MultiTaskLoader(source, batch_size=16)
    for _ in range(3):
        for batch in loader:
            inputs, targets = batch.parts[0]
            predictions = twin(inputs)
            known = targets["b"] != -100
            a = nn.functional.mse_loss(predictions["a"][:, 0], targets["a"])
            b = nn.functional.binary_cross_entropy_with_logits(
                predictions["b"][known, 0], targets["b"][known].float(), reduction="none"
            ).mean()
            stepper.zero_grad()
            (a + b).backward()
            stepper.step()
    assert bitwise(net, twin)


def test_one_task_needs_no_balancing(make_net, make_source, tasks, bitwise):
    """K = 1: every method that is not told otherwise makes the step of plain training."""
    source = make_source()
    nets = {method: make_net() for method in ("equal", "upgrad", "mgda", "pcgrad", "aligned_mtl")}
    for method, net in nets.items():
        history = trainer_for(net, tasks.subset(["a"]), method).fit(source, source)
        assert history.labels_seen == {"a": 192}
        assert bitwise(net, nets["equal"]), method
    assert torch.equal(nets["equal"].heads["b"].weight, make_net().heads["b"].weight)


def test_half_of_the_labels_deleted(make_net, make_source, tasks, caplog):
    """Counts and metrics are those of the labels that are there, and the log says how many."""
    source = make_source(missing=["b"])
    net = make_net()
    with caplog.at_level(logging.INFO, logger="polytask"):
        history = trainer_for(net, tasks, epochs=5, lr=0.03).fit(source, source)
    assert history.labels_seen == {"a": 480, "b": 240}
    assert "b 0." in caplog.text
    assert "(48 labels)" in caplog.text
    assert "(96 labels)" in caplog.text
    found = trainer_for(net, tasks).evaluate(source)
    inputs, targets = source.batch(torch.arange(len(source)))
    with torch.no_grad():
        predictions = net.eval()(inputs)
    known = targets["b"] != -100
    correct = ((predictions["b"][known, 0] > 0) == targets["b"][known].bool()).double().mean()
    assert found.counts == {"a": 96, "b": 48}
    assert found.metrics["b"]["accuracy"] == pytest.approx(float(correct))
    rmse = (predictions["a"][:, 0] - targets["a"]).square().mean().sqrt()
    assert found.metrics["a"]["rmse"] == pytest.approx(float(rmse), rel=1e-5)
    assert found.metrics["b"]["accuracy"] > 0.8


def test_training_learns(make_net, make_source, tasks):
    for method in ("uw", "nash_mtl", "famo"):
        history = trainer_for(make_net(), tasks, method, epochs=8, lr=0.04).fit(make_source(), make_source(seed=1))
        assert history.value("r2", "a", split="val") > 0.5, method
        assert history.value("auroc", "b", split="val") > 0.85, method


def test_task_learning_rate_moves_its_head_alone(make_net, make_source, tasks):
    source = make_source()
    slow, fast = make_net(), make_net()
    trainer_for(slow, tasks, optimizer="sgd", lr=0.01, epochs=1, batch_size=96).fit(source)
    trainer_for(fast, tasks, optimizer="sgd", lr=0.01, task_lr={"b": 0.03}, epochs=1, batch_size=96).fit(source)
    start = make_net()
    assert torch.equal(slow.trunk[0].weight, fast.trunk[0].weight)
    assert torch.equal(slow.heads["a"].weight, fast.heads["a"].weight)
    moved = [(net.heads["b"].weight - start.heads["b"].weight).detach() for net in (slow, fast)]
    torch.testing.assert_close(moved[1], 3 * moved[0], rtol=1e-4, atol=1e-7)


def test_bf16_learns_and_keeps_parameters_in_float32(make_net, make_source, tasks):
    net = make_net()
    history = trainer_for(net, tasks, "upgrad", precision="bf16", epochs=10, lr=0.02).fit(make_source(), make_source())
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    assert history.value("r2", "a", split="val") > 0.5
    full = make_net()
    trainer_for(full, tasks, "upgrad", epochs=1).fit(make_source())
    low = make_net()
    trainer_for(low, tasks, "upgrad", epochs=1, precision="bf16").fit(make_source())
    torch.testing.assert_close(low.trunk[0].weight, full.trunk[0].weight, rtol=0.05, atol=0.005)
    assert not torch.equal(low.trunk[0].weight, full.trunk[0].weight)


def test_features_reach_the_balancer(make_net, make_source, tasks, bitwise):
    """Training by gradients at the representation is the hand-written loop with ``features=``."""
    net, twin = make_net(), make_net()
    source = make_source()
    trainer_for(net, tasks, Balancer("upgrad", tasks=tasks, grads="features", announce=None)).fit(source)
    balancer = Balancer("upgrad", tasks=tasks, grads="features", announce=None)
    optimizer = torch.optim.AdamW(twin.parameters(), lr=1e-3, weight_decay=0.0, fused=True)
    loader = MultiTaskLoader(source, batch_size=16)
    for _ in range(2):
        for batch in loader:
            inputs, targets = batch.parts[0]
            z = twin.encode(inputs)
            optimizer.zero_grad()
            balancer.backward(tasks.losses(twin.decode(z), targets), z)
            optimizer.step()
    assert bitwise(net, twin)
    assert not bitwise(net, make_net())


@pytest.mark.parametrize("mode", ["joint", "alternating"])
@pytest.mark.parametrize("method", ["equal", "upgrad"])
def test_sources_of_one_task_each(mode, method, make_net, make_source, tasks):
    sources = {"x": of_task(make_source(64), "a"), "y": of_task(make_source(32, seed=1), "b")}
    loader = MultiTaskLoader(sources, batch_size=16, mode=mode)
    history = trainer_for(make_net(), tasks, method, epochs=8, lr=0.03).fit(loader, sources)
    each = {"joint": {"a": 64, "b": 64}, "alternating": {"a": 64, "b": 32}}[mode]
    assert history.labels_seen == {task: 8 * count for task, count in each.items()}
    assert history.steps == 8 * len(loader)
    assert history.value("loss", "a") < history.value("loss", "a", epoch=1)
    assert history.value("labels", "b", split="val") == 32


def test_what_is_shared_is_known_before_the_first_step(make_net, make_source, tasks, caplog):
    """Under alternating steps the first batches show one task only, which would then seem to own the trunk."""
    sources = {"x": of_task(make_source(64), "a"), "y": of_task(make_source(32, seed=1), "b")}
    trainer = trainer_for(make_net(), tasks, "upgrad", epochs=1)
    with caplog.at_level(logging.INFO, logger="polytask"):
        trainer.fit(MultiTaskLoader(sources, batch_size=16, mode="alternating"))
    assert len(trainer.balancer.partition.shared) == 2
    assert "shared 144 (2 tensors)" in caplog.text


def test_unreached_parameters_and_blended_statistics_are_reported(make_net, make_source, tasks, caplog):
    net = make_net(norm=True)
    net.lost = nn.Linear(2, 2)
    sources = {"x": of_task(make_source(32), "a"), "y": of_task(make_source(32), "b")}
    trainer_for(net, tasks, epochs=1).fit(sources)
    assert "no task depends on these parameters, they will not train: lost.weight, lost.bias" in caplog.text
    assert "1 BatchNorm layers see 2 sources" in caplog.text


def test_rehearsal_leaves_no_trace(make_net, make_source, tasks):
    net = make_net(norm=True, dropout=0.5)
    seen = []
    net.trunk[0].register_forward_pre_hook(lambda *_: seen.append(net.trunk[1].num_batches_tracked.item()))
    trainer_for(net, tasks, epochs=1).fit(make_source())
    assert seen[:3] == [0, 0, 1]
    assert net.trunk[1].num_batches_tracked == 6


def test_epoch_without_labels_warns(make_net, make_source, tasks, caplog):
    source = make_source()
    source.targets["b"][:] = -100
    history = trainer_for(make_net(), tasks, epochs=1).fit(source)
    assert history.labels_seen == {"a": 96, "b": 0}
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == ["task 'b' had no labels in epoch 1; it was not trained"]


def test_seeds_repeat_and_global_generators_are_left_alone(make_net, make_source, tasks, bitwise):
    nets = [make_net(dropout=0.5) for _ in range(3)]
    before = (torch.get_rng_state(), np.random.get_state()[1].copy())  # noqa: NPY002
    for net, seed in zip(nets, (1, 1, 2), strict=True):
        trainer_for(net, tasks, "rlw", seed=seed).fit(make_source())
    assert bitwise(nets[0], nets[1])
    assert not bitwise(nets[0], nets[2])
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


def test_what_metrics_cost_once_is_no_time_of_the_first_epoch(make_net, make_source, tasks, monkeypatch):
    clock, meter = [0.0], TaskSet.meter

    def slow(self):  # as when they are imported
        clock[0] += 5.0
        return meter(self)

    monkeypatch.setattr(TaskSet, "meter", slow)
    monkeypatch.setattr("polytask.train.run.time", SimpleNamespace(perf_counter=lambda: clock[0]))
    history = trainer_for(make_net(), tasks, epochs=1).fit(make_source(), make_source())
    assert clock == [5.0]
    assert history.seconds == 0


def test_threads_are_set_and_put_back(make_net, make_source, tasks):
    before = torch.get_num_threads()
    seen = []
    trainer = trainer_for(make_net(), tasks, threads=before + 1, epochs=1)
    trainer.on_epoch = lambda history: seen.append(torch.get_num_threads())
    trainer.fit(make_source())
    assert (seen, torch.get_num_threads()) == ([before + 1], before)


def test_best_epoch_is_restored(make_net, make_source, tasks, bitwise):
    """Labels of the validation split are turned round, so that learning makes it worse: epoch 1 is best."""
    source, upside_down = make_source(), make_source(seed=1)
    upside_down.targets["a"].neg_()
    upside_down.targets["b"] = 1 - upside_down.targets["b"]
    best, last, one = make_net(), make_net(), make_net()
    history = trainer_for(best, tasks, epochs=6, lr=0.02).fit(source, upside_down)
    trainer_for(last, tasks, epochs=6, lr=0.02, restore="last").fit(source, upside_down)
    trainer_for(one, tasks, epochs=1, lr=0.02).fit(source)
    assert (history.best_epoch, history.best_epochs) == (1, {"a": 1, "b": 1})
    assert bitwise(best, one)
    assert not bitwise(last, one)


def test_patience_stops(make_net, make_source, tasks, caplog):
    source, upside_down = make_source(), make_source(seed=1)
    upside_down.targets["a"].neg_()
    with caplog.at_level(logging.INFO, logger="polytask"):
        history = trainer_for(make_net(), tasks, epochs=9, patience=2, stop="a", lr=0.02).fit(source, upside_down)
    assert history.epochs == 3
    assert "a made no progress" in history.stopped
    assert "stopped after epoch 3" in caplog.text
    with pytest.raises(ConfigError, match="patience= needs validation data"):
        trainer_for(make_net(), tasks, patience=2).fit(source)


def test_methods_learn_of_epochs_and_steps(make_net, make_source, tasks):
    trainer = trainer_for(make_net(), tasks, "dwa", epochs=3)
    trainer.fit(make_source())
    assert (trainer.balancer.epoch, trainer.balancer.step) == (3, 18)


def test_history_holds_what_the_method_did(make_net, make_source, tasks):
    calls = []
    trainer = trainer_for(make_net(), tasks, "upgrad", epochs=3, accumulate=4, scheduler="cosine", lr=0.1)
    trainer.on_epoch = lambda history: calls.append(history.epochs)
    history = trainer.fit(make_source(), make_source(seed=1))
    assert calls == [1, 2, 3]
    assert history.steps == 6  # six batches an epoch in windows of four
    quantities = set(history.frame.query("split == 'train'").quantity)
    assert quantities == {"loss", "weight", "share", "norm", "cosine", "conflicts", "labels", "iterations", "lr"}
    for epoch in (1, 2, 3):
        assert sum(history.value("share", task, epoch=epoch) for task in tasks) == pytest.approx(1.0)
    assert history.curve("lr", "shared").is_monotonic_decreasing
    assert -1 <= history.cosines().loc["a", "b"] <= 1
    assert history.value("score", split="val", epoch=1) == 0
    assert history.value("rmse", "a", split="val") == trainer.evaluate(make_source(seed=1)).metrics["a"]["rmse"] or (
        history.best_epoch != 3
    )
    assert len(history.epoch_seconds) == len(history.val_seconds) == 3
    assert 0 < history.seconds < 60


def test_predict_gives_natural_units_in_order(make_net, make_source):
    tasks = TaskSet([Task("a", shift=10.0, scale=3.0), Task("b", "binary")])
    source = make_source(50)
    net = make_net()
    trainer = trainer_for(net, tasks, eval_batch_size=7)
    found = trainer.predict(source)
    with torch.no_grad():
        raw = net.eval()(source.inputs)
    torch.testing.assert_close(found["a"], raw["a"][:, 0] * 3 + 10)
    torch.testing.assert_close(found["b"], raw["b"][:, 0].sigmoid())
    for given in (source.inputs, {"one": source.subset(torch.arange(20)), "two": source.subset(torch.arange(20, 50))}):
        assert torch.equal(trainer.predict(given)["a"], found["a"])


def test_evaluation_puts_the_mode_back(make_net, make_source, tasks):
    net = make_net(dropout=0.5).train()
    net.heads.eval()
    trainer = trainer_for(net, tasks)
    assert trainer.evaluate(make_source()).metrics == trainer.evaluate(make_source()).metrics
    assert net.trunk.training
    assert not net.heads.training


def test_dataset_brings_its_own_splits(make_net, make_source, tasks):
    data = MultiTaskData(
        "toy",
        tasks,
        make_source(),
        make_source(48, seed=1),
        make_source(48, seed=2),
        InputSpec("vector", (8,)),
        "mlp:4",
    )
    trainer = trainer_for(make_net(), tasks)
    history = trainer.fit(data)
    assert history.value("labels", "a", split="val") == 48
    with pytest.raises(DataError, match=r"data.val or data.test"):
        trainer.evaluate(data)


def test_table_inputs_are_dictionaries(tasks):
    class Table(nn.Module):
        def __init__(self):
            super().__init__()
            self.numbers, self.codes = nn.Linear(3, 4), nn.Embedding(5, 4)
            self.heads = nn.ModuleDict({"a": nn.Linear(4, 1), "b": nn.Linear(4, 1)})

        def forward(self, x):
            z = self.numbers(x["numeric"]) + self.codes(x["categorical"]).sum(1)
            return {name: head(z) for name, head in self.heads.items()}

    inputs = {"numeric": torch.randn(40, 3), "categorical": torch.randint(5, (40, 2))}
    source = TensorSource(inputs, {"a": torch.randn(40), "b": torch.randint(2, (40,))})
    trainer = trainer_for(Table(), tasks)
    trainer.fit(source, source)
    assert trainer.predict(inputs)["b"].shape == (40,)


def test_options_come_as_object_mapping_or_keywords(make_net, tasks):
    assert Trainer(make_net(), tasks, options=TrainOptions(epochs=3), lr=0.5).options == TrainOptions(epochs=3, lr=0.5)
    assert Trainer(make_net(), tasks, options={"epochs": 3}).options.epochs == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task_lr": {"bb": 0.1}}, "unknown task in task_lr 'bb'; did you mean 'b'"),
        ({"stop": "mean_dleta"}, "unknown stopping rule 'mean_dleta'; did you mean 'mean_delta'"),
        ({"trackers": ("tensorbord",), "out": "x"}, "unknown tracker 'tensorbord'; did you mean 'tensorboard'"),
        ({"trackers": ("tensorboard",)}, "need a place for their files: pass out="),
        ({"grads": "features"}, r"grads is an option of the balancer.* Balancer\(method, grads=…\)"),
    ],
)
def test_wrong_options_are_found_before_training(options, message, make_net, tasks):
    with pytest.raises(ConfigError, match=message):
        trainer_for(make_net(), tasks, **options)


def test_data_of_other_tasks(make_net, make_source, tasks):
    source = make_source()
    source.targets = {"aa": source.targets["a"]}
    with pytest.raises(TaskError, match="targets of aa, but the tasks to train are a, b"):
        trainer_for(make_net(), tasks).fit(source)


def test_tensorboard_gets_every_number(make_net, make_source, tasks, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trainer = trainer_for(make_net(), tasks, "upgrad", trackers=("tensorboard",), out=tmp_path)
    history = trainer.fit(make_source(), make_source())
    events = EventAccumulator(str(tmp_path / "tracking"))
    events.Reload()
    assert {"train/a/loss", "train/b/weight", "val/a/rmse", "val/score", "train/a|b/cosine"} <= set(
        events.Tags()["scalars"]
    )
    logged = [(event.step, event.value) for event in events.Scalars("val/a/rmse")]
    assert logged == [
        (6, pytest.approx(history.value("rmse", "a", split="val", epoch=1))),
        (12, pytest.approx(history.value("rmse", "a", split="val", epoch=2))),
    ]
