"""Real training: trials that survive kills, damage, full disks and bad data; equal results whatever happens."""

import contextlib
import dataclasses
import errno
import importlib.util
import inspect
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from polytask.errors import ConfigError, MethodError, TrialError
from polytask.files import encode
from polytask.study import Comparison, compare
from polytask.study.outcome.verdict import judge
from polytask.study.trial import read_trial

SCRIPT = Path(__file__).with_name("toy.py")
spec = importlib.util.spec_from_file_location("toy", SCRIPT)
toy = importlib.util.module_from_spec(spec)
sys.modules["toy"] = toy
spec.loader.exec_module(toy)


def facts(comparison):
    """Everything of a study except times."""
    found = json.loads(encode([trial.to_dict() for trial in comparison.trials]))
    for trial in found:
        trial.pop("timing")
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The study, never interrupted."""
    return compare(toy.toy_data(), out=tmp_path_factory.mktemp("whole"), progress=False, **toy.OPTIONS)


def run(out, **options):
    return compare(toy.toy_data(), out=out, **{**toy.OPTIONS, "progress": False, **options})


def test_a_trial_per_method_and_seed_and_per_task_for_baselines(whole):
    assert len(whole.trials) == 2 * (3 + 3)
    assert not whole.failures
    assert {t.tasks for t in whole.trials if t.method == "stl"} == {("a",), ("b",), ("c",)}
    assert (whole.out / "results.json").exists()
    for folder in (whole.out / "trials").iterdir():
        *files, weights = sorted(file.name for file in folder.iterdir())
        assert files == ["answers.safetensors", "blueprint.json", "config.json", "trial.json"]
        assert weights.startswith("weights-")


def test_same_budget_everywhere(whole):
    assert {(trial.steps, trial.epochs) for trial in whole.trials} == {(9, 3)}


def test_labels_seen_counts_present_labels_only(whole):
    data = toy.toy_data()
    present = int((~data.train.targets["b"].isnan()).sum())
    assert {trial.labels_seen["b"] for trial in whole.trials if "b" in trial.tasks} == {3 * present}
    assert whole.protocol.tasks["b"].labels["train"] == present


def test_metrics_are_those_of_the_selected_epoch(whole):
    for trial in whole.trials:
        for task in trial.tasks:
            primary = whole.protocol.tasks[task].primary
            curve = trial.curves["val"][task][primary]
            assert len(curve) == 3
            assert trial.metrics["val"][task][primary] == pytest.approx(curve[trial.best_epoch - 1])


def test_seeds_are_paired_and_differ(whole):
    values = whole.primary["a"]
    assert values["stl", 0] != values["stl", 1]


def test_running_again_trains_nothing(whole, monkeypatch):
    monkeypatch.setattr("polytask.study.contenders.network.Trainer", None)
    assert facts(run(whole.out)) == facts(whole)


def test_adding_methods_and_seeds_keeps_finished_trials(tmp_path):
    run(tmp_path, methods=["stl", "equal"], seeds=1)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("trials/*/trial.json")}
    more = run(tmp_path, methods=["stl", "equal", "uw"], seeds=2)
    assert len(more.trials) == 10
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_another_option_is_another_trial(tmp_path):
    run(tmp_path, methods=["equal"], seeds=1)
    run(tmp_path, methods=["equal"], seeds=1, train={"epochs": 3, "batch_size": 32, "lr": 0.01})
    run(tmp_path, methods=["equal"], seeds=1, encoder="mlp:4")
    run(tmp_path, methods=["equal"], seeds=1, balancer={"scale": "sum_to_k"})
    assert len(list(tmp_path.glob("trials/*/trial.json"))) == 4


def test_resume_false_trains_anew(tmp_path):
    first = run(tmp_path, methods=["equal"], seeds=1)
    path = next(tmp_path.glob("trials/*/trial.json"))
    before = path.stat().st_mtime_ns
    assert facts(run(tmp_path, methods=["equal"], seeds=1, resume=False)) == facts(first)
    assert path.stat().st_mtime_ns > before


def kill_in_the_middle(out, workers, sign=signal.SIGKILL):
    """Start the study in a process of its own, end it amid a trial with others finished; its output and process."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(out), str(workers), "0.02"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        finished = list(out.glob("trials/*/trial.json"))
        started = [f for f in out.glob("trials/*/checkpoint/meta.json") if not (f.parents[1] / "trial.json").exists()]
        if len(finished) >= 2 and started:
            break
        time.sleep(0.01)
    process.send_signal(sign)
    output = process.communicate(timeout=30)[0]
    return process.returncode, output


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_and_run_again_equals_never_killed(tmp_path, whole, workers):
    before = spawned()
    code, _ = kill_in_the_middle(tmp_path, workers)
    assert code == -signal.SIGKILL
    deadline = time.monotonic() + 20
    while spawned() - before and time.monotonic() < deadline:  # workers end when their parent has gone
        time.sleep(0.05)
    assert not spawned() - before
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("trials/*/trial.json")}
    assert 2 <= len(kept) < 12
    again = run(tmp_path)
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
    assert facts(again) == facts(whole)
    assert not list(tmp_path.rglob("*.tmp"))
    assert not list(tmp_path.glob("trials/*/checkpoint*"))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_says_how_to_go_on_and_leaves_no_process(tmp_path, whole, workers):
    code, output = kill_in_the_middle(tmp_path, workers, signal.SIGINT)
    assert code == 130
    assert "of 12 trials finished" in output
    assert f"out={str(tmp_path)!r}" in output
    assert not processes_with(str(tmp_path))
    assert facts(run(tmp_path)) == facts(whole)


