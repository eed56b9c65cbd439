"""Readers: every codec and folder that is promised, and a clear error for what is none."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from synpose.errors import LimitExceeded, SynposeError, VideoError
from synpose_server.decode import open_source, read_image

LIMIT = 40_000_000


def video(codec: str, container: str, frames: int = 12, size: tuple[int, int] = (96, 64), gop: int = 12) -> bytes:
    """A clip whose frames are grey levels 40, 50, 60, …"""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=Fraction(30000, 1001))
        stream.width, stream.height = size
        stream.gop_size = gop
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for k in range(frames):
            picture = np.full((size[1], size[0], 3), 40 + 10 * (k % 20), np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode())
    return file.getvalue()


def brightness(source: io.BytesIO | Path | list[Path]) -> list[float]:
    reader = open_source("cam", source, LIMIT)
    try:
        identity = np.array(((1.0, 0, 0), (0, 1.0, 0)))
        return [float(image.crop(identity, (96, 64)).mean()) for image in reader if image is not None]
    finally:
        reader.close()


@pytest.mark.parametrize(
    ("codec", "container"),
    [("libx264", "mp4"), ("libx264", "matroska"), ("libx265", "mp4"), ("libvpx-vp9", "webm"), ("mjpeg", "avi")],
)
def test_codecs(codec: str, container: str, tmp_path: Path) -> None:
    """Every frame of H.264, HEVC, VP9 and MJPEG comes, in order, from memory and from a file."""
    content = video(codec, container)
    expected = [40 + 10 * k for k in range(12)]
    assert brightness(io.BytesIO(content)) == pytest.approx(expected, abs=4)
    (tmp_path / "clip").write_bytes(content)
    assert brightness(tmp_path / "clip") == pytest.approx(expected, abs=4)


def test_what_a_video_says_of_itself() -> None:
    """Size, frame rate and number of frames are known before decoding."""
    reader = open_source("cam", io.BytesIO(video("libx264", "mp4")), LIMIT)
    assert reader.size == (96, 64)
    assert reader.fps == pytest.approx(29.97, abs=0.01)
    assert reader.count == 12
    reader.close()


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_image_files(suffix: str, tmp_path: Path) -> None:
    """A list of image files is read in its order."""
    files = [tmp_path / f"frame{k}{suffix}" for k in range(12)]
    for k, file in enumerate(files):
        cv2.imwrite(str(file), np.full((64, 96, 3), 40 + 10 * k, np.uint8))
    assert brightness(files) == pytest.approx([40 + 10 * k for k in range(12)], abs=2)


def test_unwanted_images_are_passed_over(tmp_path: Path) -> None:
    """Of images those are not read; of videos none is converted, and the others keep their places."""
    (tmp_path / "first.png").write_bytes(bytes(cv2.imencode(".png", np.zeros((64, 96, 3), np.uint8))[1]))
    wanted = [tmp_path / "first.png", tmp_path / "gone.png", tmp_path / "first.png"]
    images = open_source("cam", wanted, LIMIT)
    images.skip = 2
    assert [image is None for image in images] == [False, True, False]  # the first tells the size
    reader = open_source("cam", io.BytesIO(video("libx264", "mp4")), LIMIT)
    reader.skip = 5
    found = list(reader)
    assert [image is None for image in found] == [True] * 5 + [False] * 7
    assert found[5] is not None
    assert found[5].crop(np.eye(2, 3), (96, 64)).mean() == pytest.approx(90, abs=4)
    reader.close()


def test_missing_images_stay_missing() -> None:
    """None in a list of images is one missing image, in its place."""
    jpeg = cv2.imencode(".jpg", np.full((64, 96, 3), 90, np.uint8))[1].tobytes()
    images = list(open_source("cam", [None, jpeg, None], LIMIT))
    assert [image is None for image in images] == [True, False, True]


def test_truncated_video_gives_what_it_has() -> None:
    """A stream cut in the middle gives its readable frames and says so; one cut before its index gives an error."""
    cut = video("libx264", "matroska", frames=60)
    reader = open_source("cam", io.BytesIO(cut[: len(cut) * 2 // 3]), LIMIT)
    count = sum(image is not None for image in reader)
    reader.close()
    assert 0 < count < 60
    assert reader.problem is not None
    assert "seconds" in reader.problem
    with pytest.raises(VideoError, match="not a video"):
        open_source("cam", io.BytesIO(video("libx264", "mp4")[:600]), LIMIT)


def test_broken_start_keeps_its_place() -> None:
    """A first frame that cannot be decoded is a missing image, so that the others stay paired with other cameras."""
    content = bytearray(video("mjpeg", "avi", frames=3))
    first = content.index(b"\xff\xd8")
    content[first : first + 600] = bytes(600)
    reader = open_source("cam", io.BytesIO(content), LIMIT)
    assert [image is None for image in reader] == [True, False, False]
    reader.close()


def rewritten(content: bytes, container: str, keep: Callable[[int], bool], shift: float = 0.0) -> bytes:
    """The same packets without those that `keep` refuses, `shift` seconds later."""
    file = io.BytesIO()
    with av.open(io.BytesIO(content)) as source, av.open(file, "w", format=container) as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for k, packet in enumerate(source.demux(video=0)):
            if packet.dts is not None and packet.pts is not None and packet.time_base and keep(k):
                packet.pts += round(shift / packet.time_base)
                packet.dts += round(shift / packet.time_base)
                packet.stream = stream
                out.mux(packet)
    return file.getvalue()


def levels(content: bytes) -> list[int | None]:
    """What number each image of a `video` is, by its grey level; None where it is missing."""
    reader = open_source("cam", io.BytesIO(content), LIMIT)
    identity = np.array(((1.0, 0, 0), (0, 1.0, 0)))
    numbers = [
        None if image is None else round((float(image.crop(identity, (96, 64)).mean()) - 40) / 10) for image in reader
    ]
    reader.close()
    return numbers


@pytest.mark.parametrize(
    ("codec", "container", "shift"),
    [("mjpeg", "matroska", 0.0), ("mjpeg", "mov", 0.0), ("mjpeg", "avi", 0.0), ("mjpeg", "matroska", 3.0)],
)
def test_dropped_frames_are_holes(codec: str, container: str, shift: float) -> None:
    """Frames that a camera dropped are missing images, and pull no later frame forward, wherever the clock starts."""
    content = rewritten(video(codec, container), container, lambda k: k not in (3, 6, 7), shift)
    expected = [None if k in (3, 6, 7) else k for k in range(12)]
    found = levels(content)
    assert found == expected
    reader = open_source("cam", io.BytesIO(content), LIMIT)
    assert reader.fps == pytest.approx(29.97, rel=2e-3)
    assert reader.problem is None
    reader.close()


@pytest.mark.parametrize("broken", [2, 19])
@pytest.mark.parametrize(
    ("codec", "container"), [("libx264", "mp4"), ("libx264", "matroska"), ("libx265", "mp4"), ("mjpeg", "avi")]
)
def test_damage_shifts_nothing(codec: str, container: str, broken: int) -> None:
    """Whatever a damaged packet loses, the frames before it and after the next key frame are in their places."""
    content = bytearray(video(codec, container, frames=20, gop=10))
    with av.open(io.BytesIO(content)) as source:
        packets = [(packet.pos, packet.size) for packet in source.demux(video=0)]
    at, size = packets[broken]
    assert at is not None
    content[at + 4 : at + size] = bytes(size - 4)
    found = levels(bytes(content))
    assert len(found) == 20
    assert None in found
    assert found[:2] == [0, 1]
    if broken == 2:
        assert found[11:] == list(range(11, 20))


@pytest.mark.parametrize("container", ["h264", "avi"])
def test_made_up_time_stamps_are_not_used(container: str) -> None:
    """Every frame comes where time stamps are none: in a bare stream, and for reordered frames in AVI."""
    content = video("libx264", "mp4")
    if container == "avi":
        content = video("libx264", "avi")
    else:
        with av.open(io.BytesIO(content)) as source:
            annexb = av.BitStreamFilterContext("h264_mp4toannexb", source.streams.video[0])
            packets = [out for packet in source.demux(video=0) for out in annexb.filter(packet)]
            content = b"".join(bytes(packet) for packet in packets)
    assert levels(content) == list(range(12))


def test_edit_lists_hide_frames() -> None:
    """A lossless cut hides frames before its start: they are neither shown nor missing."""
    content = rewritten(video("libx264", "mp4", frames=20, gop=10), "mp4", lambda k: True, -0.2)
    assert levels(content) == list(range(6, 20))
    reader = open_source("cam", io.BytesIO(content), LIMIT)
    assert reader.count == 14
    reader.close()


def test_frames_painted_over_are_missing() -> None:
    """A frame that FFmpeg marks as corrupt is a missing image, in its place, and the video counts as damaged."""
    content = bytearray(video("mpeg4", "avi"))
    with av.open(io.BytesIO(content)) as source:
        packets = [(packet.pos, packet.size) for packet in source.demux(video=0)]
    at, size = packets[2]
    assert at is not None
    for k in range(at + size // 2, at + size // 2 + 8):
        content[k] ^= 0x5A
    reader = open_source("cam", io.BytesIO(content), LIMIT)
    assert [k for k, image in enumerate(reader) if image is None] == [2]
    assert reader.problem == "frames that are partly unreadable"
    reader.close()


@pytest.mark.parametrize("codec", ["ffv1", "rawvideo"])
def test_codecs_that_no_camera_writes(codec: str) -> None:
    """Codecs outside the list are refused by name."""
    with pytest.raises(VideoError, match=f"the codec {codec} is not supported"):
        open_source("cam", io.BytesIO(video(codec, "matroska")), LIMIT)


def test_colons_in_file_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that looks like an address is a file all the same."""
    monkeypatch.chdir(tmp_path)
    Path("a:cam01.mp4").write_bytes(video("libx264", "mp4"))
    assert len(brightness(Path("a:cam01.mp4"))) == 12


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/hostname\n#EXT-X-ENDLIST\n"
CONCAT = b"ffconcat version 1.0\nfile /etc/hostname\n"


