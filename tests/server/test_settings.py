"""Settings: from flags, then the environment, then defaults; each of them explained."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from synpose.cli import serve
from synpose.cli.settings import load_settings
from synpose.errors import OptionsError
from synpose_server.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs" / "settings.md").read_text(encoding="utf-8")
FIELDS = sorted(Settings.model_fields)


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of whoever runs the tests."""
    for name in FIELDS:
        monkeypatch.delenv(f"SYNPOSE_{name.upper()}", raising=False)


def rows() -> dict[str, list[str]]:
    """The table of docs/settings.md: the cells of each setting, without the marks of code."""
    lines = [re.split(r"\s*\|\s*", line.strip("| ")) for line in PAGE.splitlines() if line.startswith("| `")]
    return {cells[0].strip("`"): [cell.strip("`") for cell in cells[1:]] for cells in lines}


def test_the_page_has_every_setting() -> None:
    """docs/settings.md has one row for each setting, and none for what is no setting."""
    assert PAGE.count("\n| `") == len(rows())
    assert sorted(rows()) == FIELDS


@pytest.mark.parametrize("name", FIELDS)
def test_a_setting_is_explained(name: str) -> None:
    """A setting has a docstring, and its row says its variable, its flag if it has one, its default and its meaning."""
    parser = argparse.ArgumentParser()
    serve.configure(parser)
    flags = {action.dest: action.option_strings[0] for action in parser._actions}
    field = Settings.model_fields[name]
    assert field.description
    environment, flag, default, meaning = rows()[name]
    assert environment == f"SYNPOSE_{name.upper()}"
    assert flag == flags.get(name, "")
    assert default == ("unset" if field.default is None else str(field.default))
    assert len(meaning) > 10


def test_a_flag_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each setting comes from its flag if that is given, else from the environment, else from its default."""
    monkeypatch.setenv("SYNPOSE_HTTP_PORT", "9000")
    monkeypatch.setenv("SYNPOSE_GRPC_PORT", "9001")
    monkeypatch.setenv("SYNPOSE_MODELS", "/bundles")
    settings = load_settings(http_port=7000, grpc_port=None)
    assert (settings.http_port, settings.grpc_port, settings.host) == (7000, 9001, "127.0.0.1")
    assert settings.models == Path("/bundles")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTP_PORT", "65536"),
        ("GRPC_PORT", "http"),
        ("THREADS", "-1"),
        ("MAX_BODY_BYTES", "1 GB"),
        ("MAX_PIXELS", "0"),
        ("MAX_FRAMES", "0"),
        ("MAX_CAMERAS", "17"),
        ("MAX_CAMERAS", "1"),
        ("MAX_CLIPS", "0"),
        ("MAX_CLIPS", ""),
        ("MAX_UPLOADS", "0"),
        ("UPLOAD_SECONDS", "0"),
        ("UPLOAD_SECONDS", "inf"),
        ("QUEUE_SECONDS", "-0.1"),
        ("QUEUE_SECONDS", "nan"),
        ("QUEUE_SECONDS", "inf"),
    ],
)
def test_an_unusable_value_is_told(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """A value outside its range is an `OptionsError` that names the setting, whether or not it is ever used."""
    monkeypatch.setenv(f"SYNPOSE_{name}", value)
    with pytest.raises(OptionsError, match=f"(?i){name}: ") as caught:
        load_settings()
    assert str(caught.value.field).lower() == name.lower()


def test_an_unknown_setting_is_told() -> None:
    """A setting that does not exist is an error, not a wish."""
    with pytest.raises(OptionsError, match="max_clip: "):
        load_settings(max_clip=3)


def test_an_unknown_variable_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt variable ends the start with the name that was meant; those of Kubernetes are no settings."""
    monkeypatch.setenv("SYNPOSE_PORT", "tcp://10.0.0.7:8000")
    monkeypatch.setenv("SYNPOSE_PORT_8000_TCP_ADDR", "10.0.0.7")
    monkeypatch.setenv("SYNPOSE_SERVICE_HOST", "10.0.0.7")
    load_settings()
    monkeypatch.setenv("SYNPOSE_MAX_CLIP", "3")
    with pytest.raises(OptionsError, match="no setting SYNPOSE_MAX_CLIP; the nearest is SYNPOSE_MAX_CLIPS"):
        load_settings()


def test_cores_where_the_system_does_not_tell_those_of_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without affinities all cores count."""
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: 6)
    assert load_settings().graph_threads == 6


def test_settings_do_not_change() -> None:
    """What was read at start holds: nothing can be set later, and the environment is read when settings are made."""
    settings = Settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.max_clips = 9
    assert settings.max_clips == 2


def test_threads_follow_the_cores_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a number a graph runs on the cores that the process may use, which a container may cut."""
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 3, 5})
    assert load_settings().graph_threads == 3
    assert load_settings(threads=7).graph_threads == 7