def processes_with(words):
    found = set()
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if words in place.read_text():
                found.add(int(place.parent.name))
        except OSError:
            continue
    return found - {os.getpid()}


def spawned():
    return processes_with("multiprocessing.spawn")


@pytest.mark.slow
def test_workers_do_not_change_results(tmp_path, whole):
    assert facts(run(tmp_path, workers=2)) == facts(whole)


def test_a_caller_keeps_threads_and_generators(tmp_path):
    threads = torch.get_num_threads()
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    run(tmp_path, methods=["equal"], seeds=1)
    assert torch.rand(1) == expected
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("damage", ["{", '{"id": 1}', "", None])
def test_an_unreadable_record_is_moved_aside_and_trained_again(tmp_path, damage, caplog):
    first = run(tmp_path, methods=["equal", "uw"], seeds=1)
    mine, other = (tmp_path / "trials" / trial.id / "trial.json" for trial in first.trials)
    mine.write_text(other.read_text() if damage is None else damage)
    assert facts(run(tmp_path, methods=["equal", "uw"], seeds=1)) == facts(first)
    assert "moved aside" in caplog.text
    assert mine.with_name("trial.json.unreadable").exists()


def test_a_damaged_checkpoint_starts_afresh(tmp_path):
    first = run(tmp_path, methods=["equal"], seeds=1)
    folder = tmp_path / "trials" / first.trials[0].id
    (folder / "trial.json").unlink()
    (folder / "checkpoint").mkdir()
    (folder / "checkpoint" / "meta.json").write_text("{}")
    (folder / ".trial.json.77.tmp").write_text("half")
    assert facts(run(tmp_path, methods=["equal"], seeds=1)) == facts(first)
    assert not list(folder.glob(".*"))


def test_a_failing_trial_is_recorded_and_the_others_go_on(tmp_path):
    comparison = compare(toy.toy_data(poison=True), out=tmp_path, progress=False, **{**toy.OPTIONS, "seeds": 1})
    failed = {(trial.method, trial.tasks) for trial in comparison.failures}
    assert ("stl", ("a",)) in failed
    assert ("equal", ("a", "b", "c")) in failed
    assert {t.tasks for t in comparison.trials if t.method == "stl" and not t.failed} == {("b",), ("c",)}
    assert all("NonFiniteError" in trial.error and "'a'" in trial.error for trial in comparison.failures)
    folder = tmp_path / "trials" / comparison.failures[0].id
    assert (folder / "failure.json").exists()
    assert not (folder / "trial.json").exists()
    assert Comparison.load(tmp_path).failures == comparison.failures


def test_a_failed_trial_is_tried_again(tmp_path, monkeypatch):
    from polytask.study.contenders import network as module

    real = module.Trainer
    monkeypatch.setattr(module, "Trainer", lambda *a, **k: 1 / 0 if len(a[1]) == 3 else real(*a, **k))
    broken = run(tmp_path, methods=["stl", "equal"], seeds=1)
    assert [t.error for t in broken.failures] == ["ZeroDivisionError: division by zero"]
    assert broken.verdict_of("equal") == "failed"
    monkeypatch.undo()
    assert not run(tmp_path, methods=["stl", "equal"], seeds=1).failures
    assert not list(tmp_path.glob("trials/*/failure.json"))


