"""What runs the graphs: execution providers of ONNX Runtime, asked for by name and verified after loading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnxruntime as ort

from synpose.errors import BundleError

__all__ = ["PROVIDERS", "Provider", "find_provider"]


@dataclass(frozen=True)
class Provider:
    """`ort` is ONNX Runtime's name, `install` the extra that brings it, `options` its own.

    On a CPU small batches fit its caches and nothing is gained by padding: measured with `fast` on two cores, an image
    of 4 costs 8 to 9 ms, one of 32 costs 12. `is_gpu` providers keep inputs and outputs bound to the device, and their
    runs have one of few sizes: on an H100 `default` reads 1 crop in 4.9 ms, 4 in 5.5 and 32 in 9.9, but plans its
    convolutions anew, for 0.6 to 2 s, whenever a size differs from the one before. No provider waits for company of its
    batches: 2 ms of waiting cost a lone client a third of its frame sets there, and while a run is under way the next
    batch gathers by itself.
    """

    name: str
    ort: str
    install: str
    options: tuple[tuple[str, str], ...] = ()
    is_gpu: bool = False

    @property
    def is_cpu(self) -> bool:
        """Whether ONNX Runtime itself computes, on the threads that it is given."""
        return self.ort == "CPUExecutionProvider"

    def sizes(self, graph: str) -> tuple[int, ...]:
        """How many items the runs of a graph of the bundle have, ascending; of none any number will do."""
        return {"spatial": (4, 32), "detector": (1, 8)}.get(graph, ()) if self.is_gpu else ()

    def limit(self, graph: str) -> int:
        """Most items in one run of a graph of the bundle."""
        return max(self.sizes(graph), default={"spatial": 4, "relation": 8, "detector": 1}[graph])

    def of(self, graph: str) -> Provider:
        """What runs a graph: a GPU gets the images, the CPU the rays.

        The relation graph is a thousand tiny operations, which an H100 is given one by one in 7.4 ms; one thread of its
        host's CPU computes them in 2.4 ms.
        """
        return PROVIDERS["cpu"] if self.is_gpu and graph == "relation" else self

    def session(self, path: str, options: Any) -> Any:
        """A session on this provider; raises `BundleError` where it cannot be had, never falls back to the CPU."""
        if self.ort not in ort.get_available_providers():
            raise BundleError(
                f"this installation of ONNX Runtime has no {self.ort}; install synpose[{self.install}]",
                field="provider",
            )
        if self.is_gpu:
            ort.preload_dlls()  # CUDA and cuDNN where they came as packages, which the system's loader does not know
        session = ort.InferenceSession(path, options, providers=[(self.ort, dict(self.options))])
        if self.ort not in session.get_providers():  # ORT only warns and falls back to the CPU
            raise BundleError(f"{self.ort} did not start; ONNX Runtime fell back to the CPU", field="provider")
        return session


# TensorRT was never run. It leaves what it cannot do to the CPU of the same session.
PROVIDERS = {
    provider.name: provider
    for provider in (
        Provider("cpu", "CPUExecutionProvider", "cpu"),
        # an exhaustive search takes 2.5 s for each new shape, the heuristic one 0.6 to 2 s, and finds what is as fast
        Provider("cuda", "CUDAExecutionProvider", "gpu", (("cudnn_conv_algo_search", "HEURISTIC"),), True),
        Provider("tensorrt", "TensorrtExecutionProvider", "gpu", (("trt_fp16_enable", "1"),), is_gpu=True),
        Provider("openvino", "OpenVINOExecutionProvider", "openvino", (("device_type", "CPU"),)),
    )
}


def find_provider(name: str) -> Provider:
    """The provider called `name`; raises `BundleError` that lists them."""
    if name not in PROVIDERS:
        raise BundleError(f"no provider {name!r}; there are {', '.join(PROVIDERS)}", field="provider")
    return PROVIDERS[name]