@pytest.mark.parametrize("content", [b"", b"hello" * 500, PLAYLIST, CONCAT, b"\x00" * 4096, video("libx264", "mp4", 0)])
def test_what_is_no_video(content: bytes) -> None:
    """Anything else is a VideoError that names the camera, playlists that point elsewhere among them."""
    with pytest.raises(VideoError) as caught:
        open_source("cam7", io.BytesIO(content), LIMIT)
    assert caught.value.camera == "cam7"


def test_no_such_file(tmp_path: Path) -> None:
    """A path that is not there says so."""
    with pytest.raises(VideoError, match="no such file"):
        open_source("cam", tmp_path / "nothing.mp4", LIMIT)


def giant_png() -> bytes:
    """The header of a 20,000×20,000 PNG."""
    return (
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + (20000).to_bytes(4, "big") * 2 + b"\x08\x02\x00\x00\x00" + b"\x00" * 64
    )


def giant_jpeg() -> bytes:
    """A small JPEG whose header claims 20,000×20,000 pixels."""
    small = cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))[1].tobytes()
    at = small.index(b"\xff\xc0")
    return small[: at + 5] + (20000).to_bytes(2, "big") * 2 + small[at + 9 :]


@pytest.mark.parametrize("content", [giant_png(), giant_jpeg()])
def test_giant_images_are_refused_by_their_header(content: bytes) -> None:
    """A 20,000×20,000 image is refused before a pixel is allocated."""
    with pytest.raises(LimitExceeded, match="20000×20000"):
        open_source("cam", [content], LIMIT)


