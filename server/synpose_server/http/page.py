"""The page of the HTTP door: built files (their sources are in server/web), the example clip, and what it asks for."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from synpose.errors import NotFound
from synpose.formats import FORMATS
from synpose_server.http import documents, page_documents

__all__ = ["STATIC", "add_page", "example_clip"]

STATIC = Path(__file__).parent / "static"
"""The built page."""
_PLACES = (Path(__file__).parents[1] / "example", Path(__file__).parents[3] / "examples" / "balancing")

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src 'self' blob: data:; media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",  # the names of the files stay when they change; their ETags tell
}


def example_clip() -> dict[str, Path]:
    """The files of the example clip by name: the installed package's or the checkout's, none where there are none."""
    for folder in _PLACES:
        if (folder / "Calib.qca.txt").is_file():
            return {path.name: path for path in sorted(folder.iterdir()) if path.suffix in (".mp4", ".txt")}
    return {}


def add_page(app: FastAPI) -> None:
    """Add the page at `/` for browsers (programs get the index), its files, and the routes that it asks."""
    clip = example_clip()
    app.mount("/assets", _Assets(directory=STATIC / "assets"))

    @app.get(
        "/",
        operation_id="index",
        summary="Where to look",
        description="A browser, which accepts text/html, gets the page.",
        response_model=documents.Index,
        responses=page_documents.INDEX,
    )
    async def index(request: Request) -> Response:
        headers = {"Vary": "Accept"}
        if "text/html" in request.headers.get("accept", ""):
            return FileResponse(STATIC / "index.html", headers=headers | _HEADERS)
        return Response(documents.Index().model_dump_json(), media_type="application/json", headers=headers)

    @app.get("/v1/formats", operation_id="list_formats", summary="Formats that this server can write")
    async def formats() -> page_documents.Formats:
        writable = [form for form in FORMATS.values() if form.is_writable]
        known = [page_documents.Format.model_validate(form, from_attributes=True) for form in writable]
        return page_documents.Formats(formats=known)

    @app.get("/v1/example", operation_id="list_example", summary="Files of the example clip, none if it is not here")
    async def example() -> page_documents.Example:
        return page_documents.Example(files=list(clip))

    @app.get(
        "/v1/example/{name}",
        operation_id="get_example",
        summary="A file of the example clip",
        openapi_extra=page_documents.EXAMPLE_NAME,
        responses=page_documents.EXAMPLE_FILE,
        response_class=FileResponse,
    )
    async def example_file(request: Request) -> FileResponse:
        name = request.path_params["name"]
        if name not in clip:
            raise NotFound(f"the example has no file {name!r:.80}", field="name")
        return FileResponse(clip[name], headers={"Cache-Control": "max-age=86400"})


class _Assets(StaticFiles):
    """Files with the page's headers."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(_HEADERS)
        return response
