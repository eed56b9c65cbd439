"""The same clip gives the same joints whichever way it takes, and an answer for every frame when a camera fails."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import av
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.e2e.clip import CALIBRATION, CAMERAS, FRAMES, encoded, frames, jpegs, video
from tests.e2e.doors import DOORS, Answer, Request, Server

from synpose.cli import main
from synpose.formats import ndjson

AGREE = 1e-4  # metres
GAP = 3  # the frame set in which cam02 has no image

Joints = NDArray[np.float64]

WAYS = ("here", "http", "grpc")


def by_command(way: str, server: Server, folder: Path, *videos: Path, more: Sequence[str] = ()) -> Joints:
    """Joints `(T, J, 3)` of the first person by `synpose estimate`, in this process or by a server."""
    (folder / "rig.json").write_bytes(CALIBRATION)
    output = folder / f"{way}.json"
    address = {"here": [], "http": ["--server", server.url], "grpc": ["--server", f"grpc://{server.target}"]}[way]
    arguments = ["--calibration", str(folder / "rig.json"), "--model", "fast", "--output", str(output)]
    assert main(["estimate", *arguments, *more, *address, *map(str, videos)]) == 0
    document = json.loads(output.read_text())
    return np.array(
        [[joint or [np.nan] * 3 for joint in frame["people"][0]["joints"]] for frame in document["frames"]],
        dtype=np.float64,
    )


def answer(server: Server, door: str, request: Request) -> Answer:
    result = DOORS[door](server, request)
    assert isinstance(result, Answer), result
    return result


def image_request(gap: bool = False) -> Request:
    """The clip as JPEG frame sets, with one image of cam02 missing if there is a `gap`."""
    return Request(
        frame_sets=[
            {camera: jpegs(camera)[k] for camera in CAMERAS if not (gap and k == GAP and camera == "cam02")}
            for k in range(FRAMES)
        ]
    )


@pytest.fixture(scope="module")
def of_videos(server: Server) -> Joints:
    """The joints of the clip as videos, by REST."""
    joints = answer(server, "http", Request()).joints
    assert np.isfinite(joints).all(-1).mean() > 0.9
    return joints


@pytest.mark.parametrize("way", WAYS)
def test_command_agrees(server: Server, of_videos: Joints, tmp_path: Path, way: str) -> None:
    """`synpose estimate` gives the joints of REST, computed here or by either door."""
    for camera in CAMERAS:
        (tmp_path / f"{camera}.mp4").write_bytes(video(camera))
    joints = by_command(way, server, tmp_path, *(tmp_path / f"{camera}.mp4" for camera in CAMERAS))
    np.testing.assert_allclose(joints, of_videos, atol=AGREE)


def test_grpc_agrees(server: Server, of_videos: Joints) -> None:
    """Videos through gRPC give the joints of REST."""
    np.testing.assert_allclose(answer(server, "grpc", Request()).joints, of_videos, atol=AGREE)


@pytest.mark.parametrize("gap", [False, True], ids=["whole", "gap"])
def test_images_agree(server: Server, gap: bool) -> None:
    """The same JPEG images give the same joints by form, JSON, gRPC stream and gRPC message, also with one missing."""
    answers = {door: answer(server, door, image_request(gap)) for door in DOORS}
    first = answers["http"]
    assert first.joints.shape == (FRAMES, 17, 3)
    assert np.isfinite(first.joints).any((1, 2)).all()
    assert (("missing-images", "cam02") in first.notices) == gap
    for other in answers.values():
        np.testing.assert_allclose(other.joints, first.joints, atol=AGREE)
        assert other.notices == first.notices
        assert other.times == pytest.approx(first.times, abs=1e-5)


@pytest.mark.parametrize("gap", [False, True], ids=["whole", "gap"])
def test_folders_agree(server: Server, tmp_path: Path, gap: bool) -> None:
    """Folders of numbered images give the joints of the same images by REST, here or by a server, also with a gap."""
    for camera in CAMERAS:
        (tmp_path / camera).mkdir()
        for k, image in enumerate(jpegs(camera)):
            if not (gap and k == GAP and camera == "cam02"):
                (tmp_path / camera / f"image{k + 7}.jpg").write_bytes(image)  # 9 comes before 10
    expected = answer(server, "http", image_request(gap)).joints
    for way in WAYS:
        joints = by_command(way, server, tmp_path, *(tmp_path / camera for camera in CAMERAS))
        np.testing.assert_allclose(joints, expected, atol=AGREE)


def test_a_gap_changes_the_answer(server: Server) -> None:
    """The missing image is really missed: its frame's joints differ, those before it do not.

    By a model that answers from the past alone: with look-ahead the frames before it differ, too.
    """
    requests = [replace(image_request(gap), options={"model": "quick"}) for gap in (False, True)]
    whole, gap = (answer(server, "http", request).joints for request in requests)
    np.testing.assert_allclose(gap[:GAP], whole[:GAP], atol=AGREE)
    assert np.nanmax(np.abs(gap[GAP] - whole[GAP])) > AGREE


LATE = 4  # frames, as long as a group of pictures: a video can be cut there without another encoding


def begun_late(camera: str) -> bytes:
    """The clip of a camera without its first `LATE` frames."""
    file = io.BytesIO()
    with av.open(io.BytesIO(video(camera))) as whole, av.open(file, "w", format="mp4") as cut:
        stream = cut.add_stream_from_template(whole.streams.video[0])
        packets = [packet for packet in whole.demux(video=0) if packet.size]
        for packet in packets[LATE:]:
            packet.stream = stream
            cut.mux(packet)
    return file.getvalue()


@pytest.fixture(scope="module")
def of_cut_videos(server: Server) -> Joints:
    """The joints of the clip whose videos were cut by hand to begin together."""
    joints = answer(server, "http", Request(videos=[(camera, begun_late(camera)) for camera in CAMERAS])).joints
    assert joints.shape == (FRAMES - LATE, 17, 3)
    return joints


@pytest.mark.parametrize("door", ["http", "grpc"])
def test_offsets_are_as_good_as_cutting(server: Server, of_cut_videos: Joints, door: str) -> None:
    """A camera that started earlier than the others gives, with its offset, the joints of the videos cut by hand."""
    request = Request(videos=[(camera, begun_late(camera)) for camera in CAMERAS]).with_video("cam02", video("cam02"))
    told = answer(server, door, replace(request, options={"offsets": {"cam02": LATE - 0.3}}))
    np.testing.assert_allclose(told.joints, of_cut_videos, atol=AGREE)
    assert told.notices == {("left-out", "cam02")}
    assert np.nanmax(np.abs(answer(server, door, request).joints - of_cut_videos)) > AGREE


@pytest.mark.parametrize("way", WAYS)
def test_offsets_of_the_command(server: Server, of_cut_videos: Joints, tmp_path: Path, way: str) -> None:
    """`synpose estimate --offset` gives these joints, too, wherever it computes."""
    for camera in CAMERAS:
        (tmp_path / f"{camera}.mp4").write_bytes(video(camera) if camera == "cam02" else begun_late(camera))
    videos = (tmp_path / f"{camera}.mp4" for camera in CAMERAS)
    joints = by_command(way, server, tmp_path, *videos, more=("--offset", f"cam02={LATE - 0.3}"))
    np.testing.assert_allclose(joints, of_cut_videos, atol=AGREE)


@pytest.mark.parametrize("door", DOORS)
def test_offsets_of_images_agree(server: Server, door: str) -> None:
    """Images are shifted like videos, by each door; the ends that then have no counterpart are told."""
    sets = [{camera: jpegs(camera)[k] for camera in CAMERAS} for k in range(2, FRAMES)]
    expected = answer(server, "http", Request(frame_sets=sets)).joints
    late = [
        {
            camera: jpegs(camera)[k if camera == "cam02" else k + 2]
            for camera in CAMERAS
            if camera == "cam02" or k + 2 < FRAMES
        }
        for k in range(FRAMES)
    ]
    told = answer(server, door, Request(frame_sets=late, options={"offsets": {"cam02": 2}}))
    np.testing.assert_allclose(told.joints, expected, atol=AGREE)
    assert ("unequal-lengths", "cam02") in told.notices


def as_ndjson(content: bytes) -> Joints:
    _, found = ndjson.decode(content.splitlines())
    return np.stack([frame.people[0].joints for frame in found])


def as_csv(content: bytes) -> Joints:
    header, *rows = csv.reader(io.StringIO(content.decode()))
    columns = [k for k, name in enumerate(header) if name.endswith(("_x", "_y", "_z"))]
    return np.array([[float(row[k] or "nan") for k in columns] for row in rows]).reshape(len(rows), -1, 3)


def as_trc(content: bytes) -> Joints:
    rows = [line.split("\t") for line in content.decode().splitlines()[6:]]
    return np.array([[float(cell or "nan") for cell in row[2:-1]] for row in rows]).reshape(len(rows), -1, 3)


@pytest.mark.parametrize(
    ("media_type", "read"),
    [("application/x-ndjson", as_ndjson), ("text/csv", as_csv), ("text/x-trc", as_trc)],
)
def test_formats_agree(server: Server, of_videos: Joints, media_type: str, read: Callable[[bytes], Joints]) -> None:
    """Every format of REST holds the numbers of its JSON."""
    parts = [
        ("calibration", ("rig.json", CALIBRATION)),
        ("options", ("", b'{"model": "fast"}')),
        *(("video", (f"{camera}.mp4", video(camera))) for camera in CAMERAS),
    ]
    response = httpx.post(
        f"{server.url}/v1/pose3d", files=parts, params={"up": "y"}, headers={"accept": media_type}, timeout=30
    )
    assert response.status_code == 200
    assert response.headers["content-type"].startswith(media_type)
    np.testing.assert_allclose(read(response.content), of_videos, atol=2e-6)  # rounded to 1e-6


@pytest.mark.parametrize("door", ["http", "grpc"])
@pytest.mark.parametrize("camera", CAMERAS)
def test_loss_of_a_camera(server: Server, of_videos: Joints, camera: str, door: str) -> None:
    """Without one camera every frame is still answered, near to what all cameras show, and the answer says so."""
    poorer = answer(server, door, Request().with_video(camera, None))
    assert ("missing-camera", camera) in poorer.notices
    assert np.isfinite(poorer.joints).any((1, 2)).tolist() == [True] * FRAMES
    assert np.nanmedian(np.linalg.norm(poorer.joints - of_videos, axis=-1)) < 0.05


@pytest.mark.parametrize("door", ["http", "grpc"])
@pytest.mark.parametrize("camera", CAMERAS)
def test_blackout_of_a_camera(server: Server, of_videos: Joints, camera: str, door: str) -> None:
    """While one camera is black every frame is still answered by the others, and the answer says so."""
    pixels = frames(camera).copy()
    pixels[2:5] = 0
    poorer = answer(server, door, Request().with_video(camera, encoded(pixels)))
    assert ("black-images", camera) in poorer.notices
    assert np.isfinite(poorer.joints).any((1, 2)).tolist() == [True] * FRAMES
    assert np.nanmedian(np.linalg.norm(poorer.joints - of_videos, axis=-1)) < 0.05


def test_timestamps_agree(server: Server) -> None:
    """Capture times come back as they were given."""
    times = [0.0, 0.1, 0.3, 0.4, 0.5, 0.8, 0.9, 1.0]
    for door in DOORS:
        assert answer(server, door, replace(image_request(), timestamps=times)).times == pytest.approx(times)
