"""Pictures of what the networks look at: windows of the spatial module, frames and views of the relation module.

    python benchmarks/attention.py --data data --spatial runs/spatial-thunder/last.pt \\
        --relation runs/rays/last.pt --out docs/attention.png

Above, six crops of held-out subjects; below each, brighter where a cell is looked at more: the attention that it gets
within its window, mean over heads, of the last block of each stage. At the bottom, for one window of a held-out
sequence with four cameras, how much the token of each camera in the middle frame looks at the cameras (rows) and frames
(columns) of the window, mean over heads, in the last block of each stage. Printed: in windows on the border of the
person's box, the share of the attention that lies in the box, against the box's share of their cells; and the shares of
the relation module's attention by distance in time and by camera.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synpose_model import relation, windows
from synpose_model.data.record import record_sightings
from synpose_model.data.rendered import RenderedClip, read_clips
from synpose_model.data.sightings import Sighting
from synpose_model.lifting import LiftingNetwork
from synpose_model.spatial import SpatialModule, SpatialNetwork
from synpose_model.training.checkpoint import load_network
from synpose_model.windows import WindowBlock

Image = NDArray[np.uint8]
Array = NDArray[np.float64]

_CELL = 192  # pixels of a crop in the picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of `synpose render`")
    parser.add_argument("--spatial", type=Path, required=True, metavar="CHECKPOINT")
    parser.add_argument("--relation", type=Path, required=True, metavar="CHECKPOINT")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="picture to write")
    args = parser.parse_args()
    trained, _ = load_network(args.spatial)
    lifting, _ = load_network(args.relation)
    assert isinstance(trained.network, SpatialNetwork)
    module = trained.network.module
    assert isinstance(lifting, LiftingNetwork)
    clips = read_clips(args.data / "val_stills")
    columns, shares = zip(*(_column(module, clip) for clip in clips), strict=True)
    for stage, (chosen, even) in enumerate(np.nanmean(shares, 0)):
        print(
            f"stage {stage + 1}, {len(clips)} crops: in windows on the border of the person's box {chosen:.0%} of the "
            f"attention lies in the box, which has {even:.0%} of their cells"
        )
    picture = np.concatenate(columns[:6], 1)
    sequence = next(c for c in record_sightings(str(args.spatial), args.data / "val_sequences") if len(c.origins) == 4)
    below = _related(lifting, sequence)
    pad = np.zeros((below.shape[0], max(0, picture.shape[1] - below.shape[1]), 3), np.uint8)
    below = np.concatenate((below, pad), 1)[:, : picture.shape[1]]
    cv2.imwrite(str(args.out), np.concatenate((picture, below))[..., ::-1])
    print(args.out)


@contextmanager
def attentions(module: object) -> Iterator[list[Tensor]]:
    """What every call of `attend` in `module` (windows or relation) gives to each key, `(N, heads, L, L)`."""
    seen: list[Tensor] = []
    original = windows.attend

    def attend(qkv: Tensor, heads: int, bias: Tensor) -> Tensor:
        q, k, _ = qkv.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)  # type: ignore[no-untyped-call]
        seen.append(((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2) + bias).softmax(-1))
        return original(qkv, heads, bias)

    module.attend = attend  # type: ignore[attr-defined]
    try:
        yield seen
    finally:
        module.attend = original  # type: ignore[attr-defined]


def _column(module: SpatialModule, clip: RenderedClip) -> tuple[Image, Array]:
    """One crop of `clip` with the attention of each stage under it, and `(stages, 2)`: shares of attention and cells
    in the person's box, of windows on its border; NaN where there are none.
    """
    shares = np.full((len(module.config.depths), 2), np.nan)
    with attentions(windows) as seen, torch.inference_mode():
        module(torch.from_numpy(clip.inputs(np.array([0]), module.config)))
    crop = cv2.resize(clip.crop(0), (_CELL, _CELL), interpolation=cv2.INTER_AREA)
    parts: list[Image] = [np.asarray(crop, np.uint8)]
    joints = clip.pixels[0, 0]
    low, high = joints.min(0).clip(0, 1), joints.max(0).clip(0, 1)
    block, side = -1, module.config.cells
    for stage, depth in enumerate(module.config.depths):
        block += depth
        heads = seen[block]  # of the last block of the stage: (windows, heads, w², w²)
        blocks = module.stages[stage]
        assert isinstance(blocks, torch.nn.Sequential)
        last = blocks[-1]
        assert isinstance(last, WindowBlock)
        received = _on_the_map(heads.mean((1, 2)).numpy().astype(np.float64), side, last.window, last.shift)
        middle = (np.arange(side) + 0.5) / side
        inside = ((middle > low[1]) & (middle < high[1]))[:, None] & ((middle > low[0]) & (middle < high[0]))
        # every window's attention adds up to one: only those on the border of the person's box can choose
        mixed = _windows_of(inside, last.window, last.shift)
        if mixed.any():
            shares[stage] = received[inside & mixed].sum() / received[mixed].sum(), inside[mixed].mean()
        heat = (255 * received / received.max()).astype(np.uint8)
        heat = cv2.resize(heat, (_CELL, _CELL), interpolation=cv2.INTER_NEAREST)
        colour = cv2.applyColorMap(heat, cv2.COLORMAP_INFERNO)[..., ::-1]
        parts.append(np.asarray(0.35 * crop + 0.65 * colour, np.uint8))
        side //= 2
    return np.concatenate(parts), shares


def _on_the_map(received: Array, side: int, window: int, shift: int) -> Array:
    """`received` `(windows, w²)` at the cells of the map `(side, side)`."""
    count = side // window
    cells = received.reshape(count, count, window, window).transpose(0, 2, 1, 3).reshape(side, side)
    return np.roll(cells, (shift, shift), (0, 1))


def _windows_of(inside: NDArray[np.bool_], window: int, shift: int) -> NDArray[np.bool_]:
    """The cells of those windows that have some cells `inside` `(side, side)` and some not."""
    side = len(inside)
    count = side // window
    rolled = np.roll(inside, (-shift, -shift), (0, 1)).reshape(count, window, count, window)
    share = np.broadcast_to(rolled.mean((1, 3), keepdims=True), rolled.shape).reshape(side, side)
    return np.roll((share > 0) & (share < 1), (shift, shift), (0, 1))


def _related(network: LiftingNetwork, clip: Sighting) -> Image:
    """The attention of the middle frame's tokens over the window: one row of pictures a stage, one for each camera."""
    T, V = network.config.window, len(clip.origins)
    K = network.config.keypoints
    rays = [
        np.broadcast_to(clip.origins, (T, V, 3)),
        clip.directions[:T, :, :K],
        clip.scores[:T, :, :K],
        np.ones((T, V), np.bool_),
    ]
    with attentions(relation) as seen, torch.inference_mode():
        network(*(torch.from_numpy(np.ascontiguousarray(part))[None] for part in rays))
    per_stage = len(seen) // len(network.stages)
    rows = []
    for stage in range(len(network.stages)):
        maps = seen[per_stage * (stage + 1) - 1][0].mean(0)  # (T·V, T·V)
        middle = maps.reshape(T, V, T, V)[T // 2].numpy()  # (V, T, V): who asks, when and who answers
        near = np.abs(np.arange(T) - T // 2)
        own = np.mean([middle[v, :, v].sum() for v in range(V)])
        print(
            f"relation stage {stage + 1}: {middle[:, near == 0].sum() / V:.0%} of the attention stays in the instant, "
            f"{middle[:, (near > 0) & (near < 4)].sum() / V:.0%} goes up to three frames away, {own:.0%} to the own "
            f"camera (even: {1 / T:.0%}, {6 / T:.0%}, {1 / V:.0%})"
        )
        pictures = []
        for asks in range(V):
            heat = (255 * middle[asks].T / middle[asks].max()).astype(np.uint8)  # (V, T)
            heat = cv2.resize(heat, (14 * T, 24 * V), interpolation=cv2.INTER_NEAREST)
            colour = cv2.applyColorMap(heat, cv2.COLORMAP_INFERNO)[..., ::-1]
            pictures.append(cv2.copyMakeBorder(colour, 6, 6, 6, 6, cv2.BORDER_CONSTANT, value=(60, 60, 60)))
        rows.append(np.concatenate(pictures, 1))
    return np.asarray(np.concatenate(rows), np.uint8)


if __name__ == "__main__":
    main()
