"""Files for other programs, opened by readers that know nothing of Synpose, joint by joint."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from synpose.armature import fit_armature
from synpose.errors import NotFound, OptionsError
from synpose.formats import FORMATS, save
from synpose.formats.markers import marker_names
from synpose.formats.upright import UP_AXES, Up, to_y_up, up_axis
from synpose.pose import Frame, ModelInfo, Person, PoseHeader, PoseSequence
from synpose.skeleton import BODY27, COCO17, H36M17, HALPE26, SKELETONS, Skeleton

Array = NDArray[np.float64]

NEAR = 1e-4  # metres: what every file must hold
FRAMES, FPS = 24, 50.0
ABSENT = 20  # the frame without the first person

# standing, z up, facing y: left is −x
_STANDING = {
    "pelvis": (0, 0, 0.95), "spine": (0, 0, 1.2), "neck": (0, 0, 1.45), "nose": (0, 0.1, 1.6), "head": (0, 0, 1.75),
    "eye": (0.03, 0.08, 1.63), "ear": (0.07, 0, 1.61), "shoulder": (0.18, 0, 1.42), "elbow": (0.22, 0.02, 1.15),
    "wrist": (0.24, 0.15, 0.95), "hip": (0.1, 0, 0.93), "knee": (0.11, 0.04, 0.5), "ankle": (0.12, 0, 0.09),
    "big_toe": (0.1, 0.18, 0.03), "small_toe": (0.17, 0.15, 0.03), "heel": (0.12, -0.05, 0.03),
}  # fmt: skip


def standing(skeleton: Skeleton) -> Array:
    """Joints `(J, 3)` of a person who stands at the origin."""
    places = []
    for joint in skeleton.joints:
        side, _, rest = joint.partition("_")
        mirror = {"left": -1, "right": 1}.get(side)
        x, y, z = _STANDING[rest if mirror else joint]
        places.append((x * (mirror or 1), y, z))
    return np.array(places, dtype=np.float64)


def moving(skeleton: Skeleton, seed: int = 0, sway: float = 0.05) -> Array:
    """Joints `(T, J, 3)` of a person who walks along x and wobbles; every joint moves on its own."""
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 2 * np.pi, (1, len(skeleton), 3))
    times = np.arange(FRAMES)[:, None, None] / FPS
    return standing(skeleton) + sway * np.sin(9 * times + phase) + times * (0.8, 0.1, 0.0) + (0, seed, 0)


def sequence_of(*people: Array, skeleton: Skeleton) -> PoseSequence:
    """People `(T, J, 3)` with ids 3, 5, …; one without any joint in a frame is absent from it."""
    frames = []
    for t in range(FRAMES):
        seen = []
        for k, joints in enumerate(people):
            if np.isfinite(joints[t]).any():
                sigma = np.where(np.isfinite(joints[t]).all(-1), 0.02 + 0.001 * np.arange(len(skeleton)), np.nan)
                seen.append(Person(3 + 2 * k, 0.9, joints[t], sigma, ("cam01", "cam02")))
        frames.append(Frame(t, t / FPS, tuple(seen)))
    return PoseSequence(PoseHeader(ModelInfo("testing", "1"), skeleton, FPS), tuple(frames))


def with_gaps(joints: Array) -> Array:
    """The first joints have gaps, the last is never known, and in one frame nobody is there."""
    joints = joints.copy()
    joints[3:6, 0] = joints[0, 1] = joints[-1, 1] = joints[:, -1] = joints[ABSENT] = np.nan
    return joints


ONE = sequence_of(with_gaps(moving(HALPE26)), skeleton=HALPE26)
TWO = sequence_of(with_gaps(moving(HALPE26)), moving(HALPE26, seed=1), skeleton=HALPE26)


def written(name: str, sequence: PoseSequence, folder: Path, up: Up | None = None) -> Path:
    path = folder / f"pose{FORMATS[name].suffix}"
    path.write_bytes(FORMATS[name].write(sequence, up))
    return path


def assert_near(found: Array, expected: Array) -> None:
    """Gaps in the same places and everything else within a tenth of a millimetre."""
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_allclose(found, expected, rtol=0, atol=NEAR)


@pytest.mark.filterwarnings("ignore:No analog data found in file", "ignore:incomplete reading of data blocks")
@pytest.mark.parametrize("sequence", [ONE, TWO], ids=["one", "two"])
def test_c3d_opens_in_another_reader(sequence: PoseSequence, tmp_path: Path) -> None:
    """The c3d package finds points, names, unit, rate, axes, gaps as residual −1 and sigma as residual."""
    c3d = pytest.importorskip("c3d")
    with written("c3d", sequence, tmp_path).open("rb") as file:
        reader = c3d.Reader(file)
        frames = [points for _, points, _ in reader.read_frames(copy=True)]
        labels = [label.strip() for label in reader.point_labels]
        assert (reader.point_rate, reader.get("POINT:UNITS").string_value.strip()) == (FPS, "mm")
        assert reader.get("POINT:Y_SCREEN").string_value.strip() == "+Z"
    points = np.array(frames, dtype=np.float64)  # (T, M, 5)
    joints = np.concatenate([sequence.joints(person) for person in sequence.ids], axis=1)
    gaps = points[..., 3] < 0
    points[gaps, :3] = np.nan
    assert_near(points[..., :3] / 1000, joints)
    names = marker_names(HALPE26)
    assert labels == list(names if sequence is ONE else [f"p{i}:{name}" for i in (3, 5) for name in names])


def test_c3d_residuals_are_sigma(tmp_path: Path) -> None:
    """Residuals are sigma in whole millimetres, as its own readers see them, and −1 in a gap."""
    ezc3d = pytest.importorskip("ezc3d")
    found = ezc3d.c3d(str(written("c3d", ONE, tmp_path)))["data"]["meta_points"]["residuals"][0].T
    expected = np.where(np.isfinite(ONE.sigma()), ONE.sigma() * 1000, -1)
    np.testing.assert_allclose(found, expected, atol=1)
    assert (found[expected < 0] == -1).all()


def test_glb_keeps_times_of_day(tmp_path: Path) -> None:
    """Keys count from the first frame, whose own time is told beside them: float32 knows no seconds since 1970."""
    pygltflib = pytest.importorskip("pygltflib")
    late = 1.7e9 + 0.25
    frames = tuple(replace(frame, timestamp=frame.timestamp + late) for frame in ONE.frames)
    gltf, usual = (
        pygltflib.GLTF2().load(written("glb", sequence, tmp_path)) for sequence in (replace(ONE, frames=frames), ONE)
    )
    assert (gltf.asset.extras["start"], usual.asset.extras["start"]) == (late, 0)
    for sampler in gltf.animations[0].samplers:
        keys, expected = gltf.accessors[sampler.input], usual.accessors[sampler.input]
        assert (keys.min[0], keys.max[0]) == pytest.approx((expected.min[0], expected.max[0]), abs=1e-6)


@pytest.mark.parametrize("sequence", [ONE, TWO], ids=["one", "two"])
def test_glb_opens_in_another_reader(sequence: PoseSequence, tmp_path: Path) -> None:
    """pygltflib finds each joint's node where the joint is, hidden while it is unknown, and bones between joints."""
    pygltflib = pytest.importorskip("pygltflib")
    gltf = pygltflib.GLTF2().load(written("glb", sequence, tmp_path))
    blob = gltf.binary_blob()
    nodes = {node.name: k for k, node in enumerate(gltf.nodes)}

    def values(accessor: int) -> Array:
        about = gltf.accessors[accessor]
        start = gltf.bufferViews[about.bufferView].byteOffset
        width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}[about.type]
        return np.frombuffer(blob, "<f4", about.count * width, start).reshape(-1, width).astype(np.float64)

    def at_frames(name: str, path: str, rest: Any) -> Array:
        """What the animation gives a node at each frame's time."""
        for channel in gltf.animations[0].channels:
            if (channel.target.node, channel.target.path) == (nodes[name], path):
                sampler = gltf.animations[0].samplers[channel.sampler]
                keys, rows = values(sampler.input)[:, 0], values(sampler.output)
                times = np.arange(FRAMES) / FPS + 1e-5
                return rows[np.clip(np.searchsorted(keys, times) - 1, 0, None)]
        own = getattr(gltf.nodes[nodes[name]], path)
        return np.tile(np.array(rest if own is None else own, dtype=np.float64), (FRAMES, 1))

    def turned(quaternions: Array, vector: Array) -> Array:
        xyz, w = quaternions[:, :3], quaternions[:, 3:]
        return vector + 2 * np.cross(xyz, np.cross(xyz, vector) + w * vector)

    for person in sequence.ids:
        prefix = "" if sequence is ONE else f"p{person}:"
        joints = sequence.joints(person)[..., [0, 2, 1]] * (1, 1, -1)  # z up to y up
        for j, joint in enumerate(HALPE26.joints):
            places = at_frames(prefix + joint, "translation", (0, 0, 0))
            places[at_frames(prefix + joint, "scale", (1, 1, 1))[:, 0] == 0] = np.nan
            assert_near(places, joints[:, j])
        for a, b in HALPE26.bones:
            name = f"{prefix}{HALPE26.joints[a]} to {HALPE26.joints[b]}"
            scale = at_frames(name, "scale", (1, 1, 1))
            begin = at_frames(name, "translation", (0, 0, 0))
            end = begin + turned(at_frames(name, "rotation", (0, 0, 0, 1)), scale * (0.0, 1.0, 0.0))
            begin[scale[:, 1] == 0] = end[scale[:, 1] == 0] = np.nan
            both = np.asarray(np.isfinite(joints[:, [a, b]]).all((1, 2)))
            assert_near(begin, np.where(both[:, None], joints[:, a], np.nan))
            assert_near(end, np.where(both[:, None], joints[:, b], np.nan))
    assert [gltf.nodes[k].name for k in gltf.scenes[0].nodes] == [f"person {person}" for person in sequence.ids]
    assert {key: gltf.asset.extras[key] for key in ("units", "fps", "up", "world_up")} == {
        "units": "m", "fps": FPS, "up": "y", "world_up": "z",
    }  # fmt: skip


