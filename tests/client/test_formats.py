"""Pose files: what is written is what was meant, and what can be read comes back."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from synpose.errors import InvalidInput, NotAcceptable, OptionsError
from synpose.formats import FORMATS, format_for_accept, format_for_path, ndjson
from synpose.formats import json as pose_json
from synpose.formats.markers import marker_names
from synpose.pose import Frame, ModelInfo, Notice, Person, PoseHeader, PoseSequence
from synpose.skeleton import COCO17, HALPE26, Skeleton

HEADER = PoseHeader(ModelInfo("testing", "1.2"), COCO17, 60.0)


def person(number: int, seed: int, unknown: tuple[int, ...] = (), skeleton: Skeleton = COCO17) -> Person:
    rng = np.random.default_rng(seed)
    joints, sigma = rng.normal(size=(len(skeleton), 3)), rng.uniform(0.01, 0.1, len(skeleton))
    joints[list(unknown)], sigma[list(unknown)] = np.nan, np.nan
    return Person(number, 0.93, joints, sigma, ("cam01", "cam02"))


SEQUENCE = PoseSequence(
    HEADER,
    (
        Frame(0, 0.0, (person(7, 0, unknown=(3,)),), (Notice("unequal-lengths", "a clip is shorter", "cam02"),)),
        Frame(1, 1 / 60),
        Frame(2, 2 / 60, (person(7, 1), person(9, 2))),
    ),
)


def assert_same(a: PoseSequence, b: PoseSequence) -> None:
    assert a.header == b.header
    assert a.notices == b.notices
    for one, other in zip(a.frames, b.frames, strict=True):
        assert one.index == other.index
        assert one.timestamp == pytest.approx(other.timestamp, abs=1e-6)
        for p, q in zip(one.people, other.people, strict=True):
            assert (p.id, p.score, p.views) == (q.id, q.score, q.views)
            np.testing.assert_allclose(p.joints, q.joints, atol=5.1e-7)
            np.testing.assert_allclose(p.sigma, q.sigma, atol=5.1e-7)


def test_json_has_the_published_shape() -> None:
    """Keys, order of joints, nulls and rounding are those of the contract."""
    answer = json.loads(pose_json.encode(SEQUENCE), parse_constant=pytest.fail)
    assert list(answer) == ["model", "skeleton", "units", "fps", "frames", "notices"]
    assert answer["model"] == {"name": "testing", "version": "1.2"}
    assert answer["skeleton"] == {
        "name": "coco17", "joints": list(COCO17.joints), "parents": list(COCO17.parents),
    }  # fmt: skip
    assert (answer["units"], answer["fps"]) == ("m", 60.0)
    assert answer["notices"] == [{"code": "unequal-lengths", "message": "a clip is shorter", "camera": "cam02"}]
    assert [list(frame) for frame in answer["frames"]] == [["index", "timestamp", "people"]] * 3
    someone = answer["frames"][0]["people"][0]
    assert list(someone) == ["id", "score", "joints", "sigma", "views"]
    assert someone["joints"][3] is None
    assert someone["sigma"][3] is None
    source = SEQUENCE.frames[0].people[0]
    assert someone["joints"][0] == [round(x, 6) for x in source.joints[0].tolist()]


def test_notices_are_left_out_when_there_are_none() -> None:
    """Neither JSON nor a stream's frames mention notices without a cause."""
    quiet = PoseSequence(HEADER, SEQUENCE.frames[1:])
    assert "notices" not in json.loads(pose_json.encode(quiet))
    assert ["notices" in json.loads(ndjson.encode_frame(frame)) for frame in SEQUENCE.frames] == [True, False, False]


def test_json_is_read_back() -> None:
    """Encoding and decoding JSON keeps everything up to half a micrometre."""
    assert_same(pose_json.decode(pose_json.encode(SEQUENCE)), SEQUENCE)


def test_what_offsets_left_out_is_read_back() -> None:
    """JSON and streams say how many images of which camera were left out; where none were, they say nothing."""
    assert pose_json.decode(pose_json.encode(SEQUENCE)).header.left_out == {}
    header = replace(HEADER, left_out={"cam02": 7})
    answer = replace(SEQUENCE, header=header)
    assert json.loads(pose_json.encode(answer))["left_out"] == {"cam02": 7}
    assert_same(pose_json.decode(pose_json.encode(answer)), answer)
    assert ndjson.decode(ndjson.encode(answer).splitlines())[0] == header


@pytest.mark.parametrize("left_out", [7, None, [], ["cam02"], {"cam02": -1}, {"cam02": 0.5}, {"cam02": True}])
def test_images_that_were_left_out_are_counted(left_out: Any) -> None:
    """Whatever else stands in their place is told."""
    record = json.loads(pose_json.encode(SEQUENCE))
    with pytest.raises(InvalidInput, match="no pose answer"):
        pose_json.decode(json.dumps({**record, "left_out": left_out}))


