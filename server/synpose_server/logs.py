"""The server's log: lines for a person, or one JSON object a line for a machine; both tell the request's id."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import orjson

from synpose_server import tracing
from synpose_server.calls import current_call

__all__ = ["JsonFormatter", "set_up"]

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "request_id", "trace_id"}


def set_up(form: str, level: str) -> None:
    """Log to stderr in `form` (`text` or `json`) from `level` on."""
    handler = logging.StreamHandler()
    handler.addFilter(_add_ids)
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s [%(request_id)s]")
    handler.setFormatter(JsonFormatter() if form == "json" else text)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: what it says, where it comes from, and every extra that it was given."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": record.__dict__.get("request_id"),
            "trace_id": record.__dict__.get("trace_id"),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps({name: v for name, v in line.items() if v is not None and v != "-"}, default=str).decode()


def _add_ids(record: logging.LogRecord) -> bool:
    call = current_call.get()
    record.request_id = call.id if call is not None else "-"
    record.trace_id = tracing.trace_id()
    return True