def bvh_positions(path: Path) -> tuple[dict[str, Array], float]:
    """Places `(T, 3)` of every joint by bvhio's reading and its chain of transforms, and the frame's time."""
    bvhio = pytest.importorskip("bvhio")
    frame_time = bvhio.readAsBvh(str(path)).FrameTime
    root = bvhio.readAsHierarchy(str(path))
    found: dict[str, list[list[float]]] = {}
    for t in range(FRAMES):
        root.loadPose(t)
        for joint, _, _ in root.layout():
            found.setdefault(joint.Name, []).append(list(joint.PositionWorld))
    return {name: np.array(rows) for name, rows in found.items()}, frame_time


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_bvh_opens_in_another_reader(skeleton: Skeleton, tmp_path: Path) -> None:
    """Positions that bvhio builds from the rotations are those of the armature, whose bones are constant."""
    sequence = sequence_of(moving(skeleton), skeleton=skeleton)
    found, frame_time = bvh_positions(written("bvh", sequence, tmp_path))
    armature = fit_armature(to_y_up(sequence.joints(), "z"), skeleton)
    assert set(found) == set(armature.joints) >= {"pelvis", "left_ankle", "neck", "right_wrist"}
    positions = armature.positions()
    for j, (name, parent) in enumerate(zip(armature.joints, armature.parents, strict=True)):
        assert_near(found[name], positions[:, j])
        if parent >= 0:
            lengths = np.linalg.norm(found[name] - found[armature.joints[parent]], axis=1)
            np.testing.assert_allclose(lengths, lengths[0], atol=NEAR)
    assert frame_time == pytest.approx(1 / FPS)


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_a_rigid_body_is_kept_exactly(skeleton: Skeleton, tmp_path: Path) -> None:
    """Joints that do keep their distances are not moved at all, however the body turns, in any file of rotations."""
    angles = np.linspace(0, 3 * np.pi, FRAMES)
    c, s, one, nil = np.cos(angles), np.sin(angles), np.ones(FRAMES), np.zeros(FRAMES)
    about_z = np.stack((c, -s, nil, s, c, nil, nil, nil, one), axis=1).reshape(-1, 3, 3)
    about_x = np.stack((one, nil, nil, nil, c, -s, nil, s, c), axis=1).reshape(-1, 3, 3)
    turning = np.einsum("tij,tjk,nk->tni", about_z, about_x, standing(skeleton))
    found, _ = bvh_positions(written("bvh", sequence_of(turning, skeleton=skeleton), tmp_path, up="z"))
    for joint, places in zip(skeleton.joints, to_y_up(turning, "z").swapaxes(0, 1), strict=True):
        assert_near(found[joint], places)


