"""Graphs and models: loaded on the provider that was asked for or not at all, and blind to how runs are cut."""

from __future__ import annotations

import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from synpose.errors import BundleError
from synpose.skeleton import BODY27, COCO17
from synpose_model.bundle import Bundle, Repository, write_manifest
from synpose_model.image import Image
from synpose_server.batcher import Arrays
from synpose_server.decode import open_source
from synpose_server.job import Job
from synpose_server.lanes import Lanes
from synpose_server.providers import PROVIDERS, Provider
from synpose_server.runtime import BatchedGraph, Graph, Model, shrunk
from synpose_server.stats import Stats

QUICK, DEFAULT = Repository()["quick"], Repository()["default"]
KEYPOINTS = len(DEFAULT.skeleton)
EXAMPLE = Path(__file__).parents[2] / "examples" / "balancing"
RELATION = QUICK.graphs["relation"]  # the smallest graph


@pytest.fixture(scope="module")
def model() -> Model:
    """The smaller of the shipped models."""
    return Model(QUICK)


def crops(count: int, side: int = QUICK.crop_size) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Different pictures `(count, S, S, 3)`: noise on shades."""
    shades = np.linspace(0, 200, count)[:, None, None, None]
    return (shades + np.random.default_rng(0).integers(0, 50, (count, side, side, 3))).astype(np.uint8)


def test_an_unknown_provider_is_told() -> None:
    """A provider that is a typing error is a `BundleError` that names it and lists the others."""
    with pytest.raises(BundleError, match="no provider 'gpu'; there are cpu, cuda, tensorrt, openvino") as caught:
        Graph(RELATION, "gpu")
    assert caught.value.field == "provider"


def test_a_missing_provider_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that this ONNX Runtime was built without is a `BundleError`, not a run on the CPU."""
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(BundleError, match=r"has no CUDAExecutionProvider; install synpose\[gpu\]") as caught:
        Graph(RELATION, "cuda")
    assert caught.value.field == "provider"


def test_a_provider_that_does_not_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime falls back to the CPU with a warning where a driver is missing: here that is a `BundleError`."""
    session = ort.InferenceSession

    def falls_back(path: str, options: Any, providers: list[tuple[str, dict[str, str]]]) -> Any:
        assert providers == [("CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC"})]
        return session(path, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(ort, "InferenceSession", falls_back)
    with pytest.raises(BundleError, match="CUDAExecutionProvider did not start") as caught:
        Graph(RELATION, "cuda")
    assert caught.value.field == "provider"


@pytest.mark.parametrize("content", [b"", b"no graph", RELATION.read_bytes()[:1000]], ids=["empty", "text", "cut"])
def test_a_file_that_is_no_graph_is_told(tmp_path: Path, content: bytes) -> None:
    """Bytes that are no ONNX graph are a `BundleError` that names the file."""
    path = tmp_path / "spatial.onnx"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"spatial\.onnx cannot be loaded") as caught:
        Graph(path)
    assert caught.value.field == "model"


def test_a_graph_tells_its_names() -> None:
    """Inputs and outputs are known by name, and a run answers by name."""
    graph = Graph(RELATION)
    assert set(graph.inputs) == {"origins", "directions", "scores", "view_mask"}
    answer = graph.run(
        {
            "origins": np.zeros((1, 1, 2, 3), np.float32),
            "directions": np.zeros((1, 1, 2, 17, 3), np.float32),
            "scores": np.zeros((1, 1, 2, 17), np.float32),
            "view_mask": np.zeros((1, 1, 2), bool),
        }
    )
    assert set(answer) == set(graph.outputs) == {"joints", "sigma", "view_weights"}
    assert np.isnan(answer["joints"]).all()


def test_a_run_takes_the_threads_that_others_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU as many runs at once as there are threads; items of a run that has several run side by side."""
    used = []

    class Session(ort.InferenceSession):  # type: ignore[misc]
        def run(self, names: Any, inputs: Any) -> Any:
            used.append((self.get_session_options().intra_op_num_threads, len(inputs["scores"])))
            return super().run(names, inputs)

    monkeypatch.setattr(ort, "InferenceSession", Session)
    lanes = Lanes(2)
    graph, alone = Graph(RELATION, lanes=lanes), Graph(RELATION)
    rng = np.random.default_rng(1)
    inputs = {
        name: rng.random([5, 1, 2, 17, 3][: len(shape)]).astype(np.float32) for name, shape in graph.inputs.items()
    }
    inputs |= {"view_mask": np.ones((5, 1, 2), bool), "origins": rng.random((5, 1, 2, 3)).astype(np.float32)}
    answers = graph.run(inputs)
    assert sorted(used) == [(1, 2), (1, 2), (2, 1)]
    for name, value in alone.run(inputs).items():
        np.testing.assert_allclose(answers[name], value, atol=1e-5)
    used.clear()
    with lanes.run():
        graph.run(inputs)
    graph.run({name: value[:1] for name, value in inputs.items()})
    assert used == [(1, 5), (2, 1)]
    assert (graph.at_once, alone.at_once) == (2, 1)


