"""The configuration file: one page of TOML, every key checked, from which a study or a training run can be repeated."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydantic
from pydantic import Field

from polytask.balance.section import ENGINE_OPTIONS, MethodSection
from polytask.data.section import DataSection
from polytask.decide.section import DecideSection
from polytask.errors import ConfigError
from polytask.schedule.section import ScheduleSection
from polytask.section import Section
from polytask.share.section import ModelSection
from polytask.study import toml
from polytask.study.build import Wanted, build_data
from polytask.study.functions import resolve
from polytask.study.section import ProtocolSection
from polytask.study.values import check_values
from polytask.study.wording import accepts, no_key, say
from polytask.tasks import KINDS
from polytask.tasks.section import TaskSection

if TYPE_CHECKING:
    from polytask.study.contenders import Setting

__all__ = [
    "Config",
    "DataSection",
    "DecideSection",
    "MethodSection",
    "ModelSection",
    "ProtocolSection",
    "ScheduleSection",
    "TaskSection",
]

DEFAULT = ("stl", "equal")
"""What a configuration compares its method with unless it says."""


class Config(Section):
    """A whole experiment: data, tasks, model, method, training, protocol.

    Read from TOML with :meth:`load`; an unknown key is an error that names the nearest one. Paths are relative to the
    file they are written in.

    Attributes:
        data: The rows and their split.
        tasks: What to predict, by name; empty means every task of a built-in dataset.
        model: The network.
        method: The balancing method.
        schedule: Which tasks count in which step.
        train: Options of :class:`~polytask.train.TrainOptions`.
        protocol: How methods are compared.
        decide: What is chosen on validation rows and kept with the model.

    Examples:
        >>> config = Config.parse('''
        ... [data]
        ... source = "multidigits"
        ... [train]
        ... epochs = 2
        ... [protocol]
        ... methods = ["stl", "equal"]
        ... ''')
        >>> config.train["epochs"], config.protocol.seeds
        (2, 3)
        >>> Config.parse(config.to_toml()) == config
        True
    """

    data: DataSection
    tasks: dict[str, TaskSection] = Field(default_factory=dict)
    model: ModelSection = ModelSection()
    method: MethodSection = MethodSection()
    schedule: ScheduleSection = ScheduleSection()
    train: dict[str, Any] = Field(default_factory=dict)
    protocol: ProtocolSection = ProtocolSection()
    decide: DecideSection = DecideSection()

    _where: str = pydantic.PrivateAttr(default="configuration")
    _folder: Path = pydantic.PrivateAttr(default_factory=Path)

    @classmethod
    def load(cls, path: str | Path) -> Config:
        """Read a configuration file.

        Args:
            path: A TOML file.

        Raises:
            ConfigError: The file cannot be read, is no TOML, or has an unknown key or a wrong value.
        """
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read the configuration {path}: {error}") from error
        return cls.parse(text, where=str(path), folder=path.parent)

    @classmethod
    def parse(cls, text: str, *, where: str = "configuration", folder: Path | str = ".") -> Config:
        """Read a configuration from TOML text.

        Args:
            text: TOML.
            where: What error messages call it.
            folder: What relative paths are relative to.

        Raises:
            ConfigError: As for :meth:`load`.
        """
        try:
            raw = tomllib.loads(text)
        except ValueError as error:  # a TOMLDecodeError, or a number too long to be read
            raise ConfigError(f"{where} is not valid TOML: {error}") from error
        except RecursionError:
            raise ConfigError(f"{where} is not valid TOML: its brackets are nested too deeply") from None
        return cls.of(raw, where=where, folder=folder)

    @classmethod
    def of(cls, raw: Mapping[str, Any], *, where: str = "configuration", folder: Path | str = ".") -> Config:
        """Check a configuration given as nested dictionaries.

        Raises:
            ConfigError: As for :meth:`load`.
        """
        check_values(raw, where)
        try:
            config = cls.model_validate(dict(raw))
        except pydantic.ValidationError as error:
            raise ConfigError("\n".join(f"{where}: {say(problem, cls)}" for problem in error.errors())) from None
        config._where, config._folder = where, Path(folder)
        config._check_model()
        config._check_schedule()
        config._check_tasks()
        config._check_method()
        config._check_train()
        config._check_decide()
        return config

    def with_values(self, values: Mapping[str, Any]) -> Config:
        """The same configuration with some values replaced, as ``--set train.epochs=5`` does.

        Args:
            values: Dotted key to value; ``None`` removes a key. A name that holds a dot goes into quotes, as in TOML:
                ``'tasks."Sepal.Width".weight'``.

        Raises:
            ConfigError: A key does not exist or a value does not fit.

        Examples:
            >>> Config.of({"data": {"source": "multidigits"}}).with_values({"train.epochs": 5}).train
            {'epochs': 5}
        """
        raw = self.to_dict()
        for dotted, value in values.items():
            *sections, key = toml.key_parts(dotted)
            table = raw
            for section in sections:
                table = table.setdefault(section, {})
                if not isinstance(table, dict):
                    raise ConfigError(f"{self._where}: {dotted!r}: {section!r} is a value, not a section")
            if value is None:
                table.pop(key, None)
            else:
                table[key] = value
        return type(self).of(raw, where=self._where, folder=self._folder)

    def to_dict(self) -> dict[str, Any]:
        """What was set, as nested dictionaries of plain values; defaults are left out."""
        raw: dict[str, Any] = self.model_dump(mode="json", exclude_unset=True, exclude_none=True)
        return raw

    def to_toml(self) -> str:
        """What was set, as TOML."""
        return toml.dumps(self.to_dict())

    def build_data(self) -> Any:
        """Load the data and split it.

        Returns:
            A :class:`~polytask.data.MultiTaskData` with the tasks of the configuration.

        Raises:
            ConfigError: The tasks do not exist, or the source's function cannot be imported.
            DataError: The table cannot be read as asked.
        """
        return build_data(Wanted(self.data, self.tasks, self.folder, self._where))

    def train_options(self) -> dict[str, Any]:
        """``[train]`` with the tasks' own learning rates, as keyword arguments of ``TrainOptions``."""
        rates = {name: task.lr for name, task in self.tasks.items() if task.lr is not None}
        options = dict(self.train)
        if rates:
            own = options.get("task_lr", {})
            if not isinstance(own, Mapping):
                raise ConfigError(f"task_lr must be a table such as {{ price = 1e-3 }}, found {own!r}")
            options["task_lr"] = {**own, **rates}
        return options

    def compare_options(self) -> dict[str, Any]:
        """Keyword arguments of :func:`~polytask.study.compare` that this configuration asks for."""
        methods = [self._method_entry(entry) for entry in self._methods()]
        out = self.protocol.out
        return {
            "methods": methods,
            "seeds": self.protocol.seeds,
            "selection": self.protocol.selection,
            "baseline": self.protocol.baseline,
            "split_seeds": self.protocol.split_seeds,
            "workers": self.protocol.workers,
            "keep": self.protocol.keep,
            "refit": self.protocol.refit,
            "encoder": self.encoder(),
            "architecture": self.model.sharing,
            "schedule": self.schedule.chosen,
            "train": self.train_options(),
            "balancer": self.method.engine,
            **({} if out is None else {"out": self._folder / out}),
            **({"decide": self.decide.asked} if self.decide.asked else {}),
        }

    def setting(self) -> Setting:
        """What the rows of a study of this configuration have in common."""
        from polytask.schedule import read_schedule
        from polytask.study.contenders import Setting
        from polytask.study.contenders.network import read_architectures
        from polytask.train import TrainOptions

        return Setting(
            self.protocol.selection,
            self.encoder(),
            read_architectures(self.model.sharing),
            TrainOptions(**self.train_options()),
            tuple(sorted(self.method.engine.items())),
            read_schedule(self.schedule.chosen),
        )

    def encoder(self) -> Any:
        """``model.encoder``: a specification, ``None``, or the function it names."""
        spec = self.model.encoder
        if spec is None or not DataSection(source=spec).is_factory or _is_spec(spec):
            return spec
        return resolve(spec, f"{self._where}: [model] encoder")

    @property
    def folder(self) -> Path:
        """What relative paths in the configuration are relative to."""
        return self._folder

    def _methods(self) -> Sequence[str | dict[str, Any]]:
        if self.protocol.methods is not None:
            return self.protocol.methods
        return tuple(dict.fromkeys((*DEFAULT, self.method.name, "uw")))[: len(DEFAULT) + 1]

    def _method_entry(self, entry: str | dict[str, Any]) -> str | dict[str, Any]:
        """A bare name equal to ``[method]``'s takes its options along."""
        if isinstance(entry, str) and self.method.options:
            name, at, architecture = (part.strip() for part in entry.partition("@"))
            if name == self.method.name:
                return {"name": name, **self.method.options, **({"architecture": architecture} if at else {})}
        return entry

    def _check_model(self) -> None:
        from polytask.study.contenders.network import read_architectures

        try:
            self.model.check(no_key)
            read_architectures(self.model.sharing)
        except ConfigError as error:
            raise ConfigError(f"{self._where}: [model] {error}") from None

    def _check_schedule(self) -> None:
        try:
            self.schedule.check(no_key)
        except ConfigError as error:
            raise ConfigError(f"{self._where}: [schedule] {error}") from None

    def _check_tasks(self) -> None:
        """Keys that are options of the tasks' kinds; where the kind is to be guessed, of any kind."""
        for name, section in self.tasks.items():
            if section.kind is not None and section.kind not in KINDS:
                continue  # told with the kinds that the data can have, when they are read
            kinds = [*KINDS.values()] if section.kind is None else [KINDS[section.kind]]
            known = dict(option for kind in kinds for option in kind.declared.items())
            for key, value in section.options.items():
                where = f"{self._where}: [tasks.{name}]"
                if key not in known:
                    keys = [*TaskSection.model_fields, *known]
                    raise ConfigError(f"{where} {no_key(key, keys)}. Known keys: {', '.join(keys)}")
                if section.kind and not known[key].limit.allows(value):
                    raise ConfigError(f"{where} {key}: must be {known[key].limit}, found {value!r}")

    def _check_method(self) -> None:
        """Check names and options of methods now rather than after the baselines are trained."""
        from polytask.balance import METHODS
        from polytask.study.contenders import Setting, read_contender
        from polytask.study.contenders.network import NetworkContender, read_architectures

        if self.method.name in METHODS:
            accepted = inspect.signature(METHODS[self.method.name]).parameters
            for key in self.method.options:
                if key not in accepted:
                    head = f"{self._where}: [method] {no_key(key, [*ENGINE_OPTIONS, *accepted])}"
                    raise ConfigError(f"{head}. {self.method.name} accepts: {accepts(accepted)}")
        setting = Setting(architectures=read_architectures(self.model.sharing))
        entries = ({"name": self.method.name, **self.method.options}, *(self.protocol.methods or ()))
        for place, entry in enumerate(entries):
            try:
                row = read_contender(entry, setting)
            except (ValueError, TypeError, OverflowError) as error:
                raise ConfigError(f"{self._where}: {error}") from error
            if place == 0 and not isinstance(row, NetworkContender):
                raise ConfigError(
                    f"{self._where}: [method] is how a network is balanced, and {row.name!r} is no network; "
                    "list it in [protocol] methods"
                )

    def _check_decide(self) -> None:
        from polytask.study.decisions import Wishes

        try:
            Wishes.of(self.decide.asked).check_kept(keep=self.protocol.keep, refit=self.protocol.refit)
        except ConfigError as error:
            raise ConfigError(f"{self._where}: [decide] {error}") from None

    def _check_train(self) -> None:
        from polytask.train import TrainOptions

        try:
            TrainOptions(**self.train_options())
        except (ValueError, TypeError, OverflowError) as error:  # a ConfigError is a ValueError
            raise ConfigError(f"{self._where}: [train] {error}") from None


def _is_spec(spec: str) -> bool:
    """Whether a text with a colon is an encoder specification: its tail starts with a digit (``"mlp:128"``)."""
    return spec.partition(":")[2][:1].isdigit()