def test_one_wild_frame_does_not_change_bones() -> None:
    """Lengths are robust: an ankle that is off by a metre in one frame lengthens no bone."""
    joints = moving(COCO17, sway=0.002)
    wild = joints.copy()
    wild[7, COCO17.joints.index("left_ankle")] += 1.0
    lengths = [np.linalg.norm(fit_armature(clip, COCO17).offsets, axis=1) for clip in (joints, wild)]
    np.testing.assert_allclose(lengths[1], lengths[0], atol=0.002)


def test_bvh_bridges_gaps_on_a_straight_line(tmp_path: Path) -> None:
    """In a gap a joint goes the straight way, and one that is never known is left out."""
    joints = with_gaps(moving(HALPE26, sway=0.0))  # uniform motion, so the straight way is the true one
    found, _ = bvh_positions(written("bvh", sequence_of(joints, skeleton=HALPE26), tmp_path, up="z"))
    truth = to_y_up(moving(HALPE26, sway=0.0), "z")
    inside = slice(1, -1)  # at the clip's ends the unknown eye stays behind and turns the skull
    assert_near(found["nose"][inside], truth[inside, HALPE26.joints.index("nose")])
    assert HALPE26.joints[-1] not in found


def test_bvh_of_nobody(tmp_path: Path) -> None:
    """Without a person there is still a file of a root alone."""
    empty = sequence_of(skeleton=HALPE26)
    found, _ = bvh_positions(written("bvh", empty, tmp_path))
    assert set(found) == {"pelvis"}


