"""The page and the routes that it asks, on a real port, with a fake engine behind them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest
from tests.server.fake_engine import FakeEngine
from tests.server.live_server import serve

from synpose.formats import FORMATS
from synpose_server.http.page import STATIC
from synpose_server.settings import Settings

EXAMPLE = Path(__file__).parents[2] / "examples" / "balancing"


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with serve(FakeEngine(Settings(max_body_bytes=200_000))) as url, httpx.Client(base_url=url, timeout=10) as client:
        yield client


def test_a_browser_gets_the_page_and_a_program_the_index(client: httpx.Client) -> None:
    """One address serves both; caches are told that the answer depends on Accept."""
    page = client.get("/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    index = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "<title>Synpose</title>" in page.text
    assert index.json()["pose3d"] == "/v1/pose3d"
    assert page.headers["vary"] == index.headers["vary"] == "Accept"


def test_the_page_is_allowed_only_what_the_server_serves(client: httpx.Client) -> None:
    """A strict policy, and every file that the page names is there: it works without the internet."""
    page = client.get("/", headers={"Accept": "text/html"})
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    named = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert {"/assets/page.js", "/assets/page.css", "/assets/icon.svg"} <= set(named)
    for path in named:
        assert path.startswith("/")
        assert client.get(path).status_code == 200, path
    assert client.get("/assets/page.js").headers["x-content-type-options"] == "nosniff"


def test_formats_are_listed(client: httpx.Client) -> None:
    """The page's menu is what the server can write."""
    listed = client.get("/v1/formats").json()["formats"]
    assert [(f["name"], f["media_type"], f["suffix"]) for f in listed] == [
        (f.name, f.media_type, f.suffix) for f in FORMATS.values() if f.package is None or find_spec(f.package)
    ]


def test_the_example_is_served_and_nothing_beside_it(client: httpx.Client) -> None:
    """Videos and calibration are the clip's own bytes; a name that is none of them is not found."""
    files = client.get("/v1/example").json()["files"]
    assert files == ["Calib.qca.txt", *(f"cam0{i}.mp4" for i in range(1, 5))]
    assert client.get("/v1/example/cam01.mp4").content == (EXAMPLE / "cam01.mp4").read_bytes()
    for name in ("LICENSE", "..%2FREADME.md", "cam09.mp4"):
        response = client.get(f"/v1/example/{name}")
        assert response.status_code == 404, name


def test_the_page_names_no_other_host() -> None:
    """Nothing is loaded from elsewhere: the built files hold no address but those of namespaces and licences."""
    for path in STATIC.rglob("*"):
        if path.suffix in (".html", ".css", ".svg"):
            found = set(re.findall(r"https?://[^\s\"'<>)]+", path.read_text()))
            assert found <= {"http://www.w3.org/2000/svg"}, path
