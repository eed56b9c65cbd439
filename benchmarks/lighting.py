"""What light does to the error: the same clips drawn anew under other lights, and estimated.

    python benchmarks/lighting.py --motions BVH_FOLDER --environments ENVIRONMENTS --out lights --models default fast

Bodies, motions, cameras, noise of the sensors and surroundings stay what they are; the exposure and the lamp change.
Clips that were drawn before are not drawn again. Printed: mean error of the limb joints in mm, a missing one counted as
250, with 2 to 3 and with 4 to 6 cameras; aniposelib's of the keypoints of `accurate`, where it is installed; and
the mean brightness at the joints that are seen (0 to 255), so that a light's name means something.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from synpose_model.data.splits import motions_of
from synpose_model.render.body import BodyModel
from synpose_model.render.clip import random_clip
from synpose_model.render.clips import write_clip
from synpose_model.render.environment import environment_files
from synpose_model.render.scene import Scene
from synpose_model.render.stage import Stage
from synpose_server.baselines import chosen_baselines
from synpose_server.engine import Engine
from synpose_server.evaluate_rendered import LIMBS, Case, evaluate_rendered, measure
from synpose_server.rendered_clip import RenderedClip, read_clips
from synpose_server.settings import Settings

LOW = np.array((np.cos(np.radians(12.0)), 0.0, np.sin(np.radians(12.0))))

# of a scene as it was drawn: exposures of 0.55 to 1.2, lamps of 0 to 1.3 times the sky
LIGHTS = {
    "as drawn": lambda scene: scene,
    "no lamp": lambda scene: replace(scene, sunlight=0.0),
    "hard low sun": lambda scene: replace(scene, sun=LOW, sunlight=4.0, exposure=scene.exposure / 2),
    "overexposed": lambda scene: replace(scene, exposure=scene.exposure * 3),
    "dusk": lambda scene: replace(scene, exposure=scene.exposure / 4),
    "night": lambda scene: replace(scene, exposure=scene.exposure / 12),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--motions", type=Path, required=True, metavar="DIR", help="BVH files")
    parser.add_argument("--environments", type=Path, metavar="DIR", help="environment maps")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="clips, a folder for each light")
    parser.add_argument("--models", nargs="+", default=["default"], metavar="NAME")
    parser.add_argument("--count", type=int, default=15, metavar="N", help="clips (15)")
    parser.add_argument("--seed", type=int, default=11, metavar="N")
    args = parser.parse_args()
    for light in LIGHTS:
        draw(args.motions, args.environments, args.out, light, args.count, args.seed)
    baselines, skipped = chosen_baselines(("aniposelib",))
    if skipped:
        print(*skipped.values(), sep="\n")
    engines = {name: Engine(Settings(), only=name) for name in (*args.models, "accurate")}
    rows = {}
    for light in LIGHTS:
        clips = read_clips(folder(args.out, light))
        cases = evaluate_rendered(engines, clips, baselines, {}).cases
        methods = [*args.models, "accurate", *(f"{name} (accurate)" for name in baselines)]
        rows[light] = [f"{brightness(clips):.0f}", *(errors(cases, method) for method in methods)]
        print(light, *rows[light], sep=" | ", flush=True)
    print("| mm | brightness |", " | ".join(methods), "|")
    print("|---" * (len(methods) + 2) + "|")
    for light, row in rows.items():
        print(f"| {light} |", " | ".join(row), "|")


def errors(cases: Sequence[Case], method: str) -> str:
    """Of few and of many cameras."""
    own = [case for case in cases if case.method == method]
    parts = [case for case in own if len(case.cameras) < 4], [case for case in own if len(case.cameras) > 3]
    return ", ".join(f"{measure(part, LIMBS).mpjpe:.1f}" for part in parts if part)


def folder(out: Path, light: str) -> Path:
    return out / light.replace(" ", "-")


def draw(motions: Path, environments: Path | None, out: Path, light: str, count: int, seed: int) -> None:
    """Clips 0 to `count` under `light`, those of the test subjects."""
    todo = [i for i in range(count) if not (folder(out, light) / f"clip_{i:03d}" / "truth.npz").exists()]
    if not todo:
        return
    paths, maps, model = motions_of(motions, "test"), environment_files(environments), BodyModel()
    with Stage() as stage:
        for index in todo:
            clip = random_clip(model, paths, maps, seed, index)
            scene: Scene = LIGHTS[light](clip.scene)
            write_clip(replace(clip, scene=scene), stage, folder(out, light) / f"clip_{index:03d}")
            print(f"drawn: {light}, clip {index + 1} of {count}", flush=True)


def brightness(clips: list[RenderedClip]) -> float:
    """Mean of the luma at the visible joints in the first image of every camera."""
    values = []
    for clip in clips:
        for camera, seen in zip(clip.rig, clip.visibility, strict=True):
            reader = cv2.VideoCapture(str(clip.videos[camera.name]))
            _, image = reader.read()
            reader.release()
            at = camera.project(clip.joints[0])[seen[0] == 2].round().astype(int)
            luma = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
            values.append(luma[at[:, 1].clip(0, luma.shape[0] - 1), at[:, 0].clip(0, luma.shape[1] - 1)])
    return float(np.concatenate(values).mean())


if __name__ == "__main__":
    main()