def test_infinite_coordinates_are_unknown() -> None:
    """A joint with one coordinate that is not finite is null as a whole; never a NaN in JSON."""
    strange = person(0, 0)
    strange.joints[5, 1] = np.inf
    answer = json.loads(
        pose_json.encode(PoseSequence(HEADER, (Frame(0, 0.0, (strange,)),))), parse_constant=pytest.fail
    )
    assert answer["frames"][0]["people"][0]["joints"][5] is None


def test_a_stream_is_read_line_by_line() -> None:
    """The decoder gives each frame when its line has come, without waiting for the next."""
    served = []

    def lines() -> Iterator[bytes]:
        for number, line in enumerate(ndjson.encode(SEQUENCE).splitlines(keepends=True)):
            served.append(number)
            yield line

    header, frames = ndjson.decode(lines())
    assert (header, served) == (HEADER, [0])
    first = next(frames)
    assert served == [0, 1]
    assert_same(PoseSequence(header, (first, *frames)), SEQUENCE)


@pytest.mark.parametrize(
    "content",
    ["", "nonsense", "[]", "{}", "null", '{"frames": 3}', "[" * 100_000, '{"model": {"name": 1}, "units": "m"}'],
)
def test_what_is_no_answer_is_refused(content: str) -> None:
    """Both decoders raise `InvalidInput` for anything else."""
    with pytest.raises(InvalidInput):
        pose_json.decode(content)
    with pytest.raises(InvalidInput):
        list(ndjson.decode([content])[1])


@pytest.mark.parametrize("fps", [0, -1, None, "60x", 10**400])
def test_an_answer_needs_a_frame_rate(fps: Any) -> None:
    """Whatever stands in its place is told, numbers beyond all floats, too."""
    record = json.loads(pose_json.encode(SEQUENCE))
    with pytest.raises(InvalidInput, match="no pose answer"):
        pose_json.decode(json.dumps({**record, "fps": fps}))


def test_broken_frames_are_refused() -> None:
    """A frame with too few joints, or without people, is an error and not a shorter answer."""
    good = json.loads(pose_json.encode(SEQUENCE))
    for spoil in (
        lambda frame: frame["people"][0]["joints"].pop(),
        lambda frame: frame.pop("people"),
        lambda frame: frame["people"][0].update(sigma="x"),
        lambda frame: frame.update(notices=[1]),
    ):
        answer = json.loads(json.dumps(good))
        spoil(answer["frames"][2])  # type: ignore[no-untyped-call]
        with pytest.raises(InvalidInput):
            pose_json.decode(json.dumps(answer))


def test_csv_has_a_row_for_each_frame_and_person() -> None:
    """Four leading columns, four a joint, one header line, empty cells where nothing is known."""
    rows = list(csv.reader(io.StringIO(FORMATS["csv"].write(SEQUENCE).decode())))
    assert rows[0][:8] == ["frame", "timestamp", "person", "score", "nose_x", "nose_y", "nose_z", "nose_sigma"]
    assert [(row[0], row[2]) for row in rows[1:]] == [("0", "7"), ("2", "7"), ("2", "9")]
    assert {len(row) for row in rows} == {4 + 4 * 17}
    assert rows[1][4 + 4 * 3 : 4 + 4 * 4] == [""] * 4
    source = SEQUENCE.frames[2].people[1]
    values = np.array(rows[3][4:], dtype=float).reshape(17, 4)
    np.testing.assert_allclose(values, np.column_stack((source.joints, source.sigma)), atol=5.1e-7)


def read_trc(content: bytes) -> tuple[dict[str, str], list[str], np.ndarray, np.ndarray]:
    """A strict reader of the layout OpenSim publishes: header, markers, times `(T,)`, positions `(T, M, 3)`."""
    lines = [line.split("\t") for line in content.decode("ascii").split("\n")]
    assert lines.pop() == [""]
    assert lines[0][:3] == ["PathFileType", "4", "(X/Y/Z)"]
    header = dict(zip(lines[1], lines[2], strict=True))
    count = int(header["NumMarkers"])
    ends = [line.pop() for line in lines[3:5] + lines[6:]]
    assert set(ends) <= {""}  # a tab ends every line of cells, else OpenSim loses an empty last cell
    assert lines[3][:2] == ["Frame#", "Time"]
    assert len(lines[3]) == 2 + 3 * count
    assert set(lines[3][3::3]) | set(lines[3][4::3]) == {""}
    assert lines[4] == ["", ""] + [f"{axis}{m}" for m in range(1, count + 1) for axis in "XYZ"]
    assert lines[5] == [""]
    rows = lines[6:]
    assert [row[0] for row in rows] == [str(n) for n in range(1, int(header["NumFrames"]) + 1)]
    assert {len(row) for row in rows} == {2 + 3 * count}
    values = np.array([[float(cell) if cell else np.nan for cell in row[1:]] for row in rows])
    return header, lines[3][2::3], values[:, 0], values[:, 1:].reshape(len(rows), count, 3)


