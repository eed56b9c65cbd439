"""Networks by name: what is served, what the paper describes, what tests run, and what one change each costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from synpose_model.relation import RelationConfig
from synpose_model.spatial import SpatialConfig

__all__ = ["ABLATIONS", "PRESETS", "Preset"]


@dataclass(frozen=True)
class Preset:
    """A spatial and a relation network that fit each other."""

    spatial: SpatialConfig
    relation: RelationConfig

    def __post_init__(self) -> None:
        assert self.relation.token in (0, self.spatial.token), self
        assert self.relation.keypoints == self.spatial.joints, self


_DEFAULT = Preset(SpatialConfig(), RelationConfig(dim=128, heads=4))

# Its 17 joints, Human3.6M's, are among the 27 that every network here answers: only the two last layers are wider.
_PAPER = Preset(
    # Swin-T (arXiv 2103.14030, section 3.3), with the drop path that the released code of arXiv 2401.16700 defaults to
    SpatialConfig(
        embedding="patches",
        side=224,
        patch=4,
        dims=(96, 192, 384, 768),
        depths=(2, 2, 6, 2),
        heads=(3, 6, 12, 24),
        window=7,
        mlp_ratio=4.0,
        drop=0.1,
        token=768,
        keypoints="regression",
    ),
    RelationConfig(
        dim=768,
        depth=4,
        stages=1,
        heads=8,
        mlp_ratio=2.0,
        drop=0.2,
        token=768,
        rays=False,
        head="regression",
    ),
)

_TESTING = Preset(
    SpatialConfig(
        embedding="patches", side=32, patch=4, dims=(16, 32), depths=(2, 1), heads=(2, 4), window=4, token=16
    ),
    RelationConfig(dim=32, depth=2, heads=2, window=8, smoothing=2, token=16),
)

PRESETS: Mapping[str, Preset] = {
    "default": replace(_DEFAULT, spatial=replace(_DEFAULT.spatial, expects=True)),
    "fast": Preset(
        SpatialConfig(
            embedding="lightning",
            side=192,
            patch=4,
            dims=(96, 192),
            depths=(1, 1),
            heads=(3, 6),
            window=6,
            expects=True,
        ),
        replace(_DEFAULT.relation, window=8, smoothing=4),
    ),
    "paper": _PAPER,
    "paper-small": Preset(
        replace(_PAPER.spatial, dims=(32, 64, 128, 256), depths=(1, 1, 2, 1), heads=(1, 2, 4, 8), drop=0.0, token=256),
        replace(_PAPER.relation, dim=256, token=256, drop=0.0),
    ),
    "testing": _TESTING,
    # on a trunk as it comes: no smaller one has weights
    "testing-trunk": replace(
        _TESTING, spatial=replace(_TESTING.spatial, embedding="lightning", side=192, patch=12, window=2)
    ),
}
"""`default` serves best, `fast` costs least, `paper` is arXiv 2401.16700, `paper-small` what two cores can train of it,
`testing` all parts in miniature."""


def _spatial(**changes: Any) -> Preset:
    return replace(_DEFAULT, spatial=replace(_DEFAULT.spatial, **changes))


def _relation(**changes: Any) -> Preset:
    return replace(_DEFAULT, relation=replace(_DEFAULT.relation, **changes))


ABLATIONS: Mapping[str, Preset] = {
    "no-relation": _relation(scope="none"),
    "time-only": _relation(scope="time"),
    "views-only": _relation(scope="views"),
    "no-geometry-bias": _relation(geometry_bias=False),
    "no-residual": _relation(residual=False),
    "one-stage": _relation(stages=1),
    "tokens": _relation(rays=False, token=_DEFAULT.spatial.token),
    "rays": _DEFAULT,
    "tokens-and-rays": _relation(token=_DEFAULT.spatial.token),
    # 8 pixels are what a cell of 2×2 of the trunk's features covers: only where the features come from differs
    "raw-patches": _spatial(embedding="patches", patch=8),
    "global-attention": _spatial(window=0),
    "window-2": _spatial(window=2),
    "window-4": _DEFAULT,
    "window-8": _spatial(window=8),
}
"""`default`, untold, with one change each, and itself where it is one of the things compared: `rays`, `window-4`."""
