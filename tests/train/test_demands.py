"""What methods ask of the loop beyond losses: validation metrics, and a second batch per step."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from tests.train.test_resume import Cut, cut_after

from polytask.balance import Balancer, get_method
from polytask.data import Batch, MultiTaskLoader, Part
from polytask.errors import ConfigError
from polytask.tasks import Task, TaskSet
from polytask.train import Trainer, check_metrics, halves
from polytask.train.demands import UNIT


class TestMetrics:
    @pytest.fixture
    def tasks(self):
        return TaskSet([Task("a", "binary"), Task("b", "binary", metrics=["accuracy"])])

    @pytest.fixture
    def make_source(self, make_source):
        def make(**options):
            source = make_source(**options)
            source.targets["a"] = (source.targets["a"] > 0).long()
            return source

        return make

    def test_dtp_follows_the_validation_metrics(self, tasks, make_net, make_source):
        """Epoch 1 has no metrics: weights of one. Every later epoch has the focal form of their running mean."""
        train, val = make_source(), make_source(seed=1)
        method = get_method("dtp", gamma=2.0, rate=1.0)
        trainer = Trainer(make_net(), tasks, method, epochs=4, batch_size=16, lr=0.01, progress=False)
        frame = trainer.fit(train, val).frame
        for task in tasks:
            rows = frame[frame.task == task]
            weight = rows[rows.quantity == "weight"].set_index("epoch")["value"]
            metric = rows[(rows.split == "val") & (rows.quantity == tasks[task].primary)].set_index("epoch")["value"]
            assert weight[1] == 1.0
            kappa = np.clip(metric[[1, 2, 3]].to_numpy(), 0.1, 1)
            np.testing.assert_allclose(weight[[2, 3, 4]], -((1 - kappa) ** 2) * np.log(kappa), rtol=1e-9)

    def test_resume_is_exact(self, tasks, make_net, make_source, bitwise, tmp_path):
        train, val = make_source(), make_source(seed=1)
        options = {"epochs": 3, "batch_size": 16, "lr": 0.02, "progress": False}
        whole = Trainer(make_net(), tasks, "dtp", **options)
        history = whole.fit(train, val)
        first = Trainer(make_net(), tasks, "dtp", out=tmp_path, checkpoint_every=2, **options)
        cut_after(first, 15)
        with pytest.raises(Cut):
            first.fit(train, val)
        again = Trainer(make_net(seed=3), tasks, "dtp", out=tmp_path, checkpoint_every=2, **options)
        assert again.fit(train, val, resume=True).rows == history.rows
        assert bitwise(again.model, whole.model)

    def test_an_undefined_metric_is_left_out(self, tasks, make_net, make_source):
        """One class only in validation: no AUROC of a, whose weight stays at one."""
        val = make_source(seed=1)
        val.targets["a"].fill_(1)
        trainer = Trainer(make_net(), tasks, "dtp", epochs=2, batch_size=16, progress=False)
        trainer.fit(make_source(), val)
        assert trainer.balancer.last.weights["a"] == 1.0
        assert trainer.balancer.last.weights["b"] != 1.0

    def test_validation_data_are_asked_for(self, tasks, make_net, make_source):
        with pytest.raises(ConfigError, match="DTP weighs tasks by their validation metrics: pass val="):
            Trainer(make_net(), tasks, "dtp", progress=False).fit(make_source())

    def test_metrics_that_are_errors_are_refused_before_training(self, make_net):
        tasks = TaskSet([Task("a"), Task("b", "binary")])
        with pytest.raises(ConfigError, match=r"the primary metric of 'a' is 'rmse'\. Put one of accuracy, .* first"):
            Trainer(make_net(), tasks, "dtp", progress=False)
        with pytest.raises(ConfigError, match="'a' is 'r2'"):
            check_metrics(get_method("dtp"), TaskSet([Task("a", metrics=["r2"])]))
        check_metrics(get_method("uw"), tasks)

    def test_what_only_the_user_can_measure_is_said(self, tasks, make_net):
        with pytest.raises(
            ConfigError, match=r"NTK asks for the trace .* training does not give; a loop of your own .*observe_metrics"
        ):
            Trainer(make_net(), tasks, "ntk", progress=False)

    @pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
    def test_the_metrics_allowed_are_best_at_one(self, kind):
        """Directions, and the value of perfect predictions, of every allowed metric of the kind."""
        task = Task("t", kind, classes=None if kind == "binary" else 3)
        shape = {"binary": (6,), "multiclass": (6, 3), "multilabel": (6, 3)}[kind]
        target = {
            "binary": torch.tensor([0, 1, 0, 1, 1, 0]),
            "multiclass": torch.tensor([0, 1, 2, 0, 1, 2]),
            "multilabel": torch.tensor([[0, 1, 0], [1, 0, 1]] * 3),
        }[kind]
        right = (torch.nn.functional.one_hot(target, 3) if kind == "multiclass" else target).reshape(shape) * 20.0 - 10
        values = {}
        for name, prediction in (("right", right), ("wrong", -right)):
            meter = TaskSet([task]).meter()
            meter.update({"t": prediction}, {"t": target})
            values[name] = meter.compute()["t"]
        for metric in set(UNIT) & set(task.directions):
            assert task.directions[metric] == 1
            assert values["right"][metric] == pytest.approx(1.0)
            assert 0 <= values["wrong"][metric] < 0.6


def test_halves_split_every_part_by_rows():
    table = {"n": torch.arange(8).reshape(4, 2), "c": torch.arange(4)}
    parts = (Part(table, {"a": torch.arange(4)}), Part(torch.arange(3), {"b": torch.arange(3)}))
    first, second = halves(Batch((*parts, Part(torch.zeros(1), {"a": torch.zeros(1)})), ("x", "y", "z")))
    assert (first.sources, second.sources) == (("x", "y"), ("x", "y", "z"))
    for i, part in enumerate(parts):
        for name, target in part.targets.items():
            assert torch.equal(torch.cat([first.parts[i].targets[name], second.parts[i].targets[name]]), target)
    assert first.parts[0].inputs["n"].tolist() == [[0, 1], [2, 3]]
    assert second.parts[1].inputs.tolist() == [1, 2]


def test_compare_and_check_refuse_before_anything_is_trained(tmp_path):
    from tests.study.toy import toy_data

    from polytask.study import compare

    for method, message in (("dtp", "'a' is 'rmse'"), ("ntk", "a loop of your own")):
        with pytest.raises(ConfigError, match=message):
            compare(toy_data(), methods=["stl", method], seeds=1, out=tmp_path, progress=False)
    assert not list(tmp_path.iterdir())


TWINS = ["modo", "stochastic_sdmgrad"]


class TestTwins:
    OPTIONS: ClassVar = {"epochs": 3, "batch_size": 16, "lr": 0.02, "progress": False}

    @pytest.mark.parametrize("method", TWINS)
    def test_the_trainer_gives_the_halves_of_each_batch(self, method, make_net, make_source, tasks, caplog):
        """Against a loop by hand, bit for bit."""
        net, twin, source = make_net(), make_net(), make_source()
        with caplog.at_level("INFO", logger="polytask"):
            Trainer(net, tasks, method, optimizer="sgd", **self.OPTIONS).fit(source)
        assert "compares the two halves of every batch" in caplog.text
        loader = MultiTaskLoader(source, batch_size=16)
        optimizer = torch.optim.SGD(twin.parameters(), lr=0.02)
        balancer = Balancer(method, tasks=tasks, announce=None)
        for _ in range(3):
            for batch in loader:
                inputs, targets = batch.parts[0]
                half = len(inputs) // 2
                one = tasks.losses(twin(inputs[:half]), {name: y[:half] for name, y in targets.items()})
                two = tasks.losses(twin(inputs[half:]), {name: y[half:] for name, y in targets.items()})
                optimizer.zero_grad()
                balancer.backward(one, twin=two)
                optimizer.step()
        for a, b in zip(net.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)

    @pytest.mark.parametrize("method", TWINS)
    def test_resume_is_exact(self, method, make_net, make_source, tasks, bitwise, tmp_path):
        train, val = make_source(missing=["b"]), make_source(seed=1)
        whole = Trainer(make_net(dropout=0.3), tasks, method, **self.OPTIONS)
        history = whole.fit(train, val)
        first = Trainer(make_net(dropout=0.3), tasks, method, out=tmp_path, checkpoint_every=2, **self.OPTIONS)
        cut_after(first, 18)  # two passes a step: nine steps
        with pytest.raises(Cut):
            first.fit(train, val)
        again = Trainer(make_net(seed=4, dropout=0.3), tasks, method, out=tmp_path, checkpoint_every=2, **self.OPTIONS)
        assert again.fit(train, val, resume=True).rows == history.rows
        assert bitwise(again.model, whole.model)
        assert again.balancer.state_dict() == whole.balancer.state_dict()

    def test_labels_in_one_half_only_do_not_count(self, make_net, make_source, tasks):
        source = make_source(32)
        source.targets["b"][:] = -100
        source.targets["b"][0] = 1  # one label: never in both halves
        trainer = Trainer(make_net(), tasks, "modo", epochs=1, batch_size=16, progress=False)
        history = trainer.fit(source)
        assert history.labels_seen == {"a": 32, "b": 0}
        assert torch.equal(trainer.model.heads["b"].weight, make_net().heads["b"].weight)

    def test_half_precision_sees_unscaled_gradients(self, make_net, make_source, tasks):
        history = Trainer(make_net(), tasks, "modo", precision="fp16", **self.OPTIONS).fit(make_source())
        plain = Trainer(make_net(), tasks, "modo", **self.OPTIONS).fit(make_source())
        for task in tasks:
            assert history.value("weight", task) == pytest.approx(plain.value("weight", task), rel=0.2)

    def test_what_cannot_be_halved_is_refused(self, make_net, make_source, tasks):
        with pytest.raises(ConfigError, match="batch_size must be at least 2"):
            Trainer(make_net(), tasks, "modo", batch_size=1, progress=False).fit(make_source())
        with pytest.raises(ConfigError, match="accumulation='per_micro_batch'"):
            Trainer(make_net(), tasks, "modo", accumulate=2, progress=False)
        options = {**self.OPTIONS, "accumulate": 2, "accumulation": "per_micro_batch"}
        assert Trainer(make_net(), tasks, "modo", **options).fit(make_source()).steps == 9