def png_chunk(kind: bytes, data: bytes, length: int | None = None) -> bytes:
    head = (len(data) if length is None else length).to_bytes(4, "big")
    return head + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def with_giant_chunk() -> bytes:
    """A small PNG whose pixels claim to be 4 GB of bytes, which OpenCV would allocate."""
    png = cv2.imencode(".png", np.zeros((16, 16, 3), np.uint8))[1].tobytes()
    return png[:33] + b"\xff\xff\xff\xff" + png[37:]


def with_second_header() -> bytes:
    """A small PNG with the header of a giant one behind its own."""
    png = cv2.imencode(".png", np.zeros((16, 16, 3), np.uint8))[1].tobytes()
    return png[:33] + giant_png()[8:29] + zlib.crc32(giant_png()[12:29]).to_bytes(4, "big") + png[33:]


def with_many_chunks() -> bytes:
    """A small PNG of a million chunks."""
    png = cv2.imencode(".png", np.zeros((16, 16, 3), np.uint8))[1].tobytes()
    return png[:33] + png_chunk(b"tEXt", b"") * 1_000_000 + png[33:]


@pytest.mark.parametrize("make", [with_giant_chunk, with_second_header, with_many_chunks])
def test_png_files_that_claim_too_much_reach_no_decoder(
    make: Callable[[], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a chunk says of itself is checked before anybody allocates it."""
    monkeypatch.setattr(cv2, "imdecode", None)
    assert read_image("cam", make(), LIMIT) is None


def test_png_files_are_their_pixels() -> None:
    """Whatever else lies in the file is passed over: texts, profiles, animations."""
    image = np.random.default_rng(0).integers(0, 255, (16, 24, 3)).astype(np.uint8)
    png = cv2.imencode(".png", image)[1].tobytes()
    animation = png_chunk(b"acTL", (2).to_bytes(4, "big") + bytes(4))
    for content in (png, png[:33] + png_chunk(b"tEXt", b"a\0b") + animation + png[33:], png + b"more"):
        read = read_image("cam", content, LIMIT)
        assert read is not None
        np.testing.assert_array_equal(read.planes[0], image[..., ::-1])


def test_giant_videos_are_refused() -> None:
    """A video above the limit is refused, and FFmpeg never gets to allocate its frames."""
    with pytest.raises(SynposeError) as caught:
        open_source("cam", io.BytesIO(video("libx264", "mp4", size=(640, 480))), 100_000)
    assert caught.value.camera == "cam"


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff\xe0junk", b"\x89PNG\r\n\x1a\n" + b"\x00" * 64, b"GIF89a"])
def test_broken_images(content: bytes) -> None:
    """An image that is none is a VideoError, at the header or at the pixels."""
    with pytest.raises(VideoError):
        list(open_source("cam", [content], LIMIT))


@pytest.mark.parametrize(("degrees", "size"), [(90, (64, 96)), (-90, (64, 96)), (180, (96, 64))])
def test_phones_videos_come_upright(degrees: int, size: tuple[int, int], tmp_path: Path) -> None:
    """A video that notes a rotation is turned as OpenCV turns it, which calibration tools read it with."""
    path = tmp_path / "phone.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.set_display_rotation(degrees)
        picture = np.zeros((64, 96, 3), np.uint8)
        picture[:32, :48] = 255
        out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode())
    reader = open_source("cam", path, LIMIT)
    (image,) = reader
    reader.close()
    assert reader.size == size
    assert image is not None
    ours = image.crop(np.array(((1.0, 0, 0), (0, 1.0, 0))), size)
    _, theirs = cv2.VideoCapture(str(path)).read()
    assert np.abs(ours[..., ::-1].astype(int) - theirs).max() <= 2


def jpeg(level: int, size: tuple[int, int] = (96, 64)) -> bytes:
    """A JPEG of one grey level."""
    return cv2.imencode(".jpg", np.full((size[1], size[0], 3), level, np.uint8))[1].tobytes()


@pytest.mark.parametrize("broken", [0, 1, 2])
@pytest.mark.parametrize("content", [b"", b"no image", jpeg(90)[:60], giant_png()[:30] + b"\x00" * 4])
def test_one_broken_image_is_missing(broken: int, content: bytes) -> None:
    """One broken image among others is a missing one, in its place, and is told."""
    images: list[bytes | None] = [jpeg(90)] * 3
    images[broken] = content
    reader = open_source("cam", images, 10**9)
    assert [k for k, image in enumerate(reader) if image is None] == [broken]
    assert reader.problem is not None


def test_images_of_another_size_or_giants_are_no_missing_ones() -> None:
    """A wrong size is an error wherever it comes, and a giant image a limit."""
    with pytest.raises(VideoError, match="different sizes"):
        list(open_source("cam", [jpeg(90), jpeg(90, (64, 96))], LIMIT))
    with pytest.raises(LimitExceeded, match="20000×20000"):
        list(open_source("cam", [jpeg(90), giant_jpeg()], LIMIT))


def test_image_files_that_cannot_be_opened(tmp_path: Path) -> None:
    """A path that is no file is a VideoError that names camera and path."""
    (tmp_path / "good.jpg").write_bytes(jpeg(90))
    with pytest.raises(VideoError, match=r"gone\.jpg") as caught:
        list(open_source("cam7", [tmp_path / "good.jpg", tmp_path / "gone.jpg"], LIMIT))
    assert caught.value.camera == "cam7"


def test_scan_bombs_are_refused() -> None:
    """A progressive JPEG of thousands of scans is refused, one as encoders write them is read."""
    progressive = cv2.imencode(".jpg", np.full((64, 96, 3), 90, np.uint8), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[
        1
    ].tobytes()
    assert len(list(open_source("cam", [progressive], LIMIT))) == 1
    scan = progressive[progressive.rindex(b"\xff\xda") : -2]
    with pytest.raises(LimitExceeded, match="scans"):
        open_source("cam", [progressive[:-2] + scan * 5000 + b"\xff\xd9"], LIMIT)


def test_orientation_of_still_images_is_ignored() -> None:
    """EXIF's "turn by 90°" turns neither a PNG nor a JPEG."""
    exif = b"MM\x00\x2a\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00"
    png = cv2.imencode(".png", np.full((64, 96, 3), 90, np.uint8))[1].tobytes()
    chunk = len(exif).to_bytes(4, "big") + b"eXIf" + exif + zlib.crc32(b"eXIf" + exif).to_bytes(4, "big")
    turned_png = png[:33] + chunk + png[33:]
    plain = jpeg(90)
    turned_jpeg = plain[:2] + b"\xff\xe1" + (len(exif) + 8).to_bytes(2, "big") + b"Exif\x00\x00" + exif + plain[2:]
    for content in (turned_png, turned_jpeg):
        turned = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        assert turned is not None
        assert turned.shape[:2] == (96, 64)
        assert open_source("cam", [content], LIMIT).size == (96, 64)