@pytest.mark.parametrize("sequence", [ONE, TWO], ids=["one", "two"])
def test_parquet_opens_in_pandas(sequence: PoseSequence, tmp_path: Path) -> None:
    """pandas reads the columns of CSV, a row a frame and person, NaN where unknown."""
    pandas = pytest.importorskip("pandas")
    table = pandas.read_parquet(written("parquet", sequence, tmp_path))
    assert list(table.columns) == list(pandas.read_csv(written("csv", sequence, tmp_path)).columns)
    pandas.testing.assert_frame_equal(table, sequence.to_dataframe())
    for person in sequence.ids:
        rows = table[table.person == person].set_index("frame").reindex(range(FRAMES))
        found = np.stack([rows[[f"{joint}_{axis}" for axis in "xyz"]] for joint in HALPE26.joints], axis=1)
        assert_near(found, sequence.joints(person))
    pyarrow = pytest.importorskip("pyarrow.parquet")
    assert b'"units":"m","fps":50.0' in pyarrow.read_schema(tmp_path / "pose.parquet").metadata[b"synpose"]


def test_npz_opens_in_numpy() -> None:
    """Arrays of everybody, NaN where unknown or absent, without pickles."""
    file = np.load(io.BytesIO(FORMATS["npz"].write(TWO)), allow_pickle=False)
    assert file["person"].tolist() == [3, 5]
    for row, person in enumerate(TWO.ids):
        np.testing.assert_array_equal(file["joints"][row], TWO.joints(person))
        np.testing.assert_array_equal(file["sigma"][row], TWO.sigma(person))
    assert np.isnan(file["score"]).sum() == 1
    assert file["joint_names"].tolist() == list(HALPE26.joints)
    assert (file["fps"], file["units"], file["skeleton"]) == (FPS, "m", "halpe26")
    np.testing.assert_allclose(file["timestamp"], np.arange(FRAMES) / FPS)


def test_rrd_opens_in_rerun(tmp_path: Path) -> None:
    """Rerun's reader finds the known joints of each frame by their numbers, and none of a person who is absent."""
    chunk = pytest.importorskip("rerun.chunk")
    found = {person: np.full((FRAMES, len(HALPE26), 3), np.nan) for person in TWO.ids}
    seen = set()
    for part in chunk.RrdReader(written("rrd", TWO, tmp_path)).stream():
        batch = part.to_record_batch()
        seen.add(part.entity_path)
        if not part.entity_path.startswith("/world/person"):
            continue
        joints = found[int(part.entity_path.removeprefix("/world/person"))]
        for frame, numbers, places in zip(
            batch.column("frame").to_pylist(),
            batch.column("Points3D:keypoint_ids").to_pylist(),
            batch.column("Points3D:positions").to_pylist(),
            strict=True,
        ):
            if numbers:
                joints[frame, numbers] = places
    assert {"/world", "/world/person3", "/world/person5"} <= seen
    for person, joints in found.items():
        assert_near(joints, TWO.joints(person))


