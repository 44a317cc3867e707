"""``polytask check``."""

import numpy as np
import pandas as pd
import pytest

from polytask.cli.cost import EVIDENCE
from polytask.cli.dryrun import dry_run
from polytask.study import Config


def test_a_dry_run_says_what_training_would_meet(polytask, config):
    outcome = polytask("check", config, "--json")
    assert outcome.code == 0, outcome.err
    found = outcome.json
    tasks = found["data"]["tasks"]
    assert tasks["price"]["missing"] == {"train": 0.0, "val": 0.0, "test": 0.0}
    assert 0.3 < tasks["sold"]["missing"]["train"] < 0.7
    assert found["batch"]["labels"]["price"] == 64
    assert 0 < found["batch"]["labels"]["sold"] < 64
    model = found["model"]
    assert model["shared"] > 0
    assert model["per_task"] == {"price": 9, "sold": 9}
    assert model["unreached"] == []


def test_the_cost_of_each_method(polytask, config):
    outcome = polytask("check", config, "--set", 'protocol.methods=["stl", "equal", "upgrad"]', "--json")
    methods = outcome.json["methods"]
    assert set(methods) == {"stl", "equal", "upgrad"}
    assert methods["equal"]["backward_passes"] == 1
    assert methods["equal"]["ratio_to_equal"] == 1
    assert methods["upgrad"]["backward_passes"] >= 2
    assert all(cost["milliseconds"] > 0 and cost["megabytes"] > 0 for cost in methods.values())


def test_every_way_to_collect_gradients_has_its_cost(polytask, config):
    """Passes that follow from what the ways do, for two tasks; bytes that follow from what they hold."""
    methods = '["uw", "upgrad", "adatask"]'
    wide = ("--set", "model.encoder=tabular:256,256")  # parameters rather than activations fill the memory
    outcome = polytask("check", config, "--set", f"protocol.methods={methods}", *wide, "--json")
    assert outcome.code == 0, outcome.err
    found = outcome.json["methods"]
    assert "evidence" not in found["uw"]
    ways = found["upgrad"]["evidence"]
    passes = {way: cost["backward_passes"] for way, cost in ways.items()}
    # K; K and one through the trunk; K and the weighted sum; one solution and nine times heads and trunk; ...
    assert passes == {
        "params": 2,
        "features": 3,
        "last_layer": 3,
        "sub_batch": 4,
        "every": pytest.approx((2 + 9 * 2) / 10),
        "low_memory": 3,
        "row_dtype": 2,
    }
    assert all(cost["milliseconds"] > 0 and cost["ratio_to_equal"] > 0 for cost in ways.values())
    rows = 2 * outcome.json["model"]["shared"] * 4 / 1e6
    assert ways["params"]["extra_megabytes"] >= rows
    assert ways["low_memory"]["extra_megabytes"] < ways["params"]["extra_megabytes"]
    assert list(found["adatask"]["evidence"]) == ["params", "features", "row_dtype"]
    # Two moments per task and shared parameter, besides the rows.
    assert found["adatask"]["extra_megabytes"] >= 3 * rows


def test_the_ways_are_printed_unless_told_otherwise(polytask, config):
    methods = ("--set", 'protocol.methods=["equal", "upgrad"]')
    assert "low_memory=True" in polytask("check", config, *methods).out
    brief = polytask("check", config, *methods, "--no-evidence").out
    assert "low_memory=True" not in brief
    assert "extra MB" in brief


def test_nothing_is_written(polytask, config):
    before = sorted(config.parent.rglob("*"))
    text = polytask("check", config)
    assert text.code == 0, text.err
    assert sorted(config.parent.rglob("*")) == before
    assert "shared" in text.out
    assert "ms per step" in text.out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--set", "tasks.prise.kind=regression"], "'price'"),
        (["--set", "tasks.place.kind=regression"], "place"),
        (["--set", "model.encoder=tabullar:8"], "tabular"),
        (["--set", "model.architecture=hrad"], "hard"),
    ],
)
def test_what_would_stop_training_stops_the_dry_run(polytask, config, words, expected):
    outcome = polytask("check", config, *words)
    assert outcome.code == 2, outcome.err
    assert expected in outcome.err


