"""From people as the tracker follows them to people in the skeleton that was asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from synpose.pose import Frame, Notice, Person
from synpose.rig import Rig
from synpose.skeleton import Skeleton
from synpose_server.limbs import Limbs
from synpose_server.observe import count
from synpose_server.track import TrackedPerson

__all__ = ["Answers"]

_MOST_KNOWN = 512  # people whose limbs are remembered: whoever was lost comes back soon or under a new id


class Answers:
    """The people of one clip or stream, frame by frame in order: their limbs keep the lengths that were learned.

    `known` is the model's skeleton, `asked` the answer's.
    """

    def __init__(self, known: Skeleton, asked: Skeleton, rig: Rig) -> None:
        self._known, self._cameras = known, rig.names
        self._eyes = np.stack([camera.center for camera in rig])
        self._weights = asked.reads_from(known)
        self._limbs: dict[int, Limbs] = {}  # by person, who was seen last at the end

    def frame(self, index: int, time: float, people: Sequence[TrackedPerson], notices: tuple[Notice, ...]) -> Frame:
        """The answer of the next frame set, which is counted."""
        count("frame_sets")
        count("people", len(people))
        return Frame(index, time, tuple(map(self._person, people)), notices)

    def _person(self, tracked: TrackedPerson) -> Person:
        """The tracked person of the next frame in the joints of the skeleton that was asked for."""
        limbs = self._limbs[tracked.id] = self._limbs.pop(tracked.id, Limbs(self._known))
        if len(self._limbs) > _MOST_KNOWN:
            del self._limbs[next(iter(self._limbs))]
        alone = self._eyes[tracked.seen][0] if tracked.seen.sum() == 1 else None
        settled = limbs.settle(tracked.joints, tracked.sigma, alone)
        lost = ~np.isfinite(settled[:, 0])  # (K,)
        # a joint that reads from nothing, or from a joint that is not known, is not known
        known = (self._weights.sum(-1) > 0) & (self._weights @ lost == 0)  # (J,)
        joints = self._weights @ np.nan_to_num(settled)
        sigma = np.sqrt(self._weights**2 @ np.nan_to_num(tracked.sigma) ** 2)
        return Person(
            id=tracked.id,
            score=tracked.score,
            joints=np.where(known[:, None], joints, np.nan),
            sigma=np.where(known, sigma, np.nan),
            views=self.views(tracked),
        )

    def views(self, tracked: TrackedPerson) -> tuple[str, ...]:
        """The cameras that were used for a person."""
        return tuple(name for name, seen in zip(self._cameras, tracked.seen, strict=True) if seen)
