"""The page: complete, self-contained, equal for equal results, and clean in a real browser."""

import dataclasses
import os
import re
import shutil
from pathlib import Path

import pytest

from polytask.errors import TrialError
from polytask.study import Comparison
from polytask.study.outcome.comparison import TaskInfo
from polytask.study.outcome.figures import SECTIONS, Figure, Omitted
from polytask.study.outcome.figures.pareto import front
from polytask.study.outcome.report import render


@pytest.fixture(scope="module")
def page(request):
    from importlib import util

    spec = util.spec_from_file_location("fixed_study", Path(__file__).with_name("conftest.py"))
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return render(module.make_comparison())


def test_sections_stand_in_their_order(page):
    order = ["results", "delta", "curves", "weights", "conflicts", "pareto", "labels", "cost", "provenance"]
    assert re.findall(r'<section id="([^"]+)"', page) == order
    assert page.index('class="verdict"') < page.index('id="results"')


def test_every_id_is_unique_and_every_reference_has_its_target(page):
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    targets = re.findall(r'href="#([^"]+)"', page) + re.findall(r"url\(#([^)]+)\)", page)
    assert set(targets) <= set(ids)


def test_no_external_address(page):
    assert not re.search(r"https?:|//[a-z]|@import|<script|<iframe|<link[^>]+stylesheet", page)
    assert all(address.startswith(("#", "data:")) for address in re.findall(r'(?:href|src)="([^"]+)"', page))


def test_equal_results_give_an_equal_page(page, make):
    assert render(make()) == page


def test_every_figure_states_its_finding_and_offers_its_data(page, comparison):
    figures = [figure for section in SECTIONS if isinstance(figure := section(comparison), Figure)]
    assert len(figures) >= 7
    for figure in figures:
        assert figure.title
        assert figure.title != figure.name
        assert len(figure.data) > 0
        assert f'download="{figure.id}.csv"' in page


def test_titles_follow_the_numbers(comparison):
    titles = {f.id: f.title for section in SECTIONS if isinstance(f := section(comparison), Figure)}
    assert titles["delta"].startswith("Better: fairgrad +")
    assert "age and sex pull apart under fairgrad" in titles["conflicts"]
    assert titles["labels"] == "sex lacks 30 % of its training labels"
    assert "fairgrad" in titles["pareto"]
    assert "0.44×" in titles["cost"]
    assert "bmi" in titles["weights"]


def test_what_is_not_there_is_not_drawn_and_says_why(page):
    assert "affinities between tasks were not measured" in page
    assert "the trials recorded none (architecture: hard)" in page


def test_front_keeps_exactly_the_methods_nobody_beats(comparison):
    means = comparison.primary.groupby("method", sort=False).mean()
    infos = comparison.protocol.tasks
    oriented = means * [infos[t].directions[infos[t].primary] for t in means.columns]
    for method in means.index:
        beaten = any(
            (oriented.loc[o] >= oriented.loc[method]).all() and (oriented.loc[o] > oriented.loc[method]).any()
            for o in means.index
        )
        assert (method in front(comparison, means)) != beaten


@pytest.mark.parametrize(
    "change",
    [
        {"seeds": (0,)},
        {"methods": ("equal",)},
        {"methods": ("stl", "equal")},
        {"tasks": ["age"]},
        {"tasks": ["age", "sex"]},
        {"selection": "test"},
    ],
)
def test_small_studies_render(make, change):
    page = render(make(**change))
    assert page.rstrip().endswith("</html>")
    if change.get("selection") == "test":
        assert "Epochs were selected on the test rows" in page
        assert page.count("too good") >= 8


def test_a_study_with_failures_only_in_one_method_renders(comparison):
    trials = [
        dataclasses.replace(t, metrics={}, curves={}, balance=[], parameters={}, timing={}, steps=0, error="NaN <b>!")
        if t.method == "fairgrad"
        else t
        for t in comparison.trials
    ]
    page = render(Comparison(comparison.protocol, trials))
    assert "NaN &lt;b&gt;!" in page
    assert "<b>!" not in page


def test_many_tasks_are_drawn_selectively(comparison):
    def worse(index, trial):
        return 1 + 0.01 * index * (trial.method == "equal")

    names = [f"t{i}" for i in range(14)]
    info = TaskInfo("regression", "mae", {"mae": -1}, "", {"train": 10, "val": 5, "test": 5})
    trials = [
        dataclasses.replace(
            t, tasks=tuple(names), balance=[], curves={"val": {n: {"mae": [3.0, 2.0]} for n in names}},
            metrics={"test": {n: {"mae": worse(i, t) + 0.001 * t.seed} for i, n in enumerate(names)}},
        )
        for t in comparison.trials if t.tasks != ("sex",) and t.tasks != ("bmi",)
    ]  # fmt: skip
    protocol = dataclasses.replace(comparison.protocol, tasks=dict.fromkeys(names, info))
    wide = Comparison(protocol, trials)
    drawn = {f.id: f for section in SECTIONS if isinstance(f := section(wide), Figure)}
    assert len(drawn["delta"].panels) == 9
    assert "8 of 14 tasks" in drawn["delta"].caption
    assert len(drawn["pareto"].panels) == 1
    assert len(str(wide).splitlines()) > 10


