"""Writes clips of synthetic people with exact 3D truth.

Each clip is a folder: `cam01.mp4` and so on, `calibration.json`, `truth.npz` and `sheet.png`, a contact sheet.
`truth.npz` holds `joints` `(T, 27, 3)` in metres, world frame, called `names`, COCO's 17 first; `visibility`
`(V, T, 27)`, 0 not in the image, 1 hidden, 2 visible; `cameras`, `fps`; `motion` and `child` say what was drawn. All
that is the first person's; `others` `(N, T, 27, 3)` are the joints of the N people who walk around them. A folder
`alone` has clips of each of them without the others, 0 and so on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from synpose.calibration import write_calibration
from synpose.skeleton import BODY27
from synpose_model.data.splits import motions_of
from synpose_model.render.body import BodyModel
from synpose_model.render.clip import Clip, random_clip
from synpose_model.render.contact_sheet import ContactSheet, with_joints
from synpose_model.render.crowd import random_crowd
from synpose_model.render.environment import environment_files
from synpose_model.render.stage import Stage

__all__ = ["write_clip", "write_clips"]

_CRF = "18"


def write_clips(
    motions: Path,
    out: Path,
    *,
    count: int,
    first: int = 0,
    seed: int = 0,
    environments: Path | None = None,
    split: str | None = None,
    people: int = 1,
    alone: bool = False,
    draw_truth: bool = False,
    progress: Callable[[int], None] = lambda clips: None,
) -> None:
    """Clips number `first` and on of `seed` into folders in `out`, of the BVH files in the folder `motions`.

    `environments` is a folder of environment maps; of a `split` only its subjects' motions are used. With more than
    one of `people` they walk around each other for longer, before four cameras; with `alone` each of them is drawn once
    more as if the others were not there, into folders in `alone` of the clip's. `progress` is told the number of clips
    after each one. Raises `InvalidInput` where a folder does not hold what it should.
    """
    paths = motions_of(motions, split)
    maps = environment_files(environments)
    model = BodyModel()
    with Stage() as stage:
        for index in range(first, first + count):
            if people == 1:
                clip = random_clip(model, paths, maps, seed, index)
            else:
                clip = random_crowd(model, paths, maps, seed, index, people)
            folder = out / f"clip_{index:03d}"
            for number, person in enumerate(clip.people if alone and people > 1 else ()):
                one = replace(clip, people=(person,))
                write_clip(one, stage, folder / "alone" / str(number), draw_truth=draw_truth)
            write_clip(clip, stage, folder, draw_truth=draw_truth)
            progress(count)


def write_clip(clip: Clip, stage: Stage, folder: Path, *, draw_truth: bool = False) -> None:
    """Draws `clip` into `folder`, which is made if need be; `draw_truth` adds the joints to the contact sheet only."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "calibration.json").write_text(write_calibration(clip.rig))
    sheet = ContactSheet(len(clip.joints))
    visibility = []
    writers = [_VideoWriter(folder / f"{camera.name}.mp4", camera.size, clip.fps) for camera in clip.rig]
    for frame, views in enumerate(clip.frames(stage)):
        for writer, view in zip(writers, views, strict=True):
            writer.write(view.image)
        visibility.append([view.visibility for view in views])
        if sheet.wants(frame):
            sheet.add(
                [
                    with_joints(view.image, camera.project(clip.joints[frame]), view.visibility)
                    if draw_truth
                    else view.image
                    for camera, view in zip(clip.rig, views, strict=True)
                ]
            )
    for writer in writers:
        writer.close()
    sheet.save(folder / "sheet.png")
    np.savez_compressed(
        folder / "truth.npz",
        joints=clip.joints,
        visibility=np.array(visibility).swapaxes(0, 1),
        names=np.array(BODY27.joints),
        cameras=np.array(clip.rig.names),
        fps=clip.fps,
        motion=clip.people[0].motion,
        child=clip.people[0].child,
        others=np.array([person.joints for person in clip.people[1:]]).reshape(-1, *clip.joints.shape),
    )


class _VideoWriter:
    """An H.264 file, written image by image."""

    def __init__(self, path: Path, size: tuple[int, int], fps: float) -> None:
        self._file = av.open(str(path), "w")
        self._stream = self._file.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = "yuv420p"
        self._stream.options = {"crf": _CRF, "preset": "veryfast"}

    def write(self, image: NDArray[np.uint8]) -> None:
        self._file.mux(self._stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))

    def close(self) -> None:
        self._file.mux(self._stream.encode(None))
        self._file.close()