def windows(count: int) -> list[tuple[Any, ...]]:
    """Different inputs of the relation graph of `default`: windows of all lengths, of 2 to 5 views, some masked."""
    rng = np.random.default_rng(1)
    out = []
    for k in range(count):
        T, V = 1 + k % DEFAULT.window, 2 + k % 4
        origins = rng.normal(0, 4, (V, 3))
        people = rng.normal(0, 0.5, (T, 1, KEYPOINTS, 3)) + rng.normal(0, 0.02, (T, V, KEYPOINTS, 3))
        rays = people - origins[:, None]
        rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
        mask = rng.random((T, V)) < 0.8
        scores = rng.uniform(0.1, 1, (T, V, KEYPOINTS))
        out.append((np.broadcast_to(origins, (1, T, V, 3)), rays[None], scores[None], mask[None]))
    return out


def hold_until_others_wait(graph: BatchedGraph) -> None:
    """The next run of `graph` begins when two more calls are in line, so that these share one."""
    run, held = graph._run, threading.Lock()

    def hold(inputs: Arrays) -> Arrays:
        if held.acquire(blocking=False):
            end = time.monotonic() + 60
            while sum(map(len, graph._waiting.values())) < 2 and time.monotonic() < end:
                time.sleep(1e-3)
        return run(inputs)

    graph._run = hold


@pytest.mark.parametrize("provider", ["cpu", "bound"])
def test_batch_mates_do_not_touch_each_other(monkeypatch: pytest.MonkeyPatch, provider: str) -> None:
    """Reads and relations of many threads at once, batched, are those of each alone.

    `bound` is how a GPU runs what sees images: in batches of few sizes, with inputs and outputs bound; here on the CPU.
    """
    gpu_like = Provider("bound", "CPUExecutionProvider", "cpu", is_gpu=True)
    monkeypatch.setitem(PROVIDERS, "bound", gpu_like)
    stats = Stats()
    sizes: dict[str, list[int]] = {}
    monkeypatch.setattr(stats, "batch", lambda graph, size, *times: sizes.setdefault(graph, []).append(size))
    alone, crowded = Model(DEFAULT), Model(DEFAULT, provider, stats=stats)
    for kind in ("spatial", "relation"):
        hold_until_others_wait(crowded.graphs[kind])
    images, rays = crops(8, DEFAULT.crop_size), windows(24)
    together = threading.Barrier(len(images))

    def relate(given: tuple[Any, ...]) -> tuple[Any, ...]:
        together.wait(60)  # eight at a time
        return crowded.bound(Job()).relate(*given)

    def read_one(image: NDArray[np.uint8]) -> NDArray[np.float64]:
        together.wait(60)
        keypoints: NDArray[np.float64] = crowded.bound(Job()).read(image[None]).keypoints[0]
        return keypoints

    with ThreadPoolExecutor(len(rays)) as pool:
        related, read = list(pool.map(relate, rays)), list(pool.map(read_one, images))
    for given, answer in zip(rays, related, strict=True):
        for one, other in zip(answer, alone.relate(*given), strict=True):
            assert one.shape == other.shape
            assert one == pytest.approx(other, abs=1e-3, nan_ok=True)
    for image, keypoints in zip(images, read, strict=True):
        assert keypoints == pytest.approx(alone.read(image[None])[0][0], abs=1e-2)
    assert max(sizes["default.spatial"]) > 1
    assert max(sizes["default.relation"]) > 1


def first_image(path: Path) -> Image:
    with closing(open_source(path.stem, path, 1 << 24)) as reader:
        image = next(iter(reader))
    assert image is not None
    return image


