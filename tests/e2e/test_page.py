"""The page in a real Chromium before a real server: what a person does first, and what goes wrong then."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import av
import c3d
import numpy as np
import pytest
from tests.e2e.browser import chromium, launched

from synpose.calibration import read_calibration, write_calibration
from synpose.formats import json as pose_json
from synpose.formats import ndjson
from synpose.pose import Frame, ModelInfo, Person, PoseHeader, PoseSequence
from synpose.rig import Camera, Rig
from synpose.skeleton import COCO17

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

EXAMPLE = Path(__file__).parents[2] / "examples" / "balancing"
_COMMAND = "import sys; from synpose.cli import main; sys.exit(main(sys.argv[1:]))"
LATE = 7  # images by which a camera starts after the others
_SECONDS = 240_000  # as long as a busy machine may take to compute the example, in milliseconds


@contextmanager
def _serving(*more: str) -> Iterator[str]:
    """The address of a server as `synpose serve` starts it, whose limits hold the whole example."""
    command = [sys.executable, "-c", _COMMAND, "serve", "--http-port", "0", "--grpc-port", "0", *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        try:
            assert process.stdout is not None
            yield next(line.split()[-1] for line in process.stdout if line.startswith("HTTP on "))
            process.terminate()
            assert process.wait(20) == 0
        finally:
            process.kill()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with _serving() as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """The page, open; whatever it logs as an error, or throws, fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: _is_local(request.url, address, errors))
    page.goto(address)
    yield page
    # a refused request is logged by the browser itself; the tests that provoke one look at what the page says of it
    assert [error for error in errors if "status of 4" not in error] == []
    context.close()


def _is_local(url: str, address: str, errors: list[str]) -> None:
    if not url.startswith((address, f"blob:{address}", "data:")):
        errors.append(f"the page asks {url}")


def test_from_the_address_to_a_moving_skeleton_and_a_file(page: Page) -> None:
    """Open, pick the example, watch it move while it is computed, and save a file with two clicks."""
    page.get_by_role("button", name="Try the example").click()
    page.wait_for_function("() => window.viewer?.player.frame > 3", timeout=_SECONDS)
    pose = "() => [...viewer.take.tracks[0].joints.slice(viewer.player.frame * 78, viewer.player.frame * 78 + 78)]"
    before, frame = page.evaluate(pose), page.evaluate("() => viewer.player.frame")
    page.wait_for_function("frame => viewer.player.frame > frame", arg=frame, timeout=_SECONDS)
    assert page.evaluate(pose) != before
    page.locator("#download").wait_for(timeout=_SECONDS)
    assert "100 frames · 1 person" in page.locator("#status").inner_text()
    assert _is_drawn(page, ".scene canvas")
    for tile in range(4):
        assert _is_drawn(page, f".tile:nth-child({tile + 1}) canvas")

    page.locator("#download").click()
    with page.expect_download() as download:
        page.locator("[data-format=c3d]").click()
    assert download.value.suggested_filename == "balancing.c3d"
    with Path(download.value.path()).open("rb") as file, pytest.warns(UserWarning, match="No analog data"):
        saved = c3d.Reader(file)
    assert (saved.last_frame, saved.header.frame_rate) == (100, 60)

    page.keyboard.press("Escape")
    if page.evaluate("() => viewer.player.playing"):
        page.keyboard.press("Space")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    assert page.evaluate("() => viewer.player.frame") == 11
    assert page.get_by_role("slider", name="Frame").get_attribute("aria-valuetext") is not None
    page.get_by_text("Joints of this frame").click()
    page.get_by_role("rowheader", name="left knee").wait_for()

    page.get_by_role("button", name="New clip").click()
    page.get_by_role("heading", level=1).wait_for()
    assert page.locator(".viewer").count() == 0


