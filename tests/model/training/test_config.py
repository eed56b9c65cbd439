"""Configs of training runs: what they hold, and what they refuse."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import pytest
from tests.model.training import linear

from synpose.errors import OptionsError
from synpose_model.training.config import Config, differences, load_config, parse, plain
from synpose_model.training.task import TaskSpec
from synpose_model.training.tasks import TASKS

DOCS = Path(__file__).parents[3] / "docs" / "training.md"
MINIMAL: dict[str, Any] = {"run": {"task": "linear"}, "schedule": {"steps": 10}}


@dataclass(frozen=True, kw_only=True)
class Part:
    depth: int
    rate: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Everything:
    flag: bool = False
    kind: Literal["small", "large"] = "small"
    pair: tuple[int, float] = (1, 2.0)
    many: tuple[str, ...] = ()
    limit: float | None = None
    part: Part | None = None
    parts: tuple[Part, ...] = ()

    def __post_init__(self) -> None:
        if "no" in self.many:
            raise ValueError("many must not hold 'no'")


def test_defaults_and_types() -> None:
    """What is not given has its default; a whole number will do where a number is wanted."""
    config = Config.from_dict(MINIMAL | {"optimizer": {"lr": 1, "betas": [0, 0.5]}, "network": {"dropout": 0.5}})
    assert (config.run.seed, config.schedule.steps) == (0, 10)
    assert config.optimizer.betas == (0.0, 0.5)
    assert isinstance(config.optimizer.lr, float)
    assert config.task == linear.LinearConfig(network=linear.LinearNetwork(dropout=0.5))


def test_round_trip() -> None:
    """A config is plain tables and back, with [network] where TOML has it."""
    config = Config.from_dict(MINIMAL | {"network": {"dropout": 0.5}})
    tables = config.to_dict()
    assert tables["network"] == {"dropout": 0.5}
    assert tables["optimizer"]["betas"] == [0.9, 0.999]
    assert Config.from_dict(tables) == config


def test_all_kinds_of_values() -> None:
    """Literals, tuples, optional values and nested dataclasses are read and written back."""
    tables = {
        "flag": True,
        "kind": "large",
        "pair": [3, 4],
        "many": ["a", "b"],
        "limit": 2,
        "part": {"depth": 1},
        "parts": [{"depth": 2, "rate": 1.0}],
    }
    read = parse(Everything, tables, "task")
    assert read == Everything(
        flag=True,
        kind="large",
        pair=(3, 4.0),
        many=("a", "b"),
        limit=2.0,
        part=Part(depth=1),
        parts=(Part(depth=2, rate=1.0),),
    )
    for value in (read, Everything()):
        assert parse(Everything, plain(value), "task") == value


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"flags": True}, "task.flags: no such key; there are flag, kind, "),
        ({"flag": 1}, "task.flag must be true or false, not 1"),
        ({"kind": "tiny"}, "task.kind must be one of 'small', 'large', not 'tiny'"),
        ({"pair": [1]}, "task.pair must be 2 values"),
        ({"pair": [True, 1]}, "task.pair[0] must be a whole number, not True"),
        ({"many": "ab"}, "task.many must be an array"),
        ({"limit": float("nan")}, "task.limit must be a number, not nan"),
        ({"part": 3}, "task.part must be a table"),
        ({"part": {}}, "task.part.depth is missing"),
        ({"parts": [{"depth": 1}, {"depth": 1, "rat": 1}]}, "task.parts[1].rat: no such key"),
        ({"many": ["no"]}, "task: many must not hold 'no'"),
    ],
)
def test_refused_values(table: dict[str, Any], says: str) -> None:
    """The error names the key, however deep it lies."""
    with pytest.raises(OptionsError, match=re.escape(says)):
        parse(Everything, table, "task")


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"loops": {}}, "loops: there is no such table or key"),
        ({"loop": 3}, "loop must be a table"),
        ({"loop": {"threads": 0}}, "loop.threads must be 1 or more, not 0"),
        ({"loop": {"ema_decay": 1.0}}, "loop.ema_decay must be in [0, 1)"),
        ({"optimizer": {"lr": 0.0}}, "optimizer.lr must be above 0"),
        ({"schedule": {}}, "schedule.steps is missing"),
        ({"run": {}}, "run.task is missing"),
        ({"run": {"task": "cubic"}}, "run.task: no task 'cubic'; there are "),
        ({"network": {"width": 3}}, "network.width: no such key; there are dropout"),
        ({"task": {"network": {}}}, "task.network: the network has a table of its own"),
        ({"task": {"batch": "8"}}, "task.batch must be a whole number"),
    ],
)
def test_refused_configs(table: dict[str, Any], says: str) -> None:
    """Tables and keys that do not exist, or cannot be, are named."""
    with pytest.raises(OptionsError, match=re.escape(says)) as caught:
        Config.from_dict(MINIMAL | table)
    assert caught.value.field is not None
    assert says.startswith(caught.value.field)


def test_a_task_without_a_network_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """[network] is refused where the task has none, rather than passed over."""
    monkeypatch.setitem(TASKS, "linear", TaskSpec(Part, linear.Linear))
    assert Config.from_dict(MINIMAL | {"task": {"depth": 3}}).to_dict()["task"] == {"depth": 3, "rate": 0.5}
    with pytest.raises(OptionsError, match="network: task 'linear' has no such table"):
        Config.from_dict(MINIMAL | {"task": {"depth": 3}, "network": {}})


def test_files(tmp_path: Path) -> None:
    """A config names its run after its file, takes steps from outside, and is told if it cannot be read."""
    path = tmp_path / "short.toml"
    path.write_text('run.task = "linear"\nschedule.steps = 10\n')
    assert load_config(path).run.name == "short"
    assert load_config(path, steps=3).schedule.steps == 3
    with pytest.raises(OptionsError, match=r"schedule.steps must be 1 or more, not 0"):
        load_config(path, steps=0)
    path.write_text("run =")
    with pytest.raises(OptionsError, match=r"short\.toml is not TOML"):
        load_config(path)
    with pytest.raises(OptionsError, match=r"cannot read .*: No such file"):
        load_config(tmp_path / "gone.toml")


def test_differences() -> None:
    """What changes results is told with both values; how often something is noted down is not."""
    old = Config.from_dict(MINIMAL)
    new = Config.from_dict(MINIMAL | {"loop": {"checkpoint_every": 5, "accumulate": 2}, "network": {"dropout": 0.5}})
    assert differences(old, old) == []
    assert differences(old, new) == ["loop.accumulate 1 → 2", "network.dropout 0.0 → 0.5"]


def test_the_documented_config_is_the_default() -> None:
    """docs/training.md shows every key of the loop's tables with its default."""
    (block,) = re.findall(r"^```toml\n(.*?)^```$", DOCS.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    tables = tomllib.loads(block)
    config = Config.from_dict(tables)
    assert config == Config.from_dict({"run": {"task": config.run.task}, "schedule": {"steps": config.schedule.steps}})
    for table, keys in tables.items():
        assert list(keys) == [field.name for field in fields(getattr(config, table))]
