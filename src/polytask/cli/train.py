"""``polytask train``: fit one model and keep it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from polytask.cli.answer import Answer, Debug, Json, plain, verb
from polytask.cli.decided import say_decisions
from polytask.cli.settings import ConfigFile, Override, read_config
from polytask.files import write_atomically
from polytask.folders import locked

if TYPE_CHECKING:
    from polytask.data import MultiTaskData
    from polytask.study import Config
    from polytask.train import Trainer

__all__ = ["train"]


@verb
def train(
    config: ConfigFile = Path("polytask.toml"),
    out: Annotated[
        Path | None, typer.Option(help="Folder for checkpoints and results; by default runs/NAME-METHOD.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start anew, and replace what was trained in the folder before.")
    ] = False,
    overrides: Override = None,
    as_json: Json = False,
    debug: Debug = False,
) -> Answer:
    """Fit one model with the method of [method], keep its best epoch, and evaluate it on the test split.

    After an interruption, the same command goes on from the last checkpoint. One of other data or settings is refused.
    """
    from polytask.deploy import FinishedModel
    from polytask.share.stored import predicting
    from polytask.study.contenders import Request
    from polytask.study.contenders.network import NetworkContender
    from polytask.study.contenders.timing import check_schedule
    from polytask.train import Trainer

    settings = read_config(config, overrides)
    method = settings.method
    data = settings.build_data()
    folder = out or settings.folder / "runs" / f"{data.name}-{method.name}"
    setting = dataclasses.replace(settings.setting(), selection="val")
    options = setting.train
    network = NetworkContender.read(Request.of({"name": method.name, **method.options}), setting)[0]
    asked = (data, data.tasks.names, options.seed)
    blueprint, balancer, identity = network.blueprint(*asked), network.balancer(*asked), network.identity(*asked)
    check_schedule(network.schedule, data.tasks.names, data)
    model = blueprint.build()
    trainer = Trainer(
        model, data.tasks, balancer, options=options, schedule=network.schedule, out=folder, identity=identity
    )
    with locked(folder):
        history = trainer.fit(data, resume=False if fresh else "auto")
        about = {"data": data.name, "fingerprint": data.fingerprint, "method": method.name}
        finished = FinishedModel.of(blueprint, model, {**about, "epoch": history.best_epoch})
        if settings.decide.asked:
            finished.tune(data, **settings.decide.asked)
        finished.save(folder)
        answer = _keep(folder, settings, trainer, data, finished.decisions.plain())
    said = f"\nbest epoch {history.best_epoch}; kept in {folder}\npredict new rows with: {predicting(folder)}"
    decided = (say_decisions(answer["decisions"]),) if "decisions" in answer else ()
    return Answer(answer, (_table(answer, data.tasks), *decided, Text(said)))


def _keep(
    folder: Path, settings: Config, trainer: Trainer, data: MultiTaskData, decisions: dict[str, Any]
) -> dict[str, Any]:
    """Evaluate the trained model, and write what was asked for and what came out beside its checkpoint."""
    history, test = trainer.history, trainer.evaluate(data.test)
    answer: dict[str, Any] = {
        "data": data.name,
        "method": settings.method.name,
        "best_epoch": history.best_epoch,
        "seconds": history.seconds,
        "labels_seen": history.labels_seen,
        "test": test.metrics,
        "undefined": test.undefined,
        "folder": folder,
        **({"decisions": decisions} if decisions else {}),
    }
    write_atomically(folder / "config.toml", settings.to_toml())
    write_atomically(folder / "result.json", json.dumps(plain(answer), indent=2, ensure_ascii=False))
    return answer


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