def test_trc_holds_the_person_of_most_frames() -> None:
    """Every frame has its row, in metres, y up; gaps are empty cells."""
    header, markers, times, positions = read_trc(FORMATS["trc"].write(SEQUENCE, up="y"))
    assert (header["Units"], header["DataRate"], header["NumFrames"]) == ("m", "60", "3")
    assert markers == list(marker_names(COCO17))
    np.testing.assert_allclose(times, [0, 1 / 60, 2 / 60], atol=1e-6)
    np.testing.assert_allclose(positions, SEQUENCE.joints(7), atol=5.1e-7)
    assert np.isnan(positions[1]).all()


def test_trc_opens_in_opensim(tmp_path: object) -> None:
    """OpenSim's own reader, where it is installed, finds the same markers, times and gaps."""
    opensim: Any = pytest.importorskip("opensim")
    path = f"{tmp_path}/pose.trc"
    with open(path, "wb") as file:
        file.write(FORMATS["trc"].write(SEQUENCE, up="y"))
    table = opensim.TimeSeriesTableVec3(path)
    assert list(table.getColumnLabels()) == list(marker_names(COCO17))
    found = np.array([[table.getRowAtIndex(t)[j].to_numpy() for j in range(17)] for t in range(3)])
    np.testing.assert_allclose(found, SEQUENCE.joints(7), atol=5.1e-7)


def test_every_format_writes_an_empty_answer() -> None:
    """A clip without frames, or without people, is no error in any format."""
    for frames in ((), (Frame(0, 0.0),)):
        for form in FORMATS.values():
            assert form.write(PoseSequence(HEADER, frames))


def test_people_are_gathered_once() -> None:
    """However many there are and whatever is asked of them, the frames are gone through once for all."""

    class Counted(tuple[Frame, ...]):
        times = 0

        def __iter__(self) -> Iterator[Frame]:
            self.times += 1
            return super().__iter__()

    frames = Counted(Frame(t, float(t), (person(t % 50, t), person(99, t))) for t in range(100))
    sequence = PoseSequence(HEADER, frames)
    for number in sequence.ids:
        assert np.isfinite(sequence.joints(number)).all((1, 2)).sum() == (100 if number == 99 else 2)
        assert sequence.sigma(number).shape == (100, 17)
    assert sequence.main_person == 99
    assert frames.times == 1


def test_ten_minutes_of_sixty_hertz_are_written_in_seconds() -> None:
    """36,000 frames of the largest skeleton take JSON less than ten seconds, also on a busy machine."""
    someone = person(0, 0, skeleton=HALPE26)
    header = PoseHeader(ModelInfo("testing", "1"), HALPE26, 60.0)
    sequence = PoseSequence(header, tuple(Frame(i, i / 60, (someone,)) for i in range(36_000)))
    start = time.process_time()
    content = pose_json.encode(sequence)
    assert time.process_time() - start < 10
    assert content.count(b'"index"') == 36_000


def test_suffixes_choose_formats() -> None:
    """The suffix decides, in any case; an unknown one lists those there are."""
    assert format_for_path("out/x.JSON").name == "json"
    assert [format_for_path(f"a{form.suffix}") for form in FORMATS.values()] == list(FORMATS.values())
    with pytest.raises(OptionsError, match=r"\.json, \.ndjson, \.csv, \.trc"):
        format_for_path("x.fbx")


@pytest.mark.parametrize(
    ("header", "name"),
    [
        (None, "json"),
        ("", "json"),
        ("*/*", "json"),
        ("text/csv", "csv"),
        ("TEXT/CSV; charset=utf-8", "csv"),
        ("text/*", "csv"),
        ("model/gltf-binary", "glb"),
        ("application/vnd.apache.parquet, application/json;q=0.5", "parquet"),
        ("text/*;q=0.5, text/x-trc", "trc"),
        ("text/html, application/xml;q=0.9, */*;q=0.8", "json"),
        ("application/json;q=0, */*", "ndjson"),
        ("application/json;q=0.2, application/x-ndjson;q=0.201", "ndjson"),
        ("application/json;q=7, text/csv;q=0.1", "csv"),
    ],
)
def test_accept_headers_choose_formats(header: str | None, name: str) -> None:
    """Quality first, the more specific range before the wildcard, JSON where all are equal."""
    assert format_for_accept(header).name == name


@pytest.mark.parametrize("header", ["image/png", "*/*;q=0", "application/json;q=0", ",;,"])
def test_nothing_acceptable(header: str) -> None:
    """Where no offered type is accepted, the error lists them."""
    with pytest.raises(NotAcceptable, match="text/csv"):
        format_for_accept(header)
