"""The body: anny's parametric mesh, its bones and the joints that its surface defines.

The body frame, and the world frame of all clips, has z up; a body at rest looks along −y with its left at +x.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import anny
import numpy as np
import torch
from numpy.typing import NDArray

from synpose.skeleton import BODY27

__all__ = ["Body", "BodyModel", "random_phenotype"]

Array = NDArray[np.float64]
Single = NDArray[np.float32]


class BodyModel:
    """What all bodies share: `faces` `(F, 3)`, `bones` and their `parents`, `weights` `(V, bones)`.

    The first one on a machine takes anny a minute or two, later ones a second: it caches in `~/.cache/anny`.
    """

    def __init__(self) -> None:
        with warnings.catch_warnings():  # anny and torch.load warn of their own internals
            warnings.simplefilter("ignore")
            self._anny = anny.Anny(skinning_method="lbs")
            regressor = anny.KeypointsRegressor.coco(self._anny)
        self.bones: tuple[str, ...] = tuple(self._anny.bone_labels)
        self.parents: tuple[int, ...] = tuple(self._anny.bone_parents)
        self.faces: NDArray[np.int32] = self._anny.faces.numpy().astype(np.int32)
        self.weights: Single = self._anny.dense_vertex_bone_weights.numpy().astype(np.float32)
        known = dict(zip(regressor.labels, regressor.regression_weights.numpy().astype(np.float64), strict=True))
        weights = self._surface_joints(known)
        self._joint_vertices = np.flatnonzero(weights.any(axis=0))
        self._joint_weights: Array = weights[:, self._joint_vertices]
        # enough of the surface for the joints and for what touches the floor
        self.sparse: NDArray[np.int64] = np.union1d(self._joint_vertices, np.arange(0, weights.shape[1], 12))

    def shaped(self, phenotype: Mapping[str, float]) -> Body:
        """The body of a phenotype: numbers in [0, 1] for `age`, `gender`, `height`, `weight`, ... (anny's names)."""
        with torch.no_grad():
            rest = self._anny(phenotype_kwargs={name: torch.tensor([value]) for name, value in phenotype.items()})
        return Body(
            self,
            rest["rest_vertices"][0].numpy().astype(np.float64),
            rest["rest_bone_poses"][0, :, :3, 3].numpy().astype(np.float64),
        )

    def _surface_joints(self, known: Mapping[str, Array]) -> Array:
        """Weights `(27, V)` that read `BODY27`'s joints off the surface, from anny's `known` ones `(V,)` by name.

        anny gives COCO's joints and the feet. The crown is the skin at the top of the head; the neck lies half-way
        between the neck's base and the middle of the shoulders, the spine amid the waist, the pelvis between the hips.
        """
        with torch.no_grad():
            rest = self._anny(phenotype_kwargs={})
        surface = rest["rest_vertices"][0].numpy().astype(np.float64)
        heads = rest["rest_bone_poses"][0, :, :3, 3].numpy()
        trunk = np.abs(surface[:, 0]) < 0.25

        def ring(bone: str) -> Array:
            height = heads[self.bones.index(bone), 2]
            return _mean_of(trunk & (np.abs(surface[:, 2] - height) < 0.015))

        both = {part: (known[f"left_{part}"] + known[f"right_{part}"]) / 2 for part in ("shoulder", "hip")}
        crown = surface[:, 2].argmax()
        joints = {
            **{name: np.where(np.abs(weights) > 1e-3, weights, 0.0) for name, weights in known.items()},
            "head": _mean_of(np.linalg.norm(surface - surface[crown], axis=-1) < 0.03),
            "neck": (ring("neck01") + both["shoulder"]) / 2,
            "pelvis": both["hip"],
            "spine": ring("spine03"),
        }
        weights = np.stack([joints[name] for name in BODY27.joints])
        return np.asarray(weights / weights.sum(-1, keepdims=True))

    def joints(self, vertices: NDArray[np.floating]) -> Array:
        """`BODY27`'s joints `(..., 27, 3)` of body surfaces `(..., V, 3)`, in the same frame."""
        return np.asarray(self._joint_weights @ vertices[..., self._joint_vertices, :])


@dataclass(frozen=True, eq=False)
class Body:
    """One person's rest pose: `vertices` `(V, 3)` and bone `heads` `(bones, 3)` in metres, body frame."""

    model: BodyModel
    vertices: Array
    heads: Array

    def head(self, bone: str) -> Array:
        """Where `bone` begins in the rest pose `(3,)`."""
        return np.asarray(self.heads[self.model.bones.index(bone)])

    @property
    def height(self) -> float:
        """Standing height in metres."""
        return float(np.ptp(self.vertices[:, 2]))

    def bone_transforms(self, rotations: Array, root: Array) -> Array:
        """Bone transforms `(T, bones, 3, 4)`, body frame at rest to world.

        `rotations` `(T, bones, 3, 3)` are world rotations from the rest pose, `root` `(T, 3)` the root bone's head.
        """
        heads = np.empty(rotations.shape[:-1])  # (T, bones, 3)
        for bone, parent in enumerate(self.model.parents):
            offset = self.heads[bone] - self.heads[parent]
            heads[:, bone] = root if parent < 0 else heads[:, parent] + rotations[:, parent] @ offset
        shift = heads - np.einsum("tbij,bj->tbi", rotations, self.heads)
        return np.concatenate((rotations, shift[..., None]), -1)

    def posed_joints(self, transforms: Array) -> Array:
        """`BODY27`'s joints `(T, 27, 3)` of the body moved by the bones, world; no more is moved than they need."""
        used = self.model._joint_vertices
        return np.asarray(self.model._joint_weights @ self.skinned(transforms, self.vertices, used))

    def skinned(self, transforms: Array, vertices: Array, only: NDArray[np.int64] | slice = slice(None)) -> Single:
        """Rest `vertices` `(V, 3)` (of the body, or of clothes on it) moved by the bones: `(T, V, 3)`, world.

        `only` picks some of them.
        """
        frames, bones = transforms.shape[:2]
        vertices = vertices[only]
        stacked = transforms.transpose(1, 0, 2, 3).reshape(bones, -1).astype(np.float32)  # (bones, T·12)
        blended = (self.model.weights[only] @ stacked).reshape(-1, frames, 3, 4)
        rest = vertices.astype(np.float32)
        moved = np.einsum("vtij,vj->tvi", blended[..., :3], rest, optimize=True) + blended[..., 3].transpose(1, 0, 2)
        return np.ascontiguousarray(moved)


def _mean_of(chosen: NDArray[np.bool_]) -> Array:
    return np.asarray(chosen / chosen.sum())


def random_phenotype(rng: np.random.Generator, child: bool) -> dict[str, float]:
    """A random adult, or child of roughly 3 to 13 years, in anny's terms."""
    return {
        "age": rng.uniform(0.15, 0.42) if child else rng.uniform(0.6, 0.95),
        "gender": rng.uniform(0, 1),
        "height": rng.uniform(0.2, 0.8),
        "weight": rng.uniform(0.2, 0.8),
        "muscle": rng.uniform(0.25, 0.8),
        "proportions": rng.uniform(0.3, 0.9),
    }