def test_all_trials_failing_is_an_error(tmp_path):
    with pytest.raises(TrialError, match=r"all 1 trials failed.*NonFiniteError"):
        compare(
            toy.toy_data(poison=True), methods=["equal"], seeds=1, train={"epochs": 1}, out=tmp_path, progress=False
        )


def test_a_full_disk_surfaces_and_leaves_no_half_file(tmp_path, monkeypatch):
    real = os.fsync

    def full(handle):
        if "trial.json" in str(Path(f"/proc/self/fd/{handle}").readlink()):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TrialError, match="No space left on device"):
        run(tmp_path, methods=["equal"], seeds=1)
    assert not list(tmp_path.rglob("trial.json*"))
    assert not list(tmp_path.rglob("*.tmp"))
    monkeypatch.undo()
    assert not run(tmp_path, methods=["equal"], seeds=1).failures


@pytest.mark.parametrize("where", ["checkpoint", "trial.json"])
def test_a_full_disk_is_no_failure_of_the_method(where, tmp_path, small_disk, monkeypatch):
    """A disk that is really full: while a checkpoint is written, and when the record is."""
    from polytask.study.contenders import network as module

    filler = small_disk / "filler"

    def fill(*args):
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"0" * 65536)

    if where == "checkpoint":
        real = module.Trainer
        monkeypatch.setattr(module, "Trainer", lambda *a, **k: (fill(), real(*a, **k))[1])
    else:
        monkeypatch.setattr(module, "_curves", lambda *a: fill() or {})
    out = small_disk / "study"
    with pytest.raises(TrialError, match=r"could not be written: the disk is full \(No space left"):
        run(out, methods=["equal"], seeds=1)
    assert not list(out.rglob("failure.json"))
    assert not list(out.rglob("trial.json"))
    assert not list(out.rglob("*.tmp"))
    assert not list(out.rglob("*.lock"))
    filler.unlink()
    monkeypatch.undo()
    assert facts(run(out, methods=["equal"], seeds=1)) == facts(run(tmp_path, methods=["equal"], seeds=1))


def flip(path, place=-40):
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)


def edited(**changes):
    """Change values of a record as an editor would, and take the checksum out, as an earlier version wrote it."""

    def edit(folder):
        values = json.loads((folder / "trial.json").read_text())
        values.pop("checksum")
        (folder / "trial.json").write_text(json.dumps({**values, **changes}))

    return edit


def replaced(folder, content=None):
    """A file, or a folder, in the place of a trial's folder."""
    shutil.rmtree(folder)
    if content is None:
        folder.symlink_to(folder.parent / "nowhere")
    else:
        folder.write_text(content)


