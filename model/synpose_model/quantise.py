"""A spatial graph whose backbone computes in int8: faster on CPUs, at a loss that has to be measured."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synpose.errors import InvalidInput
from synpose_model.crop import nowhere

__all__ = ["quantise_spatial"]

_BATCH = 4
_PERCENTILE = 99.99  # of a tensor's values that its int8 range holds; the few beyond would make all others coarse
_KINDS = ["Conv", "Add", "Clip", "Relu"]


def quantise_spatial(graph: Path, path: Path, crops: NDArray[np.uint8]) -> None:
    """Write the spatial `graph` as `path` with the convolutions of its backbone in int8.

    Ranges of activations are those on `crops` `(N, side, side, 3)`, RGB; weights have a scale for each channel. What
    comes after the backbone, from the feature pyramid on, stays in float32: it says where within a cell a joint is.
    Raises `InvalidInput` for a graph without such a backbone.
    """
    import onnx  # here, so that a server has no need of it
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as name, _quiet():
        folded = Path(name) / "folded.onnx"  # weights are stored as float16: no quantiser looks behind their casts
        quant_pre_process(str(graph), str(folded), skip_symbolic_shape=True)
        whole = onnx.load(str(folded)).graph
        nodes = whole.node
        expects = [value.type.tensor_type.shape.dim[1].dim_value for value in whole.input if value.name == "expected"]
        end = next((i for i, node in enumerate(nodes) if node.op_type == "Resize"), 0)
        convolutions = [i for i, node in enumerate(nodes[:end]) if node.op_type == "Conv"]
        if not convolutions:
            raise InvalidInput(f"{graph} has no backbone of convolutions that could be quantised", field="model")
        quantize_static(
            str(folded),
            str(path),
            _Crops(crops, *expects),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_KINDS,
            nodes_to_exclude=[node.name for node in nodes[convolutions[-1] :]],  # that one leads into the pyramid
            per_channel=True,
            reduce_range=True,  # pairs of 8-bit products overflow where a CPU has no VNNI
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={"CalibPercentile": _PERCENTILE},
        )


class _Crops:
    """Crops batch by batch, as the quantiser asks for them; of `joints` joints nothing is expected."""

    def __init__(self, crops: NDArray[np.uint8], joints: int = 0) -> None:
        self._joints = joints
        self._batches = iter(np.split(crops, range(_BATCH, len(crops), _BATCH)))

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        batch = next(self._batches, None)
        if batch is None:
            return None
        return {"images": batch, **({"expected": nowhere(batch, self._joints)} if self._joints else {})}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the quantiser prints and logs of its progress."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(disabled)
