"""Links from the documentation into the rest of the repository have no place in the site: their text stays."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["on_page_markdown"]

_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./[^)]*\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by MkDocs with the text of each page."""
    return _OUTSIDE.sub(r"\1", markdown)
