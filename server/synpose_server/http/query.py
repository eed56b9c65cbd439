"""What may stand behind the question mark of an address."""

from __future__ import annotations

from fastapi import Request

from synpose.errors import OptionsError

__all__ = ["check_query"]


def check_query(request: Request, *known: str) -> None:
    """Raise `OptionsError` for a parameter that is none of the `known`: it would be taken for heard."""
    for name in request.query_params:
        if name not in known:
            there = f"there are {', '.join(known)}" if known else "there are none"
            raise OptionsError(
                f"no parameter of the query is called {name[:40]!r}; {there}. Options of the estimate such as skeleton"
                " are JSON in the field `options` of the body",
                field="query",
            )
