"""The renderer: BVH in, cameras that agree with their pictures, the same clip for the same seed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from synpose.errors import InvalidInput
from synpose.rig import Camera
from synpose_model.render.bvh import read_bvh
from synpose_model.render.lens import Lens
from synpose_model.render.rigs import random_rig

if TYPE_CHECKING:
    from synpose_model.render.stage import Stage

TINY = """HIERARCHY
ROOT hip
{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Yrotation Xrotation
  JOINT knee
  {
    OFFSET 0 -2 0
    CHANNELS 3 Zrotation Xrotation Yrotation
    End Site
    {
      OFFSET 0 0 3
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.05
0 0 0 0 0 0 0 0 0
1 5 2 90 0 0 0 90 0
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.bvh"
    path.write_text(TINY)
    return path


def test_bvh_rest_frame_is_the_offsets(tiny: Path) -> None:
    """A frame of zeros gives the rest pose, end site included."""
    motion = read_bvh(tiny)
    _, positions = motion.pose(slice(0, 1))
    assert motion.joints == ("hip", "knee", "knee.end")
    np.testing.assert_allclose(positions[0], [[0, 0, 0], [0, -2, 0], [0, -2, 3]])
    np.testing.assert_allclose(motion.rest(), positions[0])


def test_bvh_rotations_compose_down_the_chain(tiny: Path) -> None:
    """The root's turn about z takes the thigh to +x; the knee's turn about its own x then takes the shin to +x."""
    rotations, positions = read_bvh(tiny).pose([1])
    # hip: Rz(90) takes (0, −2, 0) to (2, 0, 0). knee: Rz(90) Rx(90) takes z first to −y, then to +x
    np.testing.assert_allclose(positions[0], [[1, 5, 2], [3, 5, 2], [6, 5, 2]], atol=1e-12)
    np.testing.assert_allclose(rotations[0, 1] @ (0, 0, 1), (1, 0, 0), atol=1e-12)


@pytest.mark.parametrize("wrong", ["", "HIERARCHY\n", TINY.replace("Frames: 2", "Frames: 3"), TINY.replace("90", "x")])
def test_bvh_that_is_none_is_refused(tmp_path: Path, wrong: str) -> None:
    """An empty, torn or garbled file raises `InvalidInput` that names it."""
    path = tmp_path / "wrong.bvh"
    path.write_text(wrong)
    with pytest.raises(InvalidInput, match=r"wrong\.bvh"):
        read_bvh(path)


def test_lens_puts_a_dot_where_the_camera_projects_it() -> None:
    """A dot drawn by the ideal camera lands, once bent, within 0.05 px of the distorted camera's own projection."""
    camera = _camera((-0.25, 0.05, 0.002, -0.001, 0.0))
    lens = Lens(camera)
    assert lens.usable
    for point in ((0.0, 0.0, 4.0), (-2.0, -1.5, 4.0), (2.1, 1.6, 4.0), (1.0, -1.4, 3.5)):
        image = _blob(lens.ideal.size, lens.ideal.project(point))
        np.testing.assert_allclose(_centroid(lens.bend(image)), camera.project(point), atol=0.05)


def test_lens_without_an_inverse_is_not_usable() -> None:
    """A lens that folds the image's corners over is refused, not drawn wrongly."""
    assert not Lens(_camera((-0.9, 0.0, 0.0, 0.0, 0.0))).usable


def test_rig_sees_the_person_and_is_the_seed_s() -> None:
    """Every camera has nine joints in ten in its image, and the same seed gives the same rig."""
    joints = np.random.default_rng(0).uniform((-1, -1, 0), (1, 1, 1.8), (20, 17, 3))
    rig, again = (random_rig(np.random.default_rng(3), 6, joints, 1.8) for _ in range(2))
    for lens, other in zip(rig, again, strict=True):
        pixels = lens.camera.project(joints)
        assert ((pixels >= 0) & (pixels <= (639, 479))).all(-1).mean() > 0.9
        np.testing.assert_array_equal(lens.camera.K, other.camera.K)
        np.testing.assert_array_equal(lens.camera.t, other.camera.t)


def test_stage_draws_a_marker_where_the_camera_projects_it() -> None:
    """A small box stands in the picture of a rolled camera within 0.6 px of where its centre projects."""
    pytest.importorskip("moderngl", reason="moderngl is not installed: the drawing itself goes untested")
    pytest.importorskip("OpenEXR", reason="OpenEXR is not installed: the drawing itself goes untested")
    pytest.importorskip("anny", reason="anny is not installed: the drawing itself goes untested")
    from synpose_model.render.clothing import Outfit
    from synpose_model.render.environment import plain_environment
    from synpose_model.render.scene import Box, Material, Scene

    marker = np.array((0.4, 0.3, 1.2))
    black, white = Material(0, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 1.0), Material(0, (1.0,) * 3, (1.0,) * 3, 1.0)
    box = Box(marker, np.full(3, 0.03), 0.3, white, np.zeros(3))
    room = Box(np.array((0.0, 0.0, 5.0)), np.full(3, 9.0), 0.0, black, np.zeros(3))
    scene = Scene(np.zeros(3), (room, box), black, 100.0, np.array((0.6, 0.0, 0.8)), 0.0, 1.0)
    nobody = np.full((3, 3), 500.0)  # a triangle out of sight
    camera = _camera(())
    with _stage() as stage:
        stage.enter(scene, plain_environment(np.random.default_rng(0)))
        flat = np.zeros((3, 3), np.float32)
        stage.dress([Outfit(nobody, nobody, flat, flat, np.zeros(3, np.float32))], np.array([[0, 1, 2]], np.int32))
        stage.pose([(nobody.astype(np.float32), flat)], 0.0)
        image = stage.draw(camera)
        behind = camera.center + 1.3 * (marker - camera.center)
        hidden = stage.hidden(camera, np.stack((marker, behind, marker + np.array((0, 0, 0.3)))), np.full(3, 0.1))
    assert image.shape == (480, 640, 3)
    np.testing.assert_allclose(_centroid(image), camera.project(marker), atol=0.6)
    np.testing.assert_array_equal(hidden, (False, True, False))


def test_clip_is_the_seed_s(tmp_path: Path) -> None:
    """The same seed gives the same truth and the same pixels; the next clip is another; feet keep to the floor."""
    pytest.importorskip("anny", reason="anny is not installed: bodies go untested")
    pytest.importorskip("moderngl", reason="moderngl is not installed: the drawing itself goes untested")
    pytest.importorskip("OpenEXR", reason="OpenEXR is not installed: the drawing itself goes untested")
    from synpose_model.render.body import BodyModel
    from synpose_model.render.clip import random_clip

    motion = tmp_path / "standing.bvh"
    motion.write_text(_standing(90))
    model = BodyModel()
    first, again, other = (random_clip(model, [motion], [], 5, index) for index in (0, 0, 1))
    np.testing.assert_array_equal(first.joints, again.joints)
    assert len(first.rig) == 2
    assert len(other.rig) == 3
    assert not np.array_equal(first.joints[0], other.joints[0])
    ankles = first.joints[:, 15:17, 2]
    assert ankles.min() > 0.02
    assert ankles.max() < 0.2
    assert (first.joints[:, 0, 2] > first.joints[:, 5:7, 2].max(1)).all()  # the nose is above the shoulders
    with _stage() as stage:
        images, same = ([view.image for view in next(clip.frames(stage))] for clip in (first, again))
    for image, twin in zip(images, same, strict=True):
        assert image.std() > 5
        np.testing.assert_array_equal(image, twin)


def test_a_crowd_keeps_its_distance_and_its_truth(tmp_path: Path) -> None:
    """Two people come near each other, never into each other; the file holds both, and both are in the picture."""
    pytest.importorskip("anny", reason="anny is not installed: bodies go untested")
    pytest.importorskip("moderngl", reason="moderngl is not installed: the drawing itself goes untested")
    pytest.importorskip("OpenEXR", reason="OpenEXR is not installed: the drawing itself goes untested")
    from dataclasses import replace

    from synpose_model.render.body import BodyModel
    from synpose_model.render.clips import write_clip
    from synpose_model.render.crowd import random_crowd
    from synpose_server.rendered_clip import RenderedClip

    motion = tmp_path / "gliding.bvh"
    motion.write_text(_standing(90, step=2.0))
    crowd = random_crowd(BodyModel(), [motion], [], 5, 0, 2)
    gap = np.linalg.norm((crowd.people[0].joints - crowd.people[1].joints).mean(1)[:, :2], axis=-1)
    assert 0.5 < gap.min() < 1.0
    short = replace(
        crowd,
        people=tuple(replace(p, transforms=p.transforms[:2], joints=p.joints[:2]) for p in crowd.people),
        lenses=crowd.lenses[:2],
    )
    with _stage() as stage:
        write_clip(short, stage, tmp_path / "both")
        alone = replace(short, people=short.people[:1])
        both, one = (next(clip.frames(stage))[0].image.astype(int) for clip in (short, alone))
    clip = RenderedClip.read(tmp_path / "both")
    np.testing.assert_allclose(clip.people, [person.joints for person in short.people])
    assert (np.abs(both - one).max(-1) > 20).sum() > 500


def test_stills_of_a_crowd_show_who_is_near(tmp_path: Path) -> None:
    """Frames in which someone is near are drawn, the first person labelled; what is there is not drawn again."""
    pytest.importorskip("anny", reason="anny is not installed: bodies go untested")
    pytest.importorskip("moderngl", reason="moderngl is not installed: the drawing itself goes untested")
    pytest.importorskip("OpenEXR", reason="OpenEXR is not installed: the drawing itself goes untested")
    from synpose_model.data.draw import draw
    from synpose_model.data.rendered import read_clips
    from synpose_model.render.body import BodyModel
    from synpose_model.render.crowd import random_crowd

    motions, out = tmp_path / "02", tmp_path / "stills"
    motions.mkdir()
    (motions / "02_01.bvh").write_text(_standing(90, step=2.0))

    def stills() -> None:
        draw(tmp_path, out, split="train", count=1, seed=5, variants=("lightning",), frames=2, crowds=1.0)

    stills()
    (clip,) = read_clips(out)
    chance = np.random.default_rng((5, 0, 2))
    chance.random()
    crowd = random_crowd(BodyModel(), [motions / "02_01.bvh"], [], 5, 0, int(chance.integers(2, 5)))
    gaps = np.min([np.linalg.norm((crowd.joints - o.joints).mean(1), axis=-1) for o in crowd.people[1:]], axis=0)
    drawn = [int(np.abs(crowd.joints - joints).max((1, 2)).argmin()) for joints in clip.joints]
    np.testing.assert_allclose(crowd.joints[drawn], clip.joints, atol=1e-6)
    assert (gaps[drawn] <= np.median(gaps)).all()
    written = (out / clip.folder.name / "labels.npz").stat().st_mtime_ns
    stills()
    assert (out / clip.folder.name / "labels.npz").stat().st_mtime_ns == written


def _stage() -> Stage:
    from synpose_model.render.stage import Stage

    try:
        return Stage()
    except Exception as error:  # glcontext raises a bare Exception where there is no EGL
        pytest.skip(f"no EGL driver ({error}): the drawing itself goes untested")


def _camera(distortion: tuple[float, ...]) -> Camera:
    """Without distortion 3 m off, 1 m up, rolled by 8°; with distortion at the origin, looking along the world's z."""
    cosine, sine = np.cos(0.14), np.sin(0.14)
    K = ((520, 0, 316), (0, 523, 244), (0, 0, 1))
    if not distortion:
        R = np.array(((cosine, 0, -sine), (-sine, 0, -cosine), (0, 1, 0)))
        return Camera("cam", (640, 480), K, R, -R @ (0.0, -3.0, 1.0))
    return Camera("cam", (640, 480), K, np.eye(3), np.zeros(3), distortion)


def _blob(size: tuple[int, int], at: NDArray[Any]) -> NDArray[Any]:
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    return np.repeat((255 * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / 18)).astype(np.uint8)[..., None], 3, -1)


def _centroid(image: NDArray[Any]) -> NDArray[Any]:
    weight = image[..., 0].astype(float) * (image[..., 0] > 40)
    rows, columns = np.indices(weight.shape)
    return np.array(((weight * columns).sum() / weight.sum(), (weight * rows).sum() / weight.sum()))


def _standing(frames: int, step: float = 0.0) -> str:
    """A person who stands in the rest pose of the CMU conversion's skeleton, arms out, and turns a little.

    They glide by `step` (centimetres) a frame.
    """
    tree = {
        "hip": (("abdomen", 0, 20, 0), ("lThigh", 9, 3, 0), ("rThigh", -9, 3, 0)),
        "abdomen": (("chest", 0, 12, 0),),
        "chest": (("neck", 0, 22, 0), ("lCollar", 3, 19, 0), ("rCollar", -3, 19, 0)),
        "neck": (("head", 0, 7, 0),),
    }
    for side, x in (("l", 1), ("r", -1)):
        tree |= {
            f"{side}Collar": ((f"{side}Shldr", 9 * x, -2, 0),),
            f"{side}Shldr": ((f"{side}ForeArm", 28 * x, -1, 0),),
            f"{side}ForeArm": ((f"{side}Hand", 23 * x, 0, 7),),
            f"{side}Hand": (
                (f"{side}Index1", 8 * x, 1, 5),
                (f"{side}Mid1", 8 * x, 1, 3),
                (f"{side}Pinky1", 8 * x, 0, -1),
            ),
            f"{side}Thigh": ((f"{side}Shin", 0, -40, 1),),
            f"{side}Shin": ((f"{side}Foot", 0, -42, -3),),
        }
    joints = 0

    def write(name: str, offset: tuple[float, ...], kind: str) -> str:
        nonlocal joints
        joints += 1
        inner = "".join(write(child, rest, "JOINT") for child, *rest in tree.get(name, ()))  # type: ignore[arg-type]
        tip = "End Site\n{\nOFFSET 0 -4 12\n}\n" if name not in tree else ""
        place = " ".join(map(str, offset))
        channels = ("6 Xposition Yposition Zposition" if kind == "ROOT" else "3") + " Zrotation Xrotation Yrotation"
        return f"{kind} {name}\n{{\nOFFSET {place}\nCHANNELS {channels}\n{inner}{tip}}}\n"

    head = write("hip", (0, 0, 0), "ROOT")
    rows = "\n".join(
        " ".join([f"{3 + step * frame:g} 90 7", f"0 0 {frame / 3}", *["0 0 0"] * (joints - 1)])
        for frame in range(frames)
    )
    return f"HIERARCHY\n{head}MOTION\nFrames: {frames}\nFrame Time: 0.0333333\n{rows}\n"
