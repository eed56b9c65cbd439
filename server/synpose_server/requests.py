"""The rules that every request keeps, whichever door it came through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from synpose.errors import InvalidInput
from synpose.rig import Rig
from synpose_server.sources import Source

__all__ = ["match_sources"]


def match_sources(rig: Rig, sources: Mapping[str, Source]) -> dict[str, Source]:
    """The sources in the order of the rig's cameras; image sequences end with None up to the longest one.

    Every source needs a calibrated camera and every calibrated camera a source, all of one kind, and there must be
    two or more; anything else raises `InvalidInput`, naming the field (`video` or `frame_sets`) and the camera.
    """
    images = {name: source for name, source in sources.items() if isinstance(source, Sequence)}
    field = "frame_sets" if images else "video"
    if images and len(images) < len(sources):
        raise InvalidInput("a request holds videos or images, not both", field=field)
    for name in sources:
        if name not in rig.names:
            known = ", ".join(rig.names)
            raise InvalidInput(f"the calibration has no such camera; it has {known}", field=field, camera=name)
    for name in rig.names:
        if name not in sources or (name in images and all(image is None for image in images[name])):
            raise InvalidInput(
                "nothing was sent for this camera; send it, or take the camera out of the calibration to leave it out",
                field=field,
                camera=name,
            )
    if len(rig) < 2:
        raise InvalidInput("at least two cameras are needed to see in three dimensions", field=field)
    length = max(map(len, images.values()), default=0)
    padded = {name: [*source, *[None] * (length - len(source))] for name, source in images.items()}
    return {name: padded[name] if name in padded else sources[name] for name in rig.names}
