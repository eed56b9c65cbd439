"""Writes clips of synthetic people with exact 3D truth.

    python -m synpose_model.render.clips --motions DIR --out DIR --count 24 --seed 7 --environments DIR

Each clip is a folder: `cam01.mp4` and so on, `calibration.json`, `truth.npz` and `sheet.png`, a contact sheet.
`truth.npz` holds `joints` `(T, 17, 3)` in metres, world frame, COCO order; `visibility` `(V, T, 17)`, 0 not in the
image, 1 hidden, 2 visible; `names`, `cameras`, `fps`; `motion` and `child` say what was drawn.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from synpose.calibration import write_calibration
from synpose.errors import InvalidInput, SynposeError
from synpose.skeleton import COCO17
from synpose_model.render.body import BodyModel
from synpose_model.render.clip import Clip, random_clip
from synpose_model.render.contact_sheet import ContactSheet, with_joints
from synpose_model.render.environment import environment_files
from synpose_model.render.stage import Stage

__all__ = ["main", "write_clip"]

_CRF = "18"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status: 0, or 2 for input that cannot be used."""
    parser = argparse.ArgumentParser(
        prog="python -m synpose_model.render.clips", description="Write clips of synthetic people with exact 3D truth."
    )
    parser.add_argument("--motions", type=Path, required=True, metavar="DIR", help="folder of BVH files, searched deep")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the clip folders go")
    parser.add_argument("--count", type=int, default=10, metavar="N", help="how many clips (default: 10)")
    parser.add_argument("--first", type=int, default=0, metavar="I", help="the first clip's number (default: 0)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="the same seed gives the same clips")
    parser.add_argument("--environments", type=Path, metavar="DIR", help="folder of .exr (or .exr.js) environment maps")
    parser.add_argument("--draw-truth", action="store_true", help="draw the true joints on the contact sheets")
    options = parser.parse_args(arguments)
    try:
        motions = sorted(options.motions.rglob("*.bvh"))
        if not motions:
            raise InvalidInput(f"no .bvh file in {options.motions}", field="motions")
        environments = environment_files(options.environments)
        model = BodyModel()
        with Stage() as stage, Progress(disable=not sys.stderr.isatty()) as progress:
            numbers = range(options.first, options.first + options.count)
            for index in progress.track(numbers, description="Drawing clips"):
                clip = random_clip(model, motions, environments, options.seed, index)
                write_clip(clip, stage, options.out / f"clip_{index:03d}", draw_truth=options.draw_truth)
    except SynposeError as error:
        sys.stderr.write(f"{parser.prog}: {error}\n")
        return 2
    return 0


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
        names=np.array(COCO17.joints),
        cameras=np.array(clip.rig.names),
        fps=clip.fps,
        motion=clip.motion,
        child=clip.child,
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


if __name__ == "__main__":
    sys.exit(main())