DAMAGES = {
    "a bit": lambda folder: flip(folder / "trial.json"),
    "a digit": lambda folder: (folder / "trial.json").write_text(
        (folder / "trial.json").read_text().replace('"best_epoch": ', '"best_epoch": 1')
    ),
    "a folder in its place": lambda folder: ((folder / "trial.json").unlink(), (folder / "trial.json").mkdir()),
    "a trial that is a file": lambda folder: replaced(folder, "text"),
    "a trial that is a dead link": replaced,
    "seed": edited(seed="0"),
    "tasks": edited(tasks="abc"),
    "metrics": edited(metrics={"test": {"a": {"rmse": "low"}}}),
    "metrics of a list": edited(metrics=[]),
    "curves": edited(curves={"val": {"a": {"rmse": 0.5}}}),
    "balance": edited(balance={"a": 1}),
    "epochs": edited(epochs=2.5),
    "timing": edited(timing={"seconds": "fast"}),
    "versions": edited(versions={"torch": 2}),
    "a failure": edited(error="oh"),
    "a field more": edited(mine=1),
    "not UTF-8": lambda folder: (folder / "trial.json").write_bytes(b"\xff\xfe"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_trial_is_named_moved_aside_and_done_again(damage, tmp_path, caplog):
    first = run(tmp_path, methods=["equal"], seeds=1)
    folder = tmp_path / "trials" / first.trials[0].id
    DAMAGES[damage](folder)
    assert facts(run(tmp_path, methods=["equal"], seeds=1)) == facts(first)
    assert "moved aside" in caplog.text
    assert str(folder) in caplog.text
    assert len(list((tmp_path / "trials").rglob("*.unreadable"))) == 1
    caplog.clear()
    assert facts(run(tmp_path, methods=["equal"], seeds=1)) == facts(first)
    assert "moved aside" not in caplog.text


@pytest.mark.parametrize("lost", ["balancer", "run", "everything"])
def test_a_checkpoint_that_lacks_something_is_no_failure_of_the_method(lost, tmp_path, monkeypatch, caplog):
    from polytask.study.contenders import network as module
    from polytask.train.checkpoint import read
    from polytask.train.store import write

    expected = facts(run(tmp_path / "whole", methods=["equal"], seeds=1))
    monkeypatch.setattr(module, "_curves", lambda *a: 1 / 0)
    with pytest.raises(TrialError, match="ZeroDivisionError"):
        run(tmp_path, methods=["equal"], seeds=1)
    monkeypatch.undo()
    folder = next((tmp_path / "trials").iterdir())
    (folder / "failure.json").unlink()
    found = read(folder / "checkpoint")
    state = {} if lost == "everything" else {**found.state, lost: {}}
    write(folder / "checkpoint", dataclasses.replace(found, state=state))
    assert facts(run(tmp_path, methods=["equal"], seeds=1)) == expected
    assert "starts afresh" in caplog.text


def test_a_finished_trial_keeps_no_checkpoint_of_earlier_formats(tmp_path):
    first = run(tmp_path, methods=["equal"], seeds=1)
    folder = tmp_path / "trials" / first.trials[0].id
    for name in ("checkpoint", "checkpoint.previous", "checkpoint.writing"):
        (folder / name).mkdir()
        (folder / name / "meta.json").write_text("{}")
    run(tmp_path, methods=["equal"], seeds=1)
    kept = [file.name for file in folder.iterdir() if not file.name.startswith("weights-")]
    assert sorted(kept) == ["answers.safetensors", "blueprint.json", "config.json", "trial.json"]


def test_links_in_a_study_are_not_written_through(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    out = tmp_path / "study"
    out.mkdir()
    (out / ".lock").symlink_to(victim)
    with pytest.raises(TrialError, match=r"\.lock could not be written: it is a symbolic link.*choose another place"):
        run(out, methods=["equal"], seeds=1)
    (out / ".lock").unlink()
    (out / "results.json").symlink_to(victim)
    run(out, methods=["equal"], seeds=1)
    assert victim.read_text() == "precious"
    assert Comparison.load(out).trials


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you tried"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
    ids=["python", "gpu", "cpu", "system"],
)
def test_a_trial_out_of_memory_is_not_judged(error, tmp_path, monkeypatch):
    from polytask.study.contenders import network as module

    real = module.Trainer.fit

    def fit(self, *args, **kwargs):
        if len(self.tasks) == 3:
            raise error
        return real(self, *args, **kwargs)

    monkeypatch.setattr(module.Trainer, "fit", fit)
    broken = run(tmp_path, methods=["stl", "equal"], seeds=1)
    assert [trial.limit for trial in broken.unjudged] == ["out of memory"]
    assert broken.verdict_of("equal") == "not judged: out of memory"
    words = str(broken)
    assert "not judged, out of memory: equal, seed 0, a+b+c" in words
    assert "failed" not in words
    assert "1 of 4 trials could not be judged: out of memory (equal)" in str(judge(broken))
    assert Comparison.load(tmp_path).unjudged == broken.unjudged
    monkeypatch.undo()
    assert not run(tmp_path, methods=["stl", "equal"], seeds=1).failures


@pytest.mark.slow
def test_a_worker_that_is_killed_is_not_judged_and_the_others_go_on(tmp_path):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path), "3", "0", "deadly"],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    found = Comparison.load(tmp_path)
    assert {(trial.seed, trial.limit) for trial in found.trials} == {(0, ""), (1, "killed, probably out of memory")}
    assert len(found.unjudged) == 4
    assert found.verdict_of("equal") == "one seed"


def test_two_processes_cannot_share_a_folder(tmp_path):
    from polytask.folders import locked

    with locked(tmp_path), pytest.raises(TrialError, match="another process"):
        run(tmp_path, methods=["equal"], seeds=1)