def test_images_of_one_shape_are_searched_together(monkeypatch: pytest.MonkeyPatch, model: Model) -> None:
    """In one call each, and the people of each image are those that are found in it alone."""
    shapes: list[tuple[int, ...]] = []
    detector = model.graphs["detector"]

    def spy(job: Job, /, **inputs: NDArray[Any]) -> Arrays:
        shapes.append(inputs["images"].shape)
        return detector(job, **inputs)

    paths = (EXAMPLE / f"cam0{k}.mp4" for k in (1, 3, 2))
    first, second, third = (first_image(path) for path in paths)
    images = [shrunk(first)[1], shrunk(second)[1].swapaxes(0, 1), shrunk(third)[1]]
    alone = [model.detect([image])[0] for image in images]
    monkeypatch.setitem(model.graphs, "detector", spy)
    together = model.detect(images)
    assert sorted(shapes) == [(1, 320, 512, 3), (2, 512, 288, 3)]
    for found, expected in zip(together, alone, strict=True):
        assert found.boxes == pytest.approx(expected.boxes, abs=1e-2)
        assert found.people == pytest.approx(expected.people, abs=1e-2)
    assert together[0].boxes[0, 4] > 0.2
    assert np.abs(together[0].boxes - together[2].boxes).max() > 10


def test_a_session_of_a_gpu_sees_one_shape(monkeypatch: pytest.MonkeyPatch, model: Model) -> None:
    """What sees images is planned while the model loads, for all shapes that will come; rays stay on the CPU."""
    monkeypatch.setitem(PROVIDERS, "bound", Provider("bound", "CPUExecutionProvider", "cpu", is_gpu=True))
    shapes: dict[int, set[tuple[int, ...]]] = defaultdict(set)
    load = Graph._loaded

    class Spy:
        """A session that keeps the shapes of the images that it is bound to."""

        def __init__(self, session: Any) -> None:
            self.session = session

        def __getattr__(self, name: str) -> Any:
            return getattr(self.session, name)

        def io_binding(self) -> Any:
            binding = self.session.io_binding()
            bind = binding.bind_cpu_input

            def keep(name: str, value: NDArray[Any]) -> None:
                if name == "images":
                    shapes[id(self)].add(value.shape)
                bind(name, value)

            binding.bind_cpu_input = keep
            return binding

    monkeypatch.setattr(Graph, "_loaded", lambda *given: Spy(load(*given)))
    served = Model(QUICK, "bound")
    assert served.graphs["relation"].graph.provider.name == "cpu"
    side = QUICK.crop_size
    expected = [{(4, side, side, 3)}, {(32, side, side, 3)}, {(1, 512, 512, 3)}, {(8, 512, 512, 3)}]
    assert sorted(map(sorted, shapes.values())) == sorted(map(sorted, expected))
    for items in (1, 3, 4, 5, 32, 33):
        read = served.read(crops(items)).keypoints
        assert read == pytest.approx(model.read(crops(items)).keypoints, abs=1e-3)
    image = np.random.default_rng(0).integers(0, 255, (288, 512, 3), dtype=np.uint8)
    assert served.detect([image])[0].people.shape == model.detect([image])[0].people.shape
    assert sorted(map(sorted, shapes.values())) == sorted(map(sorted, expected))


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_how_crops_are_batched_does_not_matter(model: Model, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    """More crops than fit one run give, in order, what each gives alone, and no run is larger than allowed."""
    images = crops(7)
    alone = np.concatenate([model.read(image[None]).keypoints for image in images])
    assert np.ptp(alone, axis=0).max() > 1  # the pictures do differ
    monkeypatch.setattr(model.graphs["spatial"], "limit", batch)
    sizes: list[int] = []
    monkeypatch.setattr(model.graphs["spatial"].stats, "batch", lambda graph, size, *times: sizes.append(size))
    together, tokens, alternatives = model.read(images)
    assert tokens.shape == (7, 0)
    assert not alternatives[..., 2].any()
    assert sizes == {1: [1] * 7, 3: [3, 3, 1], 7: [7]}[batch]
    assert together == pytest.approx(alone, abs=1e-3)


def test_a_distant_world_origin_costs_nothing(model: Model) -> None:
    """Joints of a rig that stands 100 km from its origin are those of the rig at the origin, moved."""
    points = np.random.default_rng(0).uniform(-1, 1, (17, 3))
    origins = np.array(((4.0, 0, 1), (0, 4, 1), (-4, 1, 2)))
    rays = points - origins[:, None]  # (V, K, 3)
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    scores, mask = np.full((1, 1, 3, 17), 0.8), np.ones((1, 1, 3), bool)
    far = np.array((1e5, -1e5, 0))
    joints, sigma, weights = model.relate(origins[None, None] + far, rays[None, None], scores, mask)
    assert np.abs(joints[0, 0] - far - points).max() < 1e-3
    assert (sigma.shape, weights.shape) == ((1, 1, 17), (1, 1, 3, 17))


@pytest.fixture
def copied(tmp_path: Path) -> Callable[..., Bundle]:
    """A copy of the bundle quick, with some fields or graphs changed."""

    def copy(without: str | None = None, graphs: dict[str, Path] | None = None, **changed: Any) -> Bundle:
        folder = tmp_path / "copy"
        folder.mkdir()
        sources = {kind: path for kind, path in {**QUICK.graphs, **(graphs or {})}.items() if kind != without}
        kept = {kind: Path(shutil.copy(path, folder / f"{kind}.onnx")) for kind, path in sources.items()}
        fields = {"version": "1", "description": "", "licence": "", "provenance": {}, "metrics": {}, "window": 1}
        fields |= {"skeleton": "coco17", "crop_size": QUICK.crop_size}
        return write_manifest(folder, graphs=kept, **{**fields, **changed})

    return copy


def test_a_changed_graph_is_not_loaded(copied: Callable[..., Bundle]) -> None:
    """A model checks its bundle before it runs it."""
    bundle = copied()
    with bundle.graphs["relation"].open("ab") as file:
        file.write(b"\0")
    with pytest.raises(BundleError, match=r"relation\.onnx is not the file"):
        Model(bundle)


def test_a_model_needs_a_detector(copied: Callable[..., Bundle]) -> None:
    """A bundle that cannot find people is not served: the `BundleError` names it."""
    with pytest.raises(BundleError, match="'copy' has no detector"):
        Model(copied(without="detector"))


@pytest.mark.parametrize("crop_size", [256, 0, -1])
def test_a_manifest_that_does_not_fit_its_graph_is_told(copied: Callable[..., Bundle], crop_size: int) -> None:
    """A crop size that the spatial graph does not take is found at start, as a `BundleError` that names the bundle."""
    with pytest.raises(BundleError, match="bundle 'copy'"):
        Model(copied(crop_size=crop_size))


@pytest.mark.parametrize("kind", ["spatial", "relation", "detector"])
def test_a_graph_of_another_kind_is_told(copied: Callable[..., Bundle], kind: str) -> None:
    """Any graph without the contract's inputs is found at start, not at the first request."""
    with pytest.raises(BundleError, match="bundle 'copy': its graphs do not fit it"):
        Model(copied(graphs={kind: QUICK.graphs["relation" if kind != "relation" else "spatial"]}))


def test_another_skeleton_is_told(copied: Callable[..., Bundle]) -> None:
    """Graphs that have another number of joints than the manifest's skeleton are found at start."""
    with pytest.raises(BundleError, match="bundle 'copy': its graphs do not fit it"):
        Model(copied(skeleton="halpe26"))


def test_another_number_of_keypoints_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A spatial graph that reads fewer keypoints than the skeleton has joints is found at start."""
    monkeypatch.setattr(Model, "read", lambda self, crops: (np.zeros((len(crops), 16, 3)), np.zeros((len(crops), 0))))
    with pytest.raises(BundleError, match="bundle 'quick': its graphs do not fit it"):
        Model(QUICK)


# -- networks over time --------------------------------------------------------------------------------------------


@pytest.fixture
def relation(tmp_path: Path) -> Callable[[int], Path]:
    """Relation graphs over windows of up to 4 that read tokens of some width: joints are mean rays plus mean tokens."""
    onnx = pytest.importorskip("onnx", reason="graphs are made by hand")
    helper, tensor = onnx.helper, onnx.TensorProto

    def relation(token: int) -> Path:
        lead = ["B", "T", "V"]
        inputs = {
            "origins": (tensor.FLOAT, [*lead, 3]),
            "directions": (tensor.FLOAT, [*lead, 17, 3]),
            "scores": (tensor.FLOAT, [*lead, 17]),
            "view_mask": (tensor.BOOL, lead),
            **({"tokens": (tensor.FLOAT, [*lead, token])} if token else {}),
        }
        outputs = {
            "joints": (tensor.FLOAT, ["B", "T", 27, 3]),
            "sigma": (tensor.FLOAT, ["B", "T", 27]),
            "view_weights": (tensor.FLOAT, [*lead, 27]),
        }
        constants = {
            "body": np.arange(27) % 17,
            "zero": np.array([0]),
            "views": np.array([2]),
            "last": np.array([-1]),
            "bias": np.zeros((4, 1, 1), np.float32),
            "one": np.array([1]),
            "read": np.ones((token, 1), np.float32),
        }
        nodes = [
            helper.make_node("Shape", ["scores"], ["times"], start=1, end=2),
            helper.make_node("Slice", ["bias", "zero", "times"], ["place"]),
            helper.make_node("Gather", ["directions", "body"], ["all"], axis=3),
            helper.make_node("ReduceMean", ["all", "views"], ["mean"], keepdims=0),
            helper.make_node("Add", ["mean", "place"], ["placed"]),
            helper.make_node("Gather", ["scores", "body"], ["view_weights"], axis=3),
        ]
        if token:
            nodes += [
                helper.make_node("MatMul", ["tokens", "read"], ["said"]),  # (B, T, V, 1)
                helper.make_node("ReduceMean", ["said", "views"], ["told"]),
                helper.make_node("Add", ["placed", "told"], ["joints"]),
            ]
        else:
            nodes.append(helper.make_node("Identity", ["placed"], ["joints"]))
        nodes.append(helper.make_node("ReduceMean", ["joints", "last"], ["sigma"], keepdims=0))
        graph = helper.make_graph(
            nodes,
            "relation",
            [helper.make_tensor_value_info(name, *kind) for name, kind in inputs.items()],
            [helper.make_tensor_value_info(name, *kind) for name, kind in outputs.items()],
            [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        path = tmp_path / f"relation{token}.onnx"
        onnx.save(model, path)
        return path

    return relation


def test_a_network_over_time_is_served(copied: Callable[..., Bundle], relation: Callable[[int], Path]) -> None:
    """Of 17 keypoints 27 joints, of every instant of a window, which one view may be enough for."""
    bundle = copied(graphs={"relation": relation(0)}, skeleton="body27", window=4, look_ahead=1, min_views=1)
    model = Model(bundle)
    assert (model.skeleton, model.keypoint_skeleton) == (BODY27, COCO17)
    rays = np.random.default_rng(0).normal(size=(2, 3, 1, 17, 3))
    given = (np.zeros((2, 3, 1, 3)), rays, np.ones((2, 3, 1, 17)), np.ones((2, 3, 1), bool))
    joints, sigma, weights = model.relate(*given)
    assert (sigma.shape, weights.shape) == ((2, 3, 27), (2, 3, 1, 27))
    assert joints == pytest.approx(rays[:, :, 0][:, :, np.arange(27) % 17], abs=1e-6)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"skeleton": "coco17"}, "joints of [14] frame sets for coco17"),
        ({"skeleton": "h36m17"}, "does not begin with the joints of coco17"),
        ({"window": 5}, "do not fit it"),
    ],
    ids=["joints", "order", "window"],
)
def test_a_network_that_does_not_fit_its_manifest_is_told(
    copied: Callable[..., Bundle], relation: Callable[[int], Path], changed: dict[str, Any], reason: str
) -> None:
    """Another number of joints, another order and a window beyond the network's are found at start."""
    fields = {"skeleton": "body27", "window": 4, **changed}
    with pytest.raises(BundleError, match=reason):
        Model(copied(graphs={"relation": relation(0)}, **fields))


def test_tokens_must_come_from_somewhere(copied: Callable[..., Bundle], relation: Callable[[int], Path]) -> None:
    """A relation graph that reads tokens beside a spatial graph that gives none is found at start."""
    with pytest.raises(BundleError, match="reads tokens, the spatial graph gives none"):
        Model(copied(graphs={"relation": relation(8)}, skeleton="body27", window=4))


@pytest.mark.parametrize("width", [8, 7])
def test_tokens_go_from_graph_to_graph(
    copied: Callable[..., Bundle],
    relation: Callable[[int], Path],
    monkeypatch: pytest.MonkeyPatch,
    width: int,
) -> None:
    """The relation graph gets the tokens of the spatial graph; those of another width are found at start."""
    read = Model.read
    monkeypatch.setattr(
        Model, "read", lambda self, crops: read(self, crops)._replace(tokens=np.ones((len(crops), width)))
    )
    bundle = copied(graphs={"relation": relation(8)}, skeleton="body27", window=4)
    if width != 8:
        with pytest.raises(BundleError, match="do not fit it"):
            Model(bundle)
        return
    model = Model(bundle)
    rng = np.random.default_rng(0)
    rays = rng.normal(size=(1, 2, 3, 17, 3))
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    given = (rng.normal(0, 4, (1, 2, 3, 3)), rays, np.full((1, 2, 3, 17), 0.8), np.ones((1, 2, 3), bool))
    nothing, tokens = np.zeros((1, 2, 3, 8)), rng.normal(size=(1, 2, 3, 8))
    said = model.relate(*given, tokens)[0] - model.relate(*given, nothing)[0]
    assert said == pytest.approx(np.broadcast_to(tokens.sum(-1).mean(-1)[..., None, None], said.shape), abs=1e-5)
