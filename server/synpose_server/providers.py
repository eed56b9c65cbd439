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

    On a CPU small batches fit its caches and nothing is gained by waiting or padding: measured with `fast` on two
    cores, an image of 4 costs 8 to 9 ms, one of 32 costs 12. `is_gpu` providers batch much, wait for company, see a
    handful of shapes only (each new one is compiled or tuned anew) and keep inputs and outputs bound to the device.
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

    @property
    def wait(self) -> float:
        """Seconds that a batch waits for company."""
        return 0.002 if self.is_gpu else 0.0

    def limit(self, graph: str) -> int:
        """Most items in one run of a graph of the bundle."""
        cpu = {"spatial": 4, "relation": 8, "detector": 1}
        return (32 if graph != "detector" else 8) if self.is_gpu else cpu[graph]

    def session(self, path: str, options: Any) -> Any:
        """A session on this provider; raises `BundleError` where it cannot be had, never falls back to the CPU."""
        if self.ort not in ort.get_available_providers():
            raise BundleError(
                f"this installation of ONNX Runtime has no {self.ort}; install synpose[{self.install}]",
                field="provider",
            )
        session = ort.InferenceSession(path, options, providers=[(self.ort, dict(self.options))])
        if self.ort not in session.get_providers():  # ORT only warns and falls back to the CPU
            raise BundleError(f"{self.ort} did not start; ONNX Runtime fell back to the CPU", field="provider")
        return session


# The GPU providers were never run on a GPU. TensorRT leaves what it cannot do to the CPU of the same session.
PROVIDERS = {
    provider.name: provider
    for provider in (
        Provider("cpu", "CPUExecutionProvider", "cpu"),
        Provider("cuda", "CUDAExecutionProvider", "gpu", is_gpu=True),
        Provider("tensorrt", "TensorrtExecutionProvider", "gpu", (("trt_fp16_enable", "1"),), is_gpu=True),
        Provider("openvino", "OpenVINOExecutionProvider", "openvino", (("device_type", "CPU"),)),
    )
}


def find_provider(name: str) -> Provider:
    """The provider called `name`; raises `BundleError` that lists them."""
    if name not in PROVIDERS:
        raise BundleError(f"no provider {name!r}; there are {', '.join(PROVIDERS)}", field="provider")
    return PROVIDERS[name]