@pytest.mark.parametrize(("selection", "epoch"), [("last", lambda t: t.epochs), ("test", lambda t: t.best_epoch)])
def test_selection_rules(tmp_path, selection, epoch):
    comparison = run(tmp_path, methods=["equal"], seeds=2, selection=selection)
    for trial in comparison.trials:
        assert trial.best_epoch == epoch(trial)
        split = "test" if selection == "test" else "val"
        for task in trial.tasks:
            primary = comparison.protocol.tasks[task].primary
            value = trial.metrics[split][task][primary]
            assert value == pytest.approx(trial.curves[split][task][primary][trial.best_epoch - 1])
    assert ("SELECTED ON TEST" in str(comparison)) == (selection == "test")


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"methods": ["equall"]}, ConfigError, "did you mean 'equal'"),
        ({"methods": []}, ConfigError, "at least one method"),
        ({"methods": ["equal", "equal"]}, ConfigError, "given twice"),
        ({"methods": ["cagrad:d=1"]}, (ConfigError, MethodError), "cagrad"),
        ({"methods": ["stl:a=1"]}, ConfigError, "no options"),
        ({"methods": ["gcs"]}, ConfigError, "method 'gcs' needs the option primary, as in 'gcs:primary="),
        ({"seeds": 0}, ConfigError, "seeds"),
        ({"seeds": [1, 1]}, ConfigError, "seeds"),
        ({"selection": "best"}, ConfigError, "selection"),
        ({"workers": 0}, ConfigError, "workers"),
        ({"train": {"epoch": 3}}, ConfigError, "did you mean 'epochs'"),
        ({"train": {"task_lr": {"aa": 0.1}}}, ConfigError, "unknown task in task_lr 'aa'; did you mean 'a'"),
        ({"train": {"stop": "men_delta"}}, ConfigError, "unknown stop 'men_delta'; did you mean 'mean_delta'"),
        ({"balancer": {"grad": "params"}}, ConfigError, "did you mean 'grads'"),
        ({"balancer": {"every": 0}}, (ConfigError, MethodError), "every"),
        ({"encoder": "mpl:8"}, ConfigError, "mlp"),
    ],
)
def test_wrong_arguments_are_told_before_training(tmp_path, options, error, words):
    with pytest.raises(error, match=words):
        run(tmp_path, **{"methods": ["equal"], "seeds": 1, **options})
    assert not list(tmp_path.rglob("trial.json"))


@pytest.mark.parametrize(("split", "words"), [("val", "no validation rows"), ("test", "no test rows")])
def test_a_split_without_rows_is_told_before_training(tmp_path, split, words):
    data = toy.toy_data()
    empty = dataclasses.replace(data, **{split: data.train.subset(torch.arange(0))})
    with pytest.raises(ConfigError, match=words):
        compare(empty, methods=["stl", "equal"], seeds=1, out=tmp_path)
    assert not list(tmp_path.rglob("trial.json"))


def test_without_validation_rows_the_last_epoch_can_be_judged(tmp_path):
    data = toy.toy_data()
    empty = dataclasses.replace(data, val=data.train.subset(torch.arange(0)))
    done = compare(empty, methods=["equal"], seeds=1, train={"epochs": 2}, selection="last", out=tmp_path)
    assert done.trials[0].best_epoch == 2


def test_what_is_no_data_is_named(tmp_path):
    anything = inspect.unwrap(compare)  # past the type check that only tests have
    with pytest.raises(ConfigError, match=r"found list; polytask\.data\.read_table makes one"):
        anything([1], out=tmp_path)


def test_an_encoder_of_ones_own(tmp_path):
    comparison = run(tmp_path, methods=["stl", "equal"], seeds=1, encoder=own_encoder)
    assert "own_encoder" in comparison.protocol.encoder
    assert comparison.trials[-1].parameters["shared"] == 6 * 5 + 5


def own_encoder(inputs):
    module = torch.nn.Linear(inputs.shape[0], 5)
    module.out_features = 5
    return module


def test_options_that_concern_absent_tasks_are_left_out_of_single_task_models(tmp_path):
    train = {"epochs": 2, "batch_size": 32, "task_lr": {"a": 0.1}, "stop": "b", "patience": 5}
    comparison = run(tmp_path, methods=["stl", "equal"], seeds=1, train=train)
    assert not comparison.failures


def test_read_trial_of_an_unfinished_folder(tmp_path):
    assert read_trial(tmp_path / "none") is None


def test_trial_ids_are_readable(whole):
    assert all(trial.id.startswith(f"{trial.method}-") and f"-s{trial.seed}-" in trial.id for trial in whole.trials)
    assert len({trial.id for trial in whole.trials}) == len(whole.trials)
    assert dataclasses.is_dataclass(whole.trials[0])
