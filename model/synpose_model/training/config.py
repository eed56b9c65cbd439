"""The config of a training run: one TOML file, read into frozen dataclasses that refuse what they do not know."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from synpose.errors import OptionsError
from synpose_model.training.tasks import find_task

__all__ = ["Config", "Loop", "Optimizer", "Run", "Schedule", "differences", "load_config", "parse", "plain"]

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Run:
    """`[run]`: what is trained."""

    task: str  # a name of tasks.TASKS
    seed: int = 0  # of the first weights, the batches and dropout
    name: str = ""  # of the folder that --out defaults to; empty: the config file's stem

    def __post_init__(self) -> None:
        _require(self.seed >= 0, "run.seed", self.seed, "0 or more")


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """`[optimizer]`: AdamW."""

    lr: float = 5e-4  # the peak; transformers of some million parameters take it without diverging
    betas: tuple[float, float] = (0.9, 0.999)  # AdamW's own
    weight_decay: float = 0.05  # as windowed-attention networks are trained; never on biases, norms, position tables
    clip_norm: float = 1.0  # of all gradients together, so that one bad batch cannot throw the weights; 0: no clipping

    def __post_init__(self) -> None:
        _require(self.lr > 0, "optimizer.lr", self.lr, "above 0")
        _require(all(0 <= beta < 1 for beta in self.betas), "optimizer.betas", self.betas, "in [0, 1)")
        _require(self.weight_decay >= 0, "optimizer.weight_decay", self.weight_decay, "0 or more")
        _require(self.clip_norm >= 0, "optimizer.clip_norm", self.clip_norm, "0 or more")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """`[schedule]`: the learning rate over the run."""

    steps: int  # updates of the weights in all
    warmup: int = 500  # updates of linear growth: AdamW's first steps are as long as lr whatever the gradient
    floor: float = 0.0  # share of the peak at which the cosine ends

    def __post_init__(self) -> None:
        _require(self.steps >= 1, "schedule.steps", self.steps, "1 or more")
        _require(self.warmup >= 0, "schedule.warmup", self.warmup, "0 or more")
        _require(0 <= self.floor <= 1, "schedule.floor", self.floor, "in [0, 1]")


@dataclass(frozen=True, kw_only=True)
class Loop:
    """`[loop]`: how often what happens, and on how many threads."""

    validate_every: int = 1000  # updates; also before the first and after the last
    checkpoint_every: int = 1000  # updates, which is what a killed run loses at most; also after the last
    log_every: int = 1  # updates between rows of train.csv
    best: str = ""  # the validation number whose lowest value best.pt keeps; empty: there is no best.pt
    ema_decay: float = 0.999  # of the averaged weights, which are validated and served; 0: no averaging
    accumulate: int = 1  # batches summed into one update, for batches that do not fit at once
    threads: int = 2  # that prepare batches ahead: one draws while another copies
    bf16: bool = False  # bfloat16 autocast of the loss, never in validation: `spatial` takes half the time on a CPU

    def __post_init__(self) -> None:
        for name in ("validate_every", "checkpoint_every", "log_every", "accumulate", "threads"):
            _require(getattr(self, name) >= 1, f"loop.{name}", getattr(self, name), "1 or more")
        _require(0 <= self.ema_decay < 1, "loop.ema_decay", self.ema_decay, "in [0, 1)")


# what may change between a run and its resumption without changing what is computed
_HARMLESS = {"run.name", "loop.validate_every", "loop.checkpoint_every", "loop.log_every", "loop.threads"}


@dataclass(frozen=True, kw_only=True)
class Config:
    """A whole run; `task` is the dataclass of its task and holds the table `[network]` as its field `network`."""

    run: Run
    optimizer: Optimizer
    schedule: Schedule
    loop: Loop
    task: Any

    @classmethod
    def from_dict(cls, tables: Mapping[str, Any]) -> Config:
        """The config of TOML's tables, or of `to_dict`; raises `OptionsError` that names the key."""
        sections = {"run": Run, "optimizer": Optimizer, "schedule": Schedule, "loop": Loop}
        for name, table in tables.items():
            if name not in {*sections, "task", "network"}:
                raise OptionsError(f"{name}: there is no such table or key", field=name)
            _require(isinstance(table, Mapping), name, table, "a table")
        parsed: dict[str, Any] = {name: parse(kind, tables.get(name, {}), name) for name, kind in sections.items()}
        kind = find_task(parsed["run"].task).config
        task = dict(tables.get("task", {}))
        if "network" in task:
            raise OptionsError("task.network: the network has a table of its own, [network]", field="task.network")
        if network := get_type_hints(kind).get("network"):
            task["network"] = parse(network, tables.get("network", {}), "network")
        elif "network" in tables:
            raise OptionsError(f"network: task {parsed['run'].task!r} has no such table", field="network")
        return cls(**parsed, task=parse(kind, task, "task"))

    def to_dict(self) -> dict[str, Any]:
        """Tables as in TOML, of plain dicts, lists, numbers and strings, which `from_dict` reads back."""
        tables: dict[str, Any] = plain(self)
        if "network" in tables["task"]:
            tables["network"] = tables["task"].pop("network")
        return tables


