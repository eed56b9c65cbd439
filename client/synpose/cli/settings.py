"""The server's settings, as commands need them: flags before the environment, errors in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synpose.cli.extras import needs_extra
from synpose.errors import OptionsError

if TYPE_CHECKING:
    from synpose_server.settings import Settings

__all__ = ["load_settings"]


def load_settings(**given: object) -> Settings:
    """The settings, with what is given and not None in the place of the environment; raises `OptionsError`."""
    with needs_extra("server,cpu"):
        from pydantic import ValidationError

        from synpose_server.settings import Settings
    try:
        return Settings.model_validate({name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(map(str, first["loc"]))
        raise OptionsError(f"{name}: {first['msg']}", field=name) from None
