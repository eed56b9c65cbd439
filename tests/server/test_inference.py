"""The raw graphs over the Open Inference Protocol: what they answer is what the graphs answer."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import onnxruntime as ort
import pytest
from tests.server.live_server import serve

from synpose.errors import InvalidInput
from synpose_model.bundle import Repository
from synpose_server.engine import Engine
from synpose_server.inference import find_graph
from synpose_server.job import Job
from synpose_server.runtime import Graph
from synpose_server.settings import Settings

QUICK = Repository()["quick"]
S = QUICK.crop_size
Array = np.ndarray[Any, np.dtype[Any]]
TYPES = {"uint8": "UINT8", "float32": "FP32", "bool": "BOOL"}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with serve(Engine(Settings(), only="quick")) as url, httpx.Client(base_url=f"{url}/v2", timeout=30) as client:
        yield client


def rays(T: int = 1, V: int = 3) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    return {
        "origins": rng.normal(size=(2, T, V, 3)).astype(np.float32),
        "directions": rng.normal(size=(2, T, V, 17, 3)).astype(np.float32),
        "scores": rng.random((2, T, V, 17)).astype(np.float32),
        "view_mask": np.ones((2, T, V), bool),
    }


def expected(kind: str, inputs: dict[str, Array]) -> dict[str, Array]:
    session = ort.InferenceSession(str(QUICK.graphs[kind]), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def described(inputs: dict[str, Array], binary: bool) -> list[dict[str, Any]]:
    def part(value: Array) -> dict[str, Any]:
        return {"parameters": {"binary_data_size": value.nbytes}} if binary else {"data": value.ravel().tolist()}

    return [{"name": n, "shape": v.shape, "datatype": TYPES[str(v.dtype)], **part(v)} for n, v in inputs.items()]


def infer(client: httpx.Client, model: str, inputs: dict[str, Array], binary: bool, **asked: Any) -> httpx.Response:
    head = json.dumps({"inputs": described(inputs, binary), **asked}).encode()
    if not binary:
        return client.post(f"/models/{model}/infer", content=head)
    tail = b"".join(value.tobytes() for value in inputs.values())
    headers = {"Inference-Header-Content-Length": str(len(head))}
    return client.post(f"/models/{model}/infer", content=head + tail, headers=headers)


def outputs(response: httpx.Response) -> dict[str, Array]:
    """The arrays of an answer, of either kind."""
    assert response.status_code == 200, response.text
    length = int(response.headers.get("inference-header-content-length", len(response.content)))
    head, tail, answer = json.loads(response.content[:length]), response.content[length:], {}
    for output in head["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        data = np.array(output["data"], np.float32) if size is None else np.frombuffer(tail[:size], np.float32)
        tail = tail[size or 0 :]
        answer[output["name"]] = data.reshape(output["shape"])
    assert not tail
    return answer


def test_server_and_models_are_described(client: httpx.Client) -> None:
    """Health, metadata and readiness have the protocol's shape; a graph's free dimensions are -1."""
    assert httpx.get(str(client.base_url).rstrip("/")).json()["extensions"] == ["binary_tensor_data"]
    assert client.get("/health/live").json() == {"live": True}
    assert client.get("/health/ready").json() == {"ready": True}
    model = client.get(f"/models/quick.spatial/versions/{QUICK.version}").json()
    assert model["versions"] == [QUICK.version]
    assert model["inputs"] == [{"name": "images", "datatype": "UINT8", "shape": [-1, S, S, 3]}]
    assert model["outputs"] == [{"name": "keypoints", "datatype": "FP32", "shape": [-1, 17, 3]}]
    assert client.get("/models/quick.relation/ready").json() == {"name": "quick.relation", "ready": True}
    for path in ("/models/quick", "/models/quick.head", "/models/none.spatial", "/models/quick.spatial/versions/0"):
        assert (client.get(path).status_code, client.get(path).json().keys()) == (404, {"error"})


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("kind", ["spatial", "relation", "detector"])
def test_graphs_answer_as_they_are(client: httpx.Client, kind: str, binary: bool) -> None:
    """Numbers or bytes, in and out: the answer is that of the graph, in batches of any size."""
    rng = np.random.default_rng(0)
    shapes = {"spatial": (6, S, S, 3), "detector": (1, 64, 96, 3)}
    inputs = rays() if kind == "relation" else {"images": rng.integers(0, 255, shapes[kind]).astype(np.uint8)}
    answer = outputs(infer(client, f"quick.{kind}", inputs, binary, parameters={"binary_data_output": binary}))
    truth = expected(kind, inputs)
    assert answer.keys() == truth.keys()
    for name, value in truth.items():
        assert answer[name] == pytest.approx(value, abs=1e-3, nan_ok=True)


def test_outputs_are_chosen(client: httpx.Client) -> None:
    """Only what is asked for comes, each as bytes or numbers as it is asked for, with the id of the request."""
    wanted = [{"name": "sigma", "parameters": {"binary_data": True}}, {"name": "joints"}]
    response = infer(client, "quick.relation", rays(), True, outputs=wanted, id="7")
    assert outputs(response).keys() == {"sigma", "joints"}
    assert b'"id":"7"' in response.content


def changed(**values: Array) -> dict[str, Array]:
    return rays() | values


@pytest.mark.parametrize(
    ("kind", "inputs", "status", "match"),
    [
        ("relation", {"origins": rays()["origins"]}, 400, "missing inputs"),
        ("relation", changed(scores=np.ones((2, 1, 4, 17), np.float32)), 400, "share"),
        ("relation", changed(view_mask=np.ones((2, 1, 3), np.uint8)), 400, "must be BOOL"),
        ("relation", rays(V=17), 413, "16 views"),
        ("relation", rays(T=QUICK.window + 1), 413, "times"),
        ("relation", changed(origins=np.ones((2, 1, 3), np.float32)), 400, "shape"),
        ("spatial", {"images": np.ones((1, 8, 8, 3), np.uint8)}, 400, "shape"),
        ("spatial", {"images": np.ones((0, S, S, 3), np.uint8)}, 400, "shape"),
        ("detector", {"images": np.ones((1, 33, 32, 3), np.uint8)}, 400, "multiples of 32"),
    ],
)
def test_inputs_that_do_not_fit_are_told(
    client: httpx.Client, kind: str, inputs: dict[str, Array], status: int, match: str
) -> None:
    """Before anything is run, with the protocol's error and a status that says whose fault it is."""
    response = infer(client, f"quick.{kind}", inputs, True)
    assert (response.status_code, response.json().keys()) == (status, {"error"})
    assert match in response.json()["error"]


