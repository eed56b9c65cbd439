"""Routes for who runs the server: models are loaded and unloaded while it serves."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request

from synpose.errors import BundleError, InvalidInput, NotFound
from synpose_server.engine import Engine
from synpose_server.http import documents
from synpose_server.http.query import check_query

__all__ = ["admin_routes"]

_PROBLEMS = documents.problems(
    NotFound("no bundle 'mine' in the folder; there are default, fast", field="model"),
    InvalidInput("'default' is the default model and cannot be unloaded", field="model"),
    BundleError("bundle 'mine': spatial.onnx is not the file its manifest names", field="model"),
)


def admin_routes(engine: Engine) -> APIRouter:
    """They are there only where the setting `admin` says so; with API keys they need the scope `admin`."""
    routes = APIRouter(prefix="/v1/models/{name}", responses=_PROBLEMS)

    @routes.post(
        "/load",
        operation_id="load_model",
        summary="Load a model from the folder, or swap its version",
        description="Loads the newest version, or `version`, which then stays. Answers when the model is verified, "
        "loaded and warm. If that fails, what was served before still is. Estimates that run go on with the model they "
        "began with.",
    )
    async def load(request: Request, name: str, version: str | None = None) -> documents.Model:
        check_query(request, "version")
        async for chunk in request.stream():
            if chunk:
                raise InvalidInput("this takes no body; a version is asked for as ?version=", field="body")
        await asyncio.to_thread(engine.served.load, name, version)
        (served,) = (model for model in engine.models if model.name == name)
        return documents.Model.model_validate(served, from_attributes=True)

    @routes.post(
        "/unload", operation_id="unload_model", summary="Serve a model no more, until it is loaded", status_code=204
    )
    async def unload(request: Request, name: str) -> None:
        check_query(request)
        await asyncio.to_thread(engine.served.unload, name)

    return routes
