"""What `read_calibration` accepts, refuses and asks for."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synpose.calibration import MAX_BYTES, read_calibration, read_lenses
from synpose.errors import CalibrationError

FILES = Path(__file__).parent / "calibrations"
SINGLE = sorted(path for path in FILES.iterdir() if path.is_file())
PAIR = {name: (FILES / "easymocap" / name).read_bytes() for name in ("intri.yml", "extri.yml")}


def test_names_of_uploads_are_only_labels() -> None:
    """The content decides the format, whatever the file is called."""
    for path in SINGLE:
        units: Literal["mm"] | None = "mm" if path.name == "anipose.toml" else None
        assert len(read_calibration({"calibration.xml": path.read_bytes()}, units=units)) == 3
    assert len(read_calibration({"a.toml": PAIR["extri.yml"], "b.json": PAIR["intri.yml"]})) == 3


def test_a_unit_that_cannot_be_known_is_asked_for() -> None:
    """Anipose's lengths are in the unit of its board: the error is about `units` and says what to pass."""
    with pytest.raises(CalibrationError, match="m, cm or mm") as caught:
        read_calibration(FILES / "anipose.toml")
    assert caught.value.field == "units"


def test_a_units_key_settles_the_unit() -> None:
    """`units` at the top or in the metadata is honoured, and contradicting it is an error."""
    text = (FILES / "anipose.toml").read_text()
    for said in ('units = "mm"\n' + text, text + 'units = "mm"\n'):
        assert read_calibration({"c": said.encode()})["cam01"].center[0] == pytest.approx(3.2, abs=1e-5)
        with pytest.raises(CalibrationError, match="in mm, not in m") as caught:
            read_calibration({"c": said.encode()}, units="m")
        assert caught.value.field == "units"


@pytest.mark.parametrize("file", ["qualisys.qca.txt", "panoptic.json", "synpose.json"])
def test_contradicting_a_stated_unit_is_an_error(file: str) -> None:
    """A format that fixes its unit refuses another and accepts its own."""
    own: Literal["m", "cm", "mm"] = {"qualisys.qca.txt": "mm", "panoptic.json": "cm", "synpose.json": "m"}[file]  # type: ignore[assignment]
    assert len(read_calibration(FILES / file, units=own)) == 3
    with pytest.raises(CalibrationError, match=f"is in {own}"):
        read_calibration(FILES / file, units="m" if own != "m" else "mm")


def test_an_assumed_unit_can_be_overridden() -> None:
    """A FreeMoCap user who measured the board in centimetres says so."""
    rig = read_calibration(FILES / "freemocap.toml", units="cm")
    assert rig["cam01"].center[0] == pytest.approx(32.0, abs=1e-3)


def test_an_impossible_scale_names_the_unit_to_try() -> None:
    """Millimetres read as metres put cameras kilometres apart; the error says so and what would fit."""
    with pytest.raises(CalibrationError, match=r"6\d{3} m from each other; try units cm or mm") as caught:
        read_calibration(FILES / "anipose.toml", units="m")
    assert caught.value.field == "units"
    with pytest.raises(CalibrationError, match="try units m or cm"):
        read_calibration(FILES / "pose2sim.toml", units="mm")


def test_cameras_in_one_place_are_no_rig() -> None:
    """Extrinsics that were never calibrated are refused."""
    text = (FILES / "synpose.json").read_text()
    document = json.loads(text)
    for camera in document["cameras"]:
        camera["t"] = [0, 0, 0]
    with pytest.raises(CalibrationError, match="no unit of length"):
        read_calibration({"c": json.dumps(document).encode()})


def test_numbers_that_are_not_finite_are_refused_by_name() -> None:
    """NaN and infinity are errors that name camera and field."""
    text = (FILES / "panoptic.json").read_text()
    for bad in ("NaN", "Infinity", "1e999", "1" + "0" * 400):
        with pytest.raises(CalibrationError) as caught:
            read_calibration({"c": text.replace("1121.5", bad).encode()})
        assert (caught.value.field, caught.value.camera) == ("calibration.K", "cam02")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\x00",
        b"hello",
        b"{}",
        b"[" * 100_000,
        b'{"cameras": []}',
        b'{"units": "m", "cameras": []}',
        b'{"units": "ft", "cameras": []}',
        b"<calibration><cameras/></calibration>",
        b"<calibration",
        b"[a]\nmatrix = 1\n",
        b"[a]\nmatrix = 1\n" + b"a." * 200_000 + b"b = 1\n",
        b"%YAML:1.0\n---\nnames: [a]\nK_a: !!opencv-matrix\n  rows: 3\n",
        b" " * (MAX_BYTES + 1),
    ],
)
def test_what_is_no_calibration_is_refused(content: bytes) -> None:
    """Empty, broken, deeply nested, oversized or foreign content raises `CalibrationError`."""
    with pytest.raises(CalibrationError):
        read_calibration({"c": content}, units=None)


def test_entities_are_refused_before_parsing() -> None:
    """A document type, which could hold entities that grow without bound, never reaches the XML parser."""
    bomb = b'<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "aaa"><!ENTITY c "&a;&a;">]><calibration>&c;</calibration>'
    with pytest.raises(CalibrationError, match="entities"):
        read_calibration({"c": bomb})


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """Missing files, folders without the pair, and too many files are calibration errors."""
    for source in (tmp_path / "none.toml", tmp_path, "\0"):
        with pytest.raises(CalibrationError):
            read_calibration(source)
    content = (FILES / "synpose.json").read_bytes()
    for files in ({}, {"a": content, "b": content}, {"a": content, "b": content, "c": content}):
        with pytest.raises(CalibrationError):
            read_calibration(files)


_JUNK = st.sampled_from(
    [b"", b"-1", b"0", b"nan", b"1e300", b"{", b"]", b'"', b"<", b"=", b"\n", b"true", b"\xff", b"!"]
)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_mutated_files_raise_only_calibration_errors(data: st.DataObject) -> None:
    """Whatever is cut from or written into a valid file, only `CalibrationError` comes out."""
    files = data.draw(st.sampled_from([PAIR, *({p.name: p.read_bytes()} for p in SINGLE)]))
    mutated = {}
    for name, content in files.items():
        for _ in range(data.draw(st.integers(1, 3))):
            start = data.draw(st.integers(0, len(content)))
            stop = data.draw(st.integers(start, min(len(content), start + 60)))
            content = content[:start] + data.draw(_JUNK) + content[stop:]
        mutated[name] = content
    try:
        rig = read_calibration(mutated, units=data.draw(st.sampled_from([None, "m", "mm"])))
    except CalibrationError:
        return
    assert all(np.isfinite(camera.t).all() for camera in rig)


def test_lenses_need_no_places() -> None:
    """Neither the unit of length nor where the cameras stand matters to who reads lenses; a broken file does."""
    text = (FILES / "anipose.toml").read_text()
    together = re.sub(r"translation = .*", "translation = [0.0, 0.0, 0.0]", text)
    in_metres = read_calibration(FILES / "anipose.toml", units="mm")
    for content in (text, together):
        rig = read_lenses({"c": content.encode()})
        assert rig.names == in_metres.names
        assert all(camera.K.tolist() == in_metres[camera.name].K.tolist() for camera in rig)
    assert read_lenses(FILES / "easymocap").names == read_calibration(FILES / "easymocap").names
    with pytest.raises(CalibrationError, match="matrix"):
        read_lenses({"c": text.replace("matrix = [", "matrix = [[], ", 1).encode()})