def test_an_error_is_said_beside_the_field_that_caused_it(page: Page) -> None:
    """Of the calibration when it is read, of a video when the server has looked at it, in the video's own row, of what
    "Options" hides once that is open.
    """
    files = page.locator("#picker")
    files.set_input_files({"name": "rig.toml", "mimeType": "text/plain", "buffer": b"nothing"})
    page.locator("#calibration-error:not(:empty)").wait_for()
    files.set_input_files([EXAMPLE / "Calib.qca.txt", EXAMPLE / "cam01.mp4"])
    page.get_by_text("4 cameras: cam01").wait_for()
    assert page.locator("#calibration-error").inner_text() == ""
    files.set_input_files({"name": "phone.mp4", "mimeType": "video/mp4", "buffer": b"no video at all"})
    row = page.locator("#videos li", has_text="phone.mp4")
    row.get_by_role("combobox").select_option("cam02")
    page.get_by_role("button", name="Estimate the motion").click()
    error = page.locator("#videos li[data-camera=cam02] .error:not(:empty)")
    error.wait_for(timeout=_SECONDS)
    assert "video" in error.inner_text()
    assert page.locator("#videos li[data-camera=cam01] .error:not(:empty)").count() == 0
    page.locator("#max_people").evaluate("field => { field.value = 99; }")
    assert page.locator("details.options[open]").count() == 0
    page.get_by_role("button", name="Estimate the motion").click()
    page.locator("#max_people-error:not(:empty)").wait_for(timeout=_SECONDS)
    assert page.locator("details.options[open]").count() == 1
    assert page.evaluate("() => document.activeElement.id") == "max_people"


def test_without_a_calibration_the_person_makes_one(page: Page, tmp_path: Path) -> None:
    """Videos, of which one begins later, and a height: how firmly each camera is held, a file to keep, and an estimate
    with it and with the offsets that were found.
    """
    videos = sorted(EXAMPLE.glob("*.mp4"))
    videos[1] = _begun(tmp_path / videos[1].name, LATE)
    page.locator("#picker").set_input_files(videos)
    button = page.get_by_role("button", name="Calibrate from the person")
    button.click()
    assert "height" in page.locator("#height-error").inner_text()
    page.get_by_label("Height of the person").fill("18")
    button.click()
    page.locator("#height-error").get_by_text("between 0.5 and 2.5").wait_for(timeout=_SECONDS)
    apart = page.get_by_label("Started apart by at most")
    for seconds, told in (("", "0 where all cameras started together"), ("11", "max_offset must be 0 to 10 seconds")):
        apart.fill(seconds)
        page.get_by_label("Height of the person").fill("1.68")
        apart.press("Enter")
        page.locator("#max_offset-error").get_by_text(told).wait_for(timeout=_SECONDS)
    apart.fill("0.3")
    page.get_by_text("Options").click()
    page.get_by_label("Model").select_option("fast")
    page.get_by_label("All cameras are of one kind").check()
    button.click()
    page.get_by_text("Looking at frame").wait_for(timeout=_SECONDS)
    page.get_by_text("4 cameras: cam01").wait_for(timeout=_SECONDS)
    for video in videos[1:]:  # against the first
        row = page.get_by_role("row", name=video.stem)
        assert row.inner_text().count("±") >= 4
        assert any(word in row.inner_text() for word in ("firmly", "fairly", "weakly"))
    with page.expect_download() as download:
        page.get_by_role("button", name="Save the calibration").click()
    assert download.value.suggested_filename == "calibration.json"
    rig = read_calibration(Path(download.value.path()))
    assert rig.names == tuple(video.stem for video in videos)
    assert all(0.3 < camera.center[2] < 4 for camera in rig)  # tripods, above the floor
    assert "cam02=-" in page.get_by_label("Offsets").input_value()
    page.get_by_role("button", name="Estimate the motion").click()
    page.locator("#download").wait_for(timeout=_SECONDS)
    assert "1 person" in page.locator("#status").inner_text()
    left_out = page.evaluate("() => viewer.take.header.left_out")
    assert left_out == pytest.approx(dict.fromkeys(("cam01", "cam03", "cam04"), LATE), abs=1)


