"""MoveNet MultiPose (Google, Apache-2.0): finds up to six people in a whole image, with boxes and keypoints.

It answers what the published graph "movenet/multipose/lightning/1" answers, for a batch of any size and in pixels.
Trunk and heads are those of `movenet`, with two heads more for the boxes. Constants that the graph holds rounded to
float16 (1/127.5, 0.3, 0.127, 1e-6) are exact here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from synpose_model.movenet import KEYPOINTS, Head, Trunk, cells_to_yx, read_at, yx_to_pixels

__all__ = ["PEOPLE", "MultiPose"]

PEOPLE = 6
"""As many people as are looked for in an image; the ones that are not there get a score near 0."""

_WIDTH = 1.5
_SPREAD = 0.3  # how far from its guess a keypoint may be: the variance, in the map's shorter side
_SEEN = 0.127  # the score from which a keypoint counts for its person


class MultiPose(nn.Module):
    """`images` uint8 `(N, H, W, 3)` RGB, sides multiples of 32 → `people` and `boxes`, the best first.

    `people` float32 `(N, 6, 17, 3)` are x, y in pixels and score in [0, 1]; `boxes` float32 `(N, 6, 5)` are x0, y0,
    x1, y1 in pixels and the person's score in [0, 1].
    """

    def __init__(self) -> None:
        super().__init__()
        self.trunk = Trunk(_WIDTH)
        self.centre = Head(1)
        self.box_size = Head(2)
        self.box_offset = Head(2)
        self.heatmap = Head(KEYPOINTS)
        self.displacement = Head(2 * KEYPOINTS)
        self.offset = Head(2 * KEYPOINTS)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.trunk(images)
        return decode(
            self.centre(features).sigmoid(),
            self.box_size(features),
            self.box_offset(features),
            self.heatmap(features).sigmoid(),
            self.displacement(features),
            self.offset(features),
        )


def decode(
    centre: Tensor, box_size: Tensor, box_offset: Tensor, heatmap: Tensor, displacement: Tensor, offset: Tensor
) -> tuple[Tensor, Tensor]:
    """People `(N, 6, 17, 3)` and boxes `(N, 6, 5)`, as `MultiPose` gives them, out of the heads' maps of h×w cells.

    `box_size` and `box_offset` `(N, 2, h, w)` are, at a person's centre, the box's size and the way from there to its
    middle, (y, x) in cells; the other maps are as in `movenet.decode`.
    """
    height, width = heatmap.shape[2:]
    rows = torch.arange(height, dtype=torch.float32)[:, None]  # (h, 1)
    columns = torch.arange(width, dtype=torch.float32)  # (w,)

    # a centre is a cell that no cell within two of it beats
    is_peak = (centre - functional.max_pool2d(centre, 5, stride=1, padding=2)).abs() < 1e-6
    centre_scores, centres = (centre * is_peak).flatten(1).topk(PEOPLE)  # both (N, 6)
    origin = cells_to_yx(centres, width)  # (N, 6, 2)

    half = read_at(box_size, centres[..., None])[:, :, 0].relu() / 2
    middle = origin + read_at(box_offset, centres[..., None])[:, :, 0]
    limit = torch.tensor([height, width], dtype=torch.float32)
    first, last = (corner.relu().minimum(limit) for corner in (middle - half, middle + half))  # (N, 6, 2)

    def inside(grid: Tensor, axis: int) -> Tensor:
        low, high = first[..., axis, None, None], last[..., axis, None, None]
        return (grid >= low) & (grid < high)

    in_box = (inside(rows, 0) & inside(columns, 1))[:, :, None]  # (N, 6, 1, h, w)

    guess = origin[:, :, None] + read_at(displacement, centres[..., None].expand(-1, -1, KEYPOINTS))  # (N, 6, 17, 2)
    y, x = guess[..., None, None].unbind(3)  # both (N, 6, 17, 1, 1)
    squared = (rows - y).square() + (columns - x).square()  # (N, 6, 17, h, w)
    shorter = torch.sym_min(height, width)  # type: ignore[no-untyped-call]
    nearness = torch.exp(-squared / (_SPREAD * shorter))
    likely = (heatmap[:, None] * nearness * in_box).flatten(3)  # (N, 6, 17, h*w)
    cells = likely.argmax(3)  # (N, 6, 17)
    # as published: the score at the cell found is the best that any of the people has there
    scores = likely.amax(1).gather(2, cells.transpose(1, 2)).transpose(1, 2)  # (N, 6, 17)

    found = cells_to_yx(cells, width) + read_at(offset, cells)  # (N, 6, 17, 2)
    people = torch.cat((yx_to_pixels(found), scores[..., None]), -1)

    seen = scores > _SEEN
    keypoint_score = (scores * seen).sum(2) / seen.sum(2).clamp(min=1)
    boxes = torch.cat((yx_to_pixels(first), yx_to_pixels(last), (centre_scores * keypoint_score)[..., None]), -1)
    return people, boxes