def test_markers_are_those_of_pose2sim(tmp_path: Path) -> None:
    """Every marker that Pose2Sim's OpenSim model of halpe26 has, the TRC has, too."""
    expected = {"Nose", "Head", "Neck", "Hip"} | {
        side + part
        for side in "LR"
        for part in ("Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "BigToe", "SmallToe", "Heel")
    }
    lines = written("trc", ONE, tmp_path).read_text().splitlines()
    assert expected <= set(lines[3].split("\t"))
    assert "LEye" in lines[3].split("\t")


@pytest.mark.filterwarnings("ignore")
def test_pose2sim_and_opensim_accept_the_trc(tmp_path: Path) -> None:
    """Where both are installed: Pose2Sim's kinematics scale OpenSim's model by the TRC, and find angles all along."""
    pytest.importorskip("opensim")
    pytest.importorskip("Pose2Sim.kinematics")
    (tmp_path / "pose-3d").mkdir()
    (tmp_path / "Config.toml").touch()
    still = sequence_of(moving(HALPE26, sway=0.002), skeleton=HALPE26)
    save(still, tmp_path / "pose-3d" / "walk.trc")
    config = {
        "project": {"project_dir": str(tmp_path)},
        "pose": {"pose_model": "Body_with_feet"},
        "kinematics": {"use_augmentation": False, "use_simple_model": True},
    }
    script = f"from Pose2Sim.kinematics import kinematics_all; kinematics_all({config!r})"  # it changes the process
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    header, _, rows = (tmp_path / "kinematics" / "walk.mot").read_text().partition("endheader\n")
    names, *values = [line.split() for line in rows.splitlines()]
    assert (f"nRows={FRAMES}" in header, len(values)) == (True, FRAMES)
    knee = np.array(values, dtype=np.float64)[:, names.index("knee_angle_r")]
    assert np.abs(knee).max() < 40  # the person stands


@pytest.mark.parametrize("up", UP_AXES)
def test_files_with_an_up_axis_are_turned(up: Up, tmp_path: Path) -> None:
    """Whichever axis of the world is up is guessed from the person, and y in the file; left and right are kept."""
    to_world = np.linalg.inv([to_y_up(axis, up) for axis in np.eye(3)])  # rows: world axes of a y-up point
    joints = to_y_up(moving(HALPE26, sway=0.0), "z")  # y up
    sequence = sequence_of(joints @ to_world, skeleton=HALPE26)
    assert np.linalg.det(to_world) == pytest.approx(1)
    assert up_axis(sequence) == up
    rows = [line.split("\t") for line in written("trc", sequence, tmp_path).read_text().splitlines()[6:]]
    found = np.array([row[2:-1] for row in rows], dtype=np.float64).reshape(FRAMES, -1, 3)
    assert_near(found, joints)


def test_up_may_be_said(tmp_path: Path) -> None:
    """What is said goes before what is guessed: y leaves the world as it is."""
    lines = written("trc", ONE, tmp_path, up="y").read_text().splitlines()
    found = np.array([float(cell) for cell in lines[6].split("\t")[2:5]])
    np.testing.assert_allclose(found, ONE.joints()[0, 0], atol=NEAR)


@pytest.mark.parametrize("suffix", [".trc", ".bvh"])
def test_people_get_files_of_their_own(suffix: str, tmp_path: Path) -> None:
    """A format of one person is written once a person, the one in the most frames under the name that was given."""
    files = TWO.save(tmp_path / f"walk{suffix}")
    assert [file.name for file in files] == [f"walk{suffix}", f"walk_p3{suffix}"]
    form = FORMATS[suffix[1:]]
    assert [file.read_bytes() for file in files] == [form.write(TWO, person=5), form.write(TWO, person=3)]
    assert files[0].read_bytes() != files[1].read_bytes()
    with pytest.raises(NotFound, match="no person 4; there are 3, 5"):
        form.write(TWO, person=4)


def test_save_says_what_cannot_be_written(tmp_path: Path) -> None:
    """An unknown suffix and a folder that is not there are clear errors."""
    with pytest.raises(OptionsError, match=r"there are \.json, .*\.glb"):
        ONE.save(tmp_path / "x.fbx")
    with pytest.raises(OptionsError, match=r"cannot write .*: No such file"):
        ONE.save(tmp_path / "gone" / "x.csv")


@pytest.mark.parametrize(("name", "package"), [("c3d", "ezc3d"), ("parquet", "pyarrow"), ("rrd", "rerun")])
def test_a_missing_package_is_told(name: str, package: str) -> None:
    """Without its package a format says which one to install."""
    script = (
        "import sys, importlib.util as u; real = u.find_spec\n"
        f"u.find_spec = lambda name, *a: None if name == {package!r} else real(name, *a)\n"
        f"from synpose.formats import FORMATS\nFORMATS[{name!r}].check()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"need {package}, which is not installed here: pip install 'synpose[" in done.stderr


def test_skeletons_have_markers_of_their_own() -> None:
    """No two joints of a skeleton share a marker's name."""
    for skeleton in (COCO17, H36M17, HALPE26, BODY27):
        assert len(set(marker_names(skeleton))) == len(skeleton)