def test_nothing_recorded_gives_reasons_instead_of_empty_figures(comparison):
    bare = [dataclasses.replace(t, curves={}, balance=[], timing={}) for t in comparison.trials]
    kinds = [section(Comparison(comparison.protocol, bare)) for section in SECTIONS]
    omitted = {item.name for item in kinds if isinstance(item, Omitted)}
    assert {"Learning curves", "Weights and effective shares", "Gradient conflicts", "Cost"} <= omitted


def test_names_are_escaped(make):
    comparison = make()
    protocol = dataclasses.replace(comparison.protocol, name='<img src="x">', about="a & b")
    page = render(Comparison(protocol, comparison.trials))
    assert "<img" not in page
    assert "a &amp; b" in page


def test_report_is_written_whole_or_not_at_all(comparison, tmp_path):
    assert comparison.report(tmp_path / "deep") == tmp_path / "deep" / "report.html"
    (tmp_path / "file").write_text("x")
    with pytest.raises(TrialError, match=r"report\.html could not be written: something else is in its place"):
        comparison.report(tmp_path / "file" / "report.html")


def browser():
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("POLYTASK_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@pytest.mark.slow
@pytest.mark.skipif(browser() is None, reason="no Chromium here: install it, or set POLYTASK_CHROMIUM")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("width", [360, 1280])
def test_real_browser_finds_nothing_wrong(page, tmp_path, width):
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    file = tmp_path / "report.html"
    file.write_text(page, encoding="utf-8")
    complaints, requests = [], []
    with sync.sync_playwright() as play:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
        chromium = play.chromium.launch(executable_path=browser(), args=arguments)
        tab = chromium.new_page(viewport={"width": width, "height": 900})
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("request", lambda request: requests.append(request.url))
        tab.goto(file.as_uri())
        tab.wait_for_load_state("networkidle")
        drawings = tab.locator(".panels svg")
        boxes = drawings.evaluate_all("all => all.map(drawing => drawing.getBoundingClientRect())")
        overflow = tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        with tab.expect_download() as download:
            tab.locator('a[download="delta.csv"]').click()
        csv = Path(download.value.path()).read_text()
        chromium.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert len(boxes) >= 12
    assert all(box["width"] > 200 and box["height"] > 50 for box in boxes)
    assert overflow <= 0
    assert csv.splitlines()[0] == "method,task,gain,ci_low,ci_high,seeds"


def test_estimators_among_networks_are_told_and_not_drawn_where_they_have_nothing(comparison):
    fitted = [
        dataclasses.replace(
            t, method="joint_feature", curves={}, balance=[], steps=0, epochs=0, timing={"seconds": 0.004},
            parameters={"age": 7, "sex": 7, "bmi": 7},
            fitted={"age+bmi": {"alpha": 0.1 * (1 + t.seed)}, "sex": {"alpha": 0.5}},
        )
        for t in comparison.trials if t.method == "equal"
    ]  # fmt: skip
    protocol = dataclasses.replace(
        comparison.protocol, methods=(*comparison.methods, "joint_feature"), estimators={"joint_feature": "a family"}
    )
    studied = Comparison(protocol, [*comparison.trials, *fitted])
    figures = {f.id: f for section in SECTIONS if isinstance(f := section(studied), Figure)}
    assert "joint_feature" not in [method for method, _ in figures["curves"].legend]
    assert "not drawn: joint_feature" in figures["curves"].caption
    assert "joint_feature" not in set(figures["weights"].data["method"])
    row = next(row for row in figures["cost"].table if row[0] == "joint_feature")
    assert row[2:] == ("0.0011×", "no steps", "21", "0.00069×")
    page = render(studied)
    assert "a family. Chosen: age, bmi: alpha 0.1 to 0.5; sex: alpha 0.5." in page
    assert "nan" not in page[: page.index("<details>")].replace("nance", "")


def test_a_study_of_estimators_alone_has_no_curves_and_no_network(comparison):
    bare = [
        dataclasses.replace(t, curves={}, balance=[], steps=0, epochs=0)
        for t in comparison.trials
        if t.method in ("equal", "uw")
    ]
    protocol = dataclasses.replace(
        comparison.protocol, methods=("equal", "uw"), encoder="", train={}, estimators={"equal": "one", "uw": "two"}
    )
    page = render(Comparison(protocol, bare))
    assert "<dt>Model</dt>" not in page
    assert "<dt>Training</dt>" not in page
    assert "no trial has validation values over two or more epochs" in page


@pytest.mark.parametrize(("gain", "cut"), [(-122.0, True), (-6.0, False)])
def test_an_outlier_does_not_flatten_the_other_bars(comparison, gain, cut):
    trials = [
        dataclasses.replace(
            t,
            metrics={
                "test": {n: {m: v * (1 - gain / 100) for m, v in ms.items()} for n, ms in t.metrics["test"].items()}
            },
        )
        if t.method == "equal" and "sex" in t.tasks
        else t
        for t in comparison.trials
    ]
    study = Comparison(comparison.protocol, trials)
    figure = SECTIONS[0](study)
    assert ("goes on beyond the axis" in figure.caption) == cut
    assert f"{study.interval('equal', 'age').mean:+.{0 if cut else 1}f} %".replace("-", "−") in figure.panels[1].svg
    ticks = [abs(float(x.replace("−", "-"))) for x in re.findall(r">([+−][\d.]+) %</text>", figure.panels[1].svg)]
    assert (max(tick for tick in ticks if tick < 100) <= 15) or not cut


@pytest.mark.parametrize(
    ("norms", "title"),
    [
        ((1.0, 1.0, 1.0, 1.04), "No task dominates: even under fairgrad shares of the step go from 25 % (t0) to 26 %"),
        ((1.0, 1.0, 1.0, 6.0), "Under fairgrad, t3 takes 67 % of the step on average, where an even share is 25 %"),
    ],
)  # fmt: skip
def test_a_share_of_the_step_is_told_beside_an_even_one(comparison, norms, title):
    names = [f"t{place}" for place in range(4)]
    info = comparison.protocol.tasks["age"]
    shares = dict(zip(names, (norm / sum(norms) for norm in norms), strict=True))
    record = {"weights": dict.fromkeys(names, 1.0), "shares": shares, "norms": dict(zip(names, norms, strict=True))}
    trials = [
        dataclasses.replace(
            t, tasks=tuple(names), balance=[record] * 3, curves={},
            metrics={"test": {name: {"mae": 1.0 + 0.1 * t.seed} for name in names}},
        )
        for t in comparison.trials if t.method == "fairgrad"
    ]  # fmt: skip
    protocol = dataclasses.replace(comparison.protocol, tasks=dict.fromkeys(names, info), methods=("fairgrad",))
    figures = {f.id: f for section in SECTIONS if isinstance(f := section(Comparison(protocol, trials)), Figure)}
    assert figures["weights"].title.startswith(title)


def test_weights_that_move_are_told_by_how_much(comparison):
    trials = [t for t in comparison.trials if t.method in ("stl", "uw")]
    protocol = dataclasses.replace(comparison.protocol, methods=("stl", "uw"))
    figures = {f.id: f for section in SECTIONS if isinstance(f := section(Comparison(protocol, trials)), Figure)}
    assert figures["weights"].title == "Under uw, the weight of bmi grows to 2.4× over the training"  # 1 + 0.1·7·2


def test_the_words_on_intervals_fit_the_splits(comparison):
    assert "not the choice of rows" in SECTIONS[0](comparison).caption
    varied = Comparison(dataclasses.replace(comparison.protocol, splits="hold-outs"), comparison.trials)
    assert "it is about other rows" in SECTIONS[0](varied).caption
    assert "seeds only" in render(comparison)


@pytest.mark.slow
@pytest.mark.skipif(browser() is None, reason="no Chromium here: install it, or set POLYTASK_CHROMIUM")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_verdict_and_results_fit_on_the_first_printed_page(page, tmp_path):
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    file = tmp_path / "report.html"
    file.write_text(page, encoding="utf-8")
    with sync.sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=browser(), args=["--no-sandbox", "--disable-gpu"])
        tab = chromium.new_page(viewport={"width": 688, "height": 1017})  # A4 at 96 dpi, less margins of 14 mm
        tab.emulate_media(media="print")
        tab.goto(file.as_uri())
        bottom = tab.evaluate("document.getElementById('results').getBoundingClientRect().bottom")
        faded = tab.evaluate("getComputedStyle(document.querySelector('.panels')).filter")
        wide = tab.evaluate("document.documentElement.scrollWidth")
        chromium.close()
    assert bottom <= 1017
    assert faded == "none"
    assert wide <= 688
