"""Skeletons and how one is read off another."""

from __future__ import annotations

import numpy as np
import pytest

from synpose.errors import NotFound
from synpose.skeleton import COCO17, H36M17, HALPE26, SKELETONS, Skeleton, get_skeleton


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_skeletons_are_trees_with_sides(skeleton: Skeleton) -> None:
    """Every joint leads to a single root, every left joint has its right one, and bones mirror to bones."""
    assert skeleton.parents.count(-1) == 1
    for joint in range(len(skeleton)):
        for _ in range(len(skeleton)):
            joint = skeleton.parents[joint] if skeleton.parents[joint] >= 0 else joint
        assert skeleton.parents[joint] == -1
    sides = sum(name.startswith(("left", "right")) for name in skeleton.joints)
    assert 2 * len(skeleton.pairs) == sides
    mirror = list(range(len(skeleton)))
    for left, right in skeleton.pairs:
        mirror[left], mirror[right] = right, left
    limbs = {frozenset(limb) for limb in skeleton.limbs}
    assert {frozenset(mirror[j] for j in limb) for limb in limbs} == limbs
    assert len(skeleton.limb_joints) == 12


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_a_skeleton_reads_itself_unchanged(skeleton: Skeleton) -> None:
    """Weights from a skeleton to itself are the identity."""
    np.testing.assert_array_equal(skeleton.reads_from(skeleton), np.eye(len(skeleton)))


def test_missing_mid_body_joints_are_midpoints() -> None:
    """COCO gives Human3.6M's pelvis as the middle of the hips, and nothing for the top of the head."""
    weights = H36M17.reads_from(COCO17)
    joints = np.random.default_rng(0).normal(size=(17, 3))
    index = {name: j for j, name in enumerate(COCO17.joints)}
    pelvis = (joints[index["left_hip"]] + joints[index["right_hip"]]) / 2
    np.testing.assert_allclose((weights @ joints)[H36M17.joints.index("pelvis")], pelvis)
    assert not weights[H36M17.joints.index("head")].any()
    assert H36M17.reads_from(HALPE26)[H36M17.joints.index("head")].sum() == 1


def test_unknown_skeletons_are_listed() -> None:
    """`get_skeleton` finds by name, and its error lists the names."""
    assert get_skeleton("coco17") is COCO17
    with pytest.raises(NotFound, match="coco17, h36m17, halpe26") as caught:
        get_skeleton("coco18")
    assert caught.value.field == "options.skeleton"
    with pytest.raises(NotFound) as caught:
        get_skeleton("x" * 10_000)
    assert len(caught.value.message) < 200