def test_recordings_that_did_not_start_together_play_in_step(page: Page, tmp_path: Path) -> None:
    """With offsets in their field, where errors are said, each video shows the image of the frame that is shown, when
    the answer was computed as when it is opened again. They are gone with a recording.
    """
    videos = [_begun(tmp_path / "cam01.mp4", 0, 18 + LATE), _begun(tmp_path / "cam02.mp4", LATE, 18)]
    page.locator("#picker").set_input_files([EXAMPLE / "Calib.qca.txt", *videos])
    page.get_by_text("4 cameras: cam01").wait_for()
    page.get_by_text("Options").click()
    page.get_by_label("Model").select_option("fast")
    field, error = page.get_by_label("Offsets"), page.locator("#offsets-error")
    field.fill("cam02=5")
    page.get_by_role("button", name="Remove cam02.mp4").click()
    assert field.input_value() == ""
    page.locator("#picker").set_input_files(videos[1])
    for offsets, told in (
        ("cam02=seven", "not cam02=seven"),
        ("cam09=-7", "cam09: the calibration has no such camera; it has cam01"),
        ("cam02=99", "cam02: with these offsets its first 99 images precede"),
    ):
        field.fill(offsets)
        page.get_by_role("button", name="Estimate the motion").click()
        error.get_by_text(told).wait_for(timeout=_SECONDS)
        assert page.evaluate("() => document.activeElement.id") == "offsets"
    field.fill(f"cam02={-LATE}")
    field.press("Enter")
    page.locator("#download").wait_for(timeout=_SECONDS)
    assert "18 frames · 1 person" in page.locator("#status").inner_text()
    _are_in_step(page)

    page.locator("#download").click()
    with page.expect_download() as download:
        page.locator("[data-format=ndjson]").click()
    page.get_by_role("button", name="New clip").click()
    page.locator("#picker").set_input_files(
        {"name": "walk.ndjson", "mimeType": "text/plain", "buffer": Path(download.value.path()).read_bytes()}
    )
    page.locator("#download").wait_for()
    _are_in_step(page)


def _are_in_step(page: Page) -> None:
    """Whether at frame 11 the videos, of which that of cam01 begins `LATE` images earlier, show its images."""
    page.evaluate("() => { viewer.player.pause(); viewer.player.seek(0); viewer.player.step(11); }")
    page.wait_for_function("() => viewer.tiles.every(({ shown }) => shown === 11)", timeout=20_000)
    times = page.evaluate("() => Object.fromEntries(viewer.tiles.map(({ name, video }) => [name, video.currentTime]))")
    assert times == pytest.approx({"cam01": (11.5 + LATE) / 60, "cam02": 11.5 / 60}, abs=1e-3)


def _begun(path: Path, late: int, count: int = 100) -> Path:
    """The example's video of this name without its first `late` images, `count` at most."""
    with av.open(str(EXAMPLE / path.name)) as whole, av.open(str(path), "w") as cut:
        stream = cut.add_stream("libx264", rate=60, options={"preset": "ultrafast"})
        size = whole.streams.video[0]
        stream.width, stream.height, stream.pix_fmt = size.width, size.height, "yuv420p"
        for index, frame in enumerate(islice(whole.decode(video=0), late, late + count)):
            image = frame.reformat(format="yuv420p")
            image.pts, image.time_base = index, Fraction(1, 60)
            cut.mux(stream.encode(image))
        cut.mux(stream.encode())
    return path