def load_config(path: Path, *, steps: int | None = None) -> Config:
    """Read the TOML file `path`, with `steps` in the place of its own; raises `OptionsError` that names the key."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionsError(f"cannot read {path}: {error.strerror}", field="config") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionsError(f"{path} is not TOML: {error}", field="config") from error
    config = Config.from_dict(tables)
    if steps is not None:
        config = replace(config, schedule=replace(config.schedule, steps=steps))
    if not config.run.name:
        config = replace(config, run=replace(config.run, name=path.stem))
    return config


def differences(old: Config, new: Config) -> list[str]:
    """What makes `new` another run than `old`: `"optimizer.lr 0.1 → 0.2"`; nothing for what changes no result."""
    before, after = _flat(old.to_dict()), _flat(new.to_dict())
    names = [name for name in {**before, **after} if name not in _HARMLESS]
    return [f"{n} {before.get(n)} → {after.get(n)}" for n in names if before.get(n) != after.get(n)]


def parse(kind: type[_T], table: Mapping[str, Any], path: str) -> _T:
    """The dataclass `kind` of `table`; raises `OptionsError` that names `path.key` for what it cannot be.

    Fields may be bool, int, float, str, Literal, tuples, `X | None` and dataclasses of these. A `ValueError` of the
    dataclass's own checks becomes an `OptionsError`.
    """
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]  # a dataclass, which type[_T] cannot say
    for key in table:
        if key not in known:
            raise OptionsError(f"{path}.{key}: no such key; there are {', '.join(known)}", field=f"{path}.{key}")
    for key, field in known.items():
        if key not in table and field.default is MISSING and field.default_factory is MISSING:
            raise OptionsError(f"{path}.{key} is missing", field=f"{path}.{key}")
    hints = get_type_hints(kind)
    values = {key: _value(hints[key], value, f"{path}.{key}") for key, value in table.items()}
    try:
        return kind(**values)
    except ValueError as error:
        raise OptionsError(f"{path}: {error}", field=path) from error


def plain(value: Any) -> Any:
    """`value` as TOML would have it: dataclasses become dicts, tuples lists."""
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    return [plain(item) for item in value] if isinstance(value, tuple) else value


def _value(kind: Any, value: Any, path: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        if value is None and NoneType in inner:
            return None
        (kind,) = (one for one in inner if one is not NoneType)
        return _value(kind, value, path)
    if is_dataclass(kind):
        assert isinstance(kind, type)
        if isinstance(value, kind):
            return value
        _require(isinstance(value, Mapping), path, value, "a table")
        return parse(kind, value, path)
    if origin is Literal:
        _require(any(value == one and type(value) is type(one) for one in inner), path, value, f"one of {_list(inner)}")
        return value
    if origin is tuple:
        _require(isinstance(value, list | tuple), path, value, "an array")
        kinds = [inner[0]] * len(value) if inner[1:] == (...,) else list(inner)
        _require(len(value) == len(kinds), path, value, f"{len(kinds)} values")
        return tuple(_value(one, item, f"{path}[{i}]") for i, (one, item) in enumerate(zip(kinds, value, strict=True)))
    if kind is float:
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        _require(number, path, value, "a number")
        return float(value)
    assert kind in (bool, int, str), kind
    _require(type(value) is kind, path, value, {bool: "true or false", int: "a whole number", str: "a string"}[kind])
    return value


def _require(holds: bool, path: str, value: object, be: str) -> None:
    if not holds:
        raise OptionsError(f"{path} must be {be}, not {value!r}", field=path)


def _list(values: tuple[object, ...]) -> str:
    return ", ".join(map(repr, values))


def _flat(tables: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tables.items():
        flat |= _flat(value, f"{path}{key}.") if isinstance(value, Mapping) else {f"{path}{key}": value}
    return flat
