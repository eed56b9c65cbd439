"""Images of an upload, in memory and in a file."""

from __future__ import annotations

import pytest

from synpose_server.spooled import Spool, StoredImage


@pytest.mark.parametrize(("side", "in_memory"), [(10, True), (400_000, False)])
def test_images_come_back_as_they_were_added(side: int, in_memory: bool) -> None:
    """Few bytes stay in memory, many go to a file; either way each image is what it was."""
    contents = [bytes([k]) * (side + k) for k in range(4)]
    with Spool() as spool:
        stored = []
        for content in contents:
            stored.append(StoredImage(spool.size, len(content)))
            for part in (content[: side // 2], content[side // 2 :]):
                spool.add(part)
            if spool.is_full:
                spool.flush()
        images = spool.images([stored[0], None, *stored[1:]])
        assert spool.in_memory is in_memory
        assert list(images) == [contents[0], None, *contents[1:]]
        assert list(images[2:]) == contents[1:]