@pytest.mark.parametrize(
    ("content", "header"),
    [
        (b"", None),
        (b"[]", None),
        (b"{}", None),
        (b'{"inputs": [1]}', None),
        (b'{"inputs": [{"name": "images", "shape": [1], "datatype": "UINT8"}]}', None),
        (b'{"inputs": [{"name": "images", "shape": [1], "datatype": "BYTES", "data": ["x"]}]}', None),
        (b'{"inputs": [{"name": "images", "shape": [-1, -1], "datatype": "UINT8", "data": [1]}]}', None),
        (b'{"inputs": [{"name": "images", "shape": [1], "datatype": "UINT8", "data": [300]}]}', None),
        (b'{"inputs": []}xx', "14"),
        (b'{"inputs": []}', "99"),
        (b'{"inputs": []}', "x"),
        (b'{"inputs": [], "outputs": [1]}', None),
        (b'{"inputs": [], "parameters": [1]}', None),
        (b'{"inputs": []}', "1" * 5000),
        (b'{"inputs": [{"name": "images", "shape": [%s1], "datatype": "UINT8", "data": [1]}]}' % (b"1, " * 99), None),
    ],
)
def test_broken_requests_are_told(client: httpx.Client, content: bytes, header: str | None) -> None:
    """What is no request of the protocol is a 400, whatever it is."""
    headers = {"Inference-Header-Content-Length": header} if header else {}
    response = client.post("/models/quick.spatial/infer", content=content, headers=headers)
    assert (response.status_code, response.json().keys()) == (400, {"error"})


def test_an_input_may_come_once(client: httpx.Client) -> None:
    """Two of one name are not for the server to choose from."""
    twice = described(rays(), False) * 2
    response = client.post("/models/quick.relation/infer", json={"inputs": twice})
    assert (response.status_code, response.json()) == (400, {"error": "origins came twice"})


IMAGES = np.zeros((40, S, S, 3), np.uint8)  # ten runs


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many items each run of a graph had, which takes a while."""
    sizes: list[int] = []
    run = Graph.run

    def slow(graph: Graph, inputs: dict[str, Array]) -> dict[str, Array]:
        sizes.append(len(next(iter(inputs.values()))))
        time.sleep(0.1)
        return run(graph, inputs)

    monkeypatch.setattr(Graph, "run", slow)
    return sizes


def test_nothing_is_run_for_who_went_away(runs: list[int]) -> None:
    """A client that closes its connection leaves no work behind."""
    engine = Engine(Settings(), only="quick")
    runs.clear()
    with serve(engine) as url:
        with httpx.Client(base_url=f"{url}/v2", timeout=0.15) as client, pytest.raises(httpx.ReadTimeout):
            infer(client, "quick.spatial", {"images": IMAGES}, True)
        time.sleep(1.5)
    assert 1 <= len(runs) < 8


def test_nothing_more_is_run_once_a_part_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller has the error; the other parts would be for nobody."""
    engine = Engine(Settings(), only="quick")
    graph = find_graph(engine, "quick.spatial")
    tried: list[int] = []

    def fail(inputs: dict[str, Array]) -> dict[str, Array]:
        tried.append(len(inputs["images"]))
        time.sleep(0.05)
        raise ValueError("broken")

    async def scenario() -> None:
        with pytest.raises(InvalidInput, match="broken"):
            await graph.run({"images": IMAGES}, Job())
        await asyncio.sleep(1.0)

    monkeypatch.setattr(engine.model("quick").graphs["spatial"], "_run", fail)
    asyncio.run(scenario())
    assert len(tried) < 8