def test_why_the_person_does_not_calibrate_is_said_at_the_video(page: Page, tmp_path: Path) -> None:
    """Videos of nobody are refused, each reason in the row of its video, and a calibration file is still welcome."""
    for name in ("left", "right"):
        with av.open(str(tmp_path / f"{name}.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=30)
            stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
            for _ in range(24):
                image = av.VideoFrame.from_ndarray(np.full((360, 320), 128, np.uint8), format="yuv420p")
                container.mux(stream.encode(image))
            container.mux(stream.encode())
    page.locator("#picker").set_input_files([tmp_path / "left.mp4", tmp_path / "right.mp4"])
    page.get_by_label("Height of the person").fill("1.8")
    page.get_by_label("Height of the person").press("Enter")
    error = page.locator("#videos li .error:not(:empty)")
    error.wait_for(timeout=_SECONDS)
    assert "a person is seen in 0 of 24 images" in error.inner_text()
    page.locator("#picker").set_input_files(EXAMPLE / "Calib.qca.txt")
    page.get_by_text("4 cameras: cam01").wait_for()
    assert error.count() == 0
    assert not page.locator("#from-person").is_visible()
    page.get_by_role("button", name="Remove the calibration").click()
    assert page.locator("#from-person").is_visible()


def test_a_saved_answer_is_opened_again(page: Page, address: str) -> None:
    """An answer that was saved plays without being computed, also where the videos are not at hand."""
    sequence = answer(40)
    page.locator("#picker").set_input_files(EXAMPLE / "Calib.qca.txt")
    page.get_by_text("4 cameras: cam01").wait_for()
    page.locator("#picker").set_input_files(
        {"name": "walk.ndjson", "mimeType": "application/x-ndjson", "buffer": ndjson.encode(sequence)}
    )
    page.wait_for_function("() => window.viewer?.player.frame > 5")
    page.locator("#download").click()
    with page.expect_download() as download:
        page.locator("[data-format=json]").click()
    assert download.value.suggested_filename == "walk.json"
    again = pose_json.decode(Path(download.value.path()).read_bytes())
    np.testing.assert_array_equal(again.joints(), sequence.joints())


def test_connected_cameras_are_streamed_and_what_came_is_kept(page: Page) -> None:
    """Two cameras of the browser's own making, in which nobody is: frames come back, and after Stop they are a take."""
    turned = [[0, 1, 0], [0, 0, -1], [-1, 0, 0]]
    K = np.array([[900, 0, 639.5], [0, 900, 359.5], [0, 0, 1]])
    ahead = Camera("left", (1280, 720), K, [[1, 0, 0], [0, 0, -1], [0, 1, 0]], [0, 1.2, 4])
    rig = write_calibration(Rig((ahead, Camera("right", (1280, 720), K, turned, [0, 1.2, 4]))))
    page.locator("#picker").set_input_files({"name": "rig.json", "mimeType": "text/plain", "buffer": rig.encode()})
    page.get_by_text("2 cameras: left, right").wait_for()
    page.get_by_role("button", name="Use them live").click()
    page.locator("#live-cameras li").nth(1).wait_for()
    page.get_by_role("button", name="Start").click()
    page.wait_for_function("() => window.viewer?.take.length >= 3", timeout=_SECONDS)
    assert page.locator(".tile").count() == 2
    page.get_by_role("button", name="Stop").click()
    page.locator("#download").wait_for(timeout=_SECONDS)
    assert "nobody was found" in page.locator("#status").inner_text()


def test_a_person_before_a_connected_camera_moves_on_the_page(browser: Browser, address: str, tmp_path: Path) -> None:
    """The man of the example before the browser's camera: the page draws him as he moves, and keeps what came."""
    size = (540, 960)
    film = tmp_path / "camera.mjpeg"
    with av.open(str(EXAMPLE / "cam02.mp4")) as clip, av.open(str(film), "w", format="mjpeg") as camera:
        stream = camera.add_stream("mjpeg", rate=30)
        stream.width, stream.height, stream.pix_fmt = *size, "yuvj420p"
        for index, frame in enumerate(clip.decode(video=0)):
            image = frame.reformat(*size, format="yuvj420p")
            image.pts, image.time_base = index, Fraction(1, 30)
            camera.mux(stream.encode(image))
        camera.mux(stream.encode())
    view = read_calibration(EXAMPLE / "Calib.qca.txt").subset(["cam02"])["cam02"].resized((1080, 1920)).resized(size)
    rig = write_calibration(Rig((view,))).encode()
    flags = ("--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={film}")
    with launched(browser.browser_type, *flags) as filming:
        page = filming.new_page(viewport={"width": 1280, "height": 800})
        page.goto(address)
        page.locator("#picker").set_input_files({"name": "rig.json", "mimeType": "text/plain", "buffer": rig})
        page.get_by_text("1 camera: cam02").wait_for()
        page.get_by_text("Options").click()
        page.get_by_label("Model").select_option("fast")
        page.get_by_role("button", name="Use them live").click()
        page.locator("#live-cameras li").wait_for()
        assert page.evaluate("() => document.querySelector('#live-cameras video').videoHeight") == size[1]
        page.get_by_role("button", name="Start").click()
        page.wait_for_function("() => window.viewer?.take.length >= 20", timeout=_SECONDS)
        assert _is_drawn(page, ".scene canvas", red=True)  # one camera alone knows no distance
        assert _is_drawn(page, ".tile canvas", red=True)
        page.get_by_role("button", name="Stop").click()
        page.locator("#download").wait_for(timeout=_SECONDS)
        assert "1 person" in page.locator("#status").inner_text()
        frames, moved = page.evaluate(
            """() => {
                const { take } = viewer, track = take.tracks[0], J = track.jointCount;
                const wrist = take.skeleton.joints.indexOf("right_wrist"), seen = [];
                for (let f = 0; f < take.length; f++)
                    if (track.has(f)) seen.push([0, 1, 2].map((axis) => track.joints[(f * J + wrist) * 3 + axis]));
                const range = (axis) => Math.max(...seen.map((p) => p[axis])) - Math.min(...seen.map((p) => p[axis]));
                return [seen.length / take.length, Math.hypot(range(0), range(1), range(2))];
            }"""
        )
    assert frames > 0.8
    assert 0.2 < moved < 5  # metres through which his wrist goes


def test_a_server_with_keys_is_asked_with_one(browser: Browser, tmp_path: Path) -> None:
    """The page itself needs no key; it asks for one, says that a wrong one is wrong, and works with the right one."""
    keys = tmp_path / "keys.json"
    added = subprocess.run(
        [sys.executable, "-c", _COMMAND, "keys", "add", "lab", "--file", str(keys)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    secret = next(word for word in added.stdout.split() if word.startswith("sp_"))
    with _serving("--keys", str(keys)) as address:
        page = browser.new_context().new_page()
        page.goto(address)
        page.get_by_label("API key").fill("sp_wrong")
        page.get_by_role("button", name="Go on").click()
        page.locator("#key-error:not(:empty)").wait_for()
        page.get_by_label("API key").fill(secret)
        page.get_by_role("button", name="Go on").click()
        page.locator("#example-card").wait_for()
        page.locator("#picker").set_input_files(EXAMPLE / "Calib.qca.txt")
        page.get_by_text("4 cameras: cam01").wait_for()
        page.context.close()


def test_every_control_has_a_name_and_the_keyboard_reaches_it(page: Page) -> None:
    """A screen reader says what each control is; Tab goes from the first to the drop zone's button."""
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, select, input:not([hidden])")].filter(
            (e) => !(e.getAttribute("aria-label") || e.textContent.trim() || e.labels?.length)
        ).map((e) => e.outerHTML)"""
    )
    assert nameless == []
    for _ in range(6):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.id") == "browse":
            return
    raise AssertionError("Tab does not reach the button that chooses files")


def answer(frames: int) -> PoseSequence:
    """Somebody who wanders along."""
    rng = np.random.default_rng(1)
    shape = rng.normal(0, 0.4, (17, 3))
    people = [
        Person(0, 0.9, (shape + (0.01 * i, 0, 1)).round(6), np.full(17, 0.02), ("cam01", "cam02"))
        for i in range(frames)
    ]
    header = PoseHeader(ModelInfo("fake", "1"), COCO17, 30.0)
    return PoseSequence(header, tuple(Frame(i, i / 30, (p,)) for i, p in enumerate(people)))


def _is_drawn(page: Page, selector: str, red: bool = False) -> bool:
    """Whether the picture of an element holds the colours of a skeleton that is known well, or of one that is not."""
    with av.open(io.BytesIO(page.locator(selector).first.screenshot())) as picture:
        rgb = next(picture.decode(video=0)).to_ndarray(format="rgb24").astype(int)
    r, g, b = np.moveaxis(rgb, -1, 0)
    vivid = (r - g > 90) & (r - b > 60) if red else (rgb.max(-1) - rgb.min(-1) > 90) & (g > 120)
    return bool(vivid.sum() > 60)
