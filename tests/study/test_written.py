"""The report as Markdown and as a notebook: the same words and numbers as the page, in files others read."""

import base64
import json
import re
import xml.etree.ElementTree as ET

import pytest

from polytask.cli.report import FORMS
from polytask.study import Comparison
from polytask.study.outcome import text
from polytask.study.outcome.report import render
from polytask.study.outcome.verdict import judge
from polytask.study.outcome.written import markdown, notebook


@pytest.fixture
def kept(comparison, answered):
    return answered(comparison)[0]


def unescaped(words):
    return re.sub(r"\\([\\`*_\[\]|#])", r"\1", words).replace("&lt;", "<").replace("&amp;", "&")


def test_markdown_says_what_the_page_says(comparison, kept):
    written = unescaped(markdown(comparison, kept=kept))
    judgement = judge(comparison)
    for words in (judgement.headline, *judgement.details, *judgement.next):
        assert words in written
    for method in comparison.methods:
        values, delta, verdict, time = text.cells(comparison, method)
        assert f"| {method} | {' | '.join(values)} | {delta} | {verdict} | {time} |" in written
    titles = re.findall(r'-title">([^<]+)</h3>', render(comparison, kept=kept))
    assert len(titles) >= 10
    flat = written.replace("−", "-")
    for title in titles:
        assert title.replace("\u00a0", " ").replace("−", "-").replace("&amp;", "&") in flat


def test_markdown_tables_have_equal_rows_and_drawings_are_whole(comparison, kept):
    written = markdown(comparison, kept=kept)
    blocks = [block.splitlines() for block in written.split("\n\n") if block.startswith("|")]
    assert len(blocks) >= 6
    for block in blocks:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block}) == 1
    images = re.findall(r"!\[[^\]]*(?:\\\][^\]]*)*\]\(data:image/svg\+xml;base64,([^)]+)\)", written)
    assert len(images) == render(comparison, kept=kept).count('role="img"')
    for image in images:
        assert ET.fromstring(base64.b64decode(image)).tag == "{http://www.w3.org/2000/svg}svg"
    assert not re.search(r"https?://(?!www\.w3\.org)", written)


def test_notebook_is_one_by_its_format_and_its_code_runs(comparison, kept, tmp_path, monkeypatch):
    document = json.loads(notebook(comparison, kept=kept))
    assert (document["nbformat"], document["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in document["cells"]]
    assert len(set(ids)) == len(ids)
    for cell in document["cells"]:
        assert {"cell_type", "metadata", "source", "id"} <= set(cell)
        assert ("outputs" in cell) == ("execution_count" in cell) == (cell["cell_type"] == "code")
    comparison.to_json(tmp_path)
    monkeypatch.chdir(tmp_path)
    space = {}
    for cell in document["cells"]:
        if cell["cell_type"] == "code":
            exec(compile(cell["source"], cell["id"], "exec"), space)
    assert space["study"].summary.equals(comparison.summary)


def test_the_ending_of_the_name_says_the_form(comparison, tmp_path):
    for ending, start in {"md": "<!--", "ipynb": "{", "html": "<!DOCTYPE"}.items():
        path = comparison.report(tmp_path / f"mine.{ending}")
        assert path.name == f"mine.{ending}"
        assert path.read_text().startswith(start)
        before = path.stat().st_mtime_ns
        assert comparison.report(path, again=False).stat().st_mtime_ns == before
    assert set(FORMS) == {"md", "ipynb", "html"}


def test_letters_that_mean_something_to_markdown_stay_letters(comparison):
    import dataclasses

    odd = dataclasses.replace(comparison.protocol, about="Dropped: a|b (<i> & *x*).")
    written = markdown(Comparison(odd, comparison.trials))
    assert r"Dropped: a\|b (&lt;i> &amp; \*x\*)." in written


def test_leaks_and_perfect_scores_stand_above_the_table(comparison):
    import dataclasses

    leak = "Possible leakage: column 'x' determines target 'sex'."
    about = "\n".join(["Split by rows, seed 0.", *[leak.replace("'x'", f"'x{i}'") for i in range(7)]])
    protocol = dataclasses.replace(comparison.protocol, about=about)
    trials = [
        dataclasses.replace(t, metrics={**t.metrics, "test": {**t.metrics["test"], "sex": {"auroc": 0.9999}}})
        if "sex" in t.tasks
        else t
        for t in comparison.trials
    ]
    page = render(Comparison(protocol, trials))
    top = page[: page.index('<section id="results"')]
    assert "too good to be true: sex has auroc" in top
    assert "&#39;x4&#39;" in top
    assert "&#39;x5&#39;" not in top
    assert "2 more of them are listed with the data" in top
    data = page[page.index('<section id="labels"') :]
    assert all(f"&#39;x{i}&#39;" in data for i in range(7))
    assert page.count("too good to be true: sex has auroc") == 1
