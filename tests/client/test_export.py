"""What `synpose export` reads besides checkpoints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from synpose.cli.export import sigma_scales
from synpose.errors import OptionsError


def report(tmp_path: Path, methods: Mapping[str, Mapping[str, float]]) -> Path:
    path = tmp_path / "report.json"
    groups = {m: {"limb_joints": {g: {"sigma_scale": x} for g, x in of.items()}} for m, of in methods.items()}
    path.write_text(json.dumps({"methods": groups}), encoding="utf-8")
    return path


def test_sigma_is_scaled_by_the_number_of_cameras(tmp_path: Path) -> None:
    """What no clip has, none or four cameras here, is scaled as the nearest number that one has."""
    of = {"all": 9.0, "1 cameras": 1.5, "2 cameras": 1.2, "3 cameras": 0.9, "6 cameras": 0.8, "2-3 cameras": 9.0}
    assert sigma_scales(report(tmp_path, {"mine": of})) == [1.5, 1.5, 1.2, 0.9, 0.9, 0.8, 0.8]


@pytest.mark.parametrize("methods", [{}, {"mine": {"all": 1.0}}, {"mine": {}, "default": {}}])
def test_a_report_of_something_else_is_refused(tmp_path: Path, methods: dict[str, dict[str, float]]) -> None:
    with pytest.raises(OptionsError, match=r"report\.json"):
        sigma_scales(report(tmp_path, methods))


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_a_file_that_is_no_report_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(OptionsError, match=r"report\.json"):
        sigma_scales(path)
