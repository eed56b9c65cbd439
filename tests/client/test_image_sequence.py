"""Folders of images: whose they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from synpose.cli.clip import by_camera
from synpose.client import _uploads
from synpose.errors import VideoError


def test_a_folder_is_called_as_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link has a name of its own, wherever it leads; `.` has that of its folder: for command line and client."""
    take = tmp_path / "take.7"
    take.mkdir()
    (take / "0.jpg").write_bytes(b"image")
    link = tmp_path / "cam01"
    link.symlink_to(take)
    monkeypatch.chdir(take)
    for paths in ([link], [Path("..", "cam01")]):
        assert list(by_camera(paths)) == list(_uploads(paths)) == ["cam01"]
    assert list(by_camera([Path()])) == list(_uploads([Path()])) == ["take.7"]


def test_a_path_that_is_too_long_is_told() -> None:
    """On the command line and in Python, as what it is."""
    path = Path("x" * 300 + ".mp4")
    for read in (by_camera, _uploads):
        with pytest.raises(VideoError, match="too long"):
            read([path])
