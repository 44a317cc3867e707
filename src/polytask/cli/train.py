"""``polytask train``: fit one model and keep it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from polytask.cli.answer import Answer, Debug, Json, plain, predicting, verb
from polytask.cli.settings import ConfigFile, Override, read_config

__all__ = ["train"]


@verb
def train(
    config: ConfigFile = Path("polytask.toml"),
    out: Annotated[
        Path | None, typer.Option(help="Folder for checkpoints and results; by default runs/NAME-METHOD.")
    ] = None,
    overrides: Override = None,
    as_json: Json = False,
    debug: Debug = False,
) -> Answer:
    """Fit one model with the method of [method], keep its best epoch, and evaluate it on the test split.

    After an interruption, the same command goes on from the last checkpoint.
    """
    from polytask.balance import Balancer, get_method
    from polytask.deploy import FinishedModel
    from polytask.share import Blueprint
    from polytask.train import Trainer, TrainOptions

    settings = read_config(config, overrides)
    method = settings.method
    data = settings.build_data()
    folder = out or settings.folder / "runs" / f"{data.name}-{method.name}"
    options = TrainOptions(**settings.train_options())
    blueprint = Blueprint.of(data, encoder=settings.encoder(), architecture=settings.model.sharing, seed=options.seed)
    model = blueprint.build()
    balancer = Balancer(get_method(method.name, **method.options), tasks=data.tasks, seed=options.seed, **method.engine)
    trainer = Trainer(model, data.tasks, balancer, options=options, out=folder)
    history = trainer.fit(data, resume="auto")
    test = trainer.evaluate(data.test)
    answer: dict[str, Any] = {
        "data": data.name,
        "method": method.name,
        "best_epoch": history.best_epoch,
        "seconds": history.seconds,
        "labels_seen": history.labels_seen,
        "test": test.metrics,
        "undefined": test.undefined,
        "folder": folder,
    }
    about = {"data": data.name, "fingerprint": data.fingerprint, "method": method.name, "epoch": history.best_epoch}
    FinishedModel.of(blueprint, model, about).save(folder)
    (folder / "config.toml").write_text(settings.to_toml(), encoding="utf-8")
    (folder / "result.json").write_text(json.dumps(plain(answer), indent=2, ensure_ascii=False), encoding="utf-8")
    said = f"\nbest epoch {history.best_epoch}; kept in {folder}\npredict new rows with: {predicting(folder)}"
    return Answer(answer, (_table(answer, data.tasks), Text(said)))


def _table(answer: dict[str, Any], tasks: Any) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", title="test split", title_justify="left")
    for heading in ("task", "labels seen", "metric", "value"):
        table.add_column(heading, justify="right" if heading in ("labels seen", "value") else "left")
    for name, metrics in answer["test"].items():
        unit = f" {tasks[name].unit}" if tasks[name].unit else ""
        for place, (metric, value) in enumerate(metrics.items()):
            seen = f"{answer['labels_seen'].get(name, 0):,}" if place == 0 else ""
            arrow = "↑" if tasks[name].directions[metric] > 0 else "↓"
            shown = answer["undefined"].get(name, {}).get(metric) or f"{value:.4g}"
            measured_in = unit if metric in ("rmse", "mae") else ""
            table.add_row(name if place == 0 else "", seen, f"{metric} {arrow}{measured_in}", shown)
    return table