def test_a_method_of_two_batches_is_timed_on_the_halves(polytask, config):
    outcome = polytask("check", config, "--set", 'protocol.methods=["equal", "modo"]', "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["methods"]["modo"]["backward_passes"] == 2 * 2


@pytest.mark.parametrize(("method", "expected"), [("dtp", "primary metric of 'price'"), ("ntk", "loop of your own")])
def test_metrics_that_training_cannot_give_are_said(polytask, config, method, expected):
    outcome = polytask("check", config, "--set", f'protocol.methods=["equal", "{method}"]')
    assert outcome.code == 2
    assert expected in " ".join(outcome.err.split())


def test_surprises_of_the_table_are_shown_with_remedies_for_the_configuration(polytask, config, tmp_path):
    path = next(tmp_path.glob("*.csv"))
    lines = path.read_text().splitlines()
    fields = lines[5].split(",")
    fields[1] = "1e20"
    path.write_text("\n".join([*lines[:5], ",".join(fields), *lines[6:]]) + "\n")
    outcome = polytask("check", config, "--no-evidence", "--set", 'protocol.methods=["equal"]')
    assert outcome.code == 0, outcome.err
    assert "row 5 holds 1e+20" in outcome.out
    assert '[data.missing_values] size = ["1e+20"]' in outcome.out


def test_ways_are_not_begun_when_time_is_up(config):
    settings = Config.load(config).with_values({"protocol.methods": ["equal", "upgrad"]})
    found = dry_run(settings, say=lambda text: None, seconds=0.0)
    assert found["not_timed"] == {"upgrad": list(EVIDENCE)}
    assert found["methods"]["upgrad"]["milliseconds"] > 0


def test_check_counts_the_test_rows_that_a_verdict_needs(polytask, config, table):
    """Three of the test rows sold: too few of them to judge by, which is told before anything is trained."""
    frame = pd.read_csv(table)
    frame["sold"] = ["yes"] * 15 + ["no"] * (len(frame) - 15)
    frame.to_csv(table, index=False)
    outcome = polytask("check", config, "--set", "data.stratify=true", "--set", 'protocol.methods=["ridge"]')
    assert outcome.code == 0, outcome.err
    rows = 100 * -(-len(frame) * 5 // 300)  # 5/3 of the rows there are, to two digits
    words = f"no verdict on sold: 3 test rows of its rarer class, at least 5 needed; about {rows} rows would do"
    assert words in " ".join(outcome.out.split())
    assert "no verdict on price" not in outcome.out


def test_rows_of_each_class_are_counted_and_too_few_are_told(polytask, config, tmp_path):
    path = next(tmp_path.glob("*.csv"))
    frame = pd.read_csv(path)
    frame["sold"] = np.where(np.arange(len(frame)) % 80 == 3, "yes", "no")  # three of 240
    frame.to_csv(path, index=False)
    words = ("--no-evidence", "--set", 'protocol.methods=["equal"]')
    found = polytask("check", config, *words, "--json").json["data"]
    counts = found["tasks"]["sold"]["classes"]
    assert {label: sum(counts[split][label] for split in counts) for label in ("yes", "no")} == {"yes": 3, "no": 237}
    assert found["tasks"]["price"]["classes"] == {}
    rare = [split for split in counts if counts[split]["yes"] < 5]
    for split in rare:
        assert any(f"'yes' in {split}" in say or "no training row" in say for say in found["warnings"])
    text = polytask("check", config, *words).out
    assert "train rows" in text
    assert "of 240 rows 3 are 'yes'" in text


def test_many_classes_take_four_lines(polytask, config, tmp_path):
    path = next(tmp_path.glob("*.csv"))
    frame = pd.read_csv(path)
    frame["sold"] = [f"kind {i % 12}" for i in range(len(frame))]
    frame.to_csv(path, index=False)
    words = ("--no-evidence", "--set", 'protocol.methods=["equal"]', "--set", "tasks.sold.kind=multiclass")
    text = polytask("check", config, *words).out
    assert "sold, 12 classes" in text
    assert sum(" kind " in line for line in text.splitlines() if "!" not in line) <= 4 + 1  # and the heading
