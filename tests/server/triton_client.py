"""Run as `python triton_client.py ADDRESS MODEL SIDE`: what Triton's client makes of a server, as JSON.

A process of its own, as Triton's stubs and ours of the same package cannot be loaded into one.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
from tritonclient import grpc as triton
from tritonclient.utils import InferenceServerException


def main(address: str, model: str, side: int) -> dict[str, Any]:
    client = triton.InferenceServerClient(address)
    metadata = client.get_model_metadata(model)
    images = np.random.default_rng(0).integers(0, 255, (3, side, side, 3)).astype(np.uint8)
    given = triton.InferInput("images", list(images.shape), "UINT8")
    given.set_data_from_numpy(images)
    answer = client.infer(
        model, [given], request_id="7", outputs=[triton.InferRequestedOutput("keypoints")], client_timeout=30
    )
    try:
        client.infer(model, [triton.InferInput("other", [1], "UINT8")])
        refused = None
    except InferenceServerException as error:
        refused = error.status()
    return {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "server": client.get_server_metadata().name,
        "model_ready": client.is_model_ready(model),
        "inputs": [[tensor.name, tensor.datatype, list(tensor.shape)] for tensor in metadata.inputs],
        "outputs": [[tensor.name, tensor.datatype, list(tensor.shape)] for tensor in metadata.outputs],
        "id": answer.get_response().id,
        "keypoints": answer.as_numpy("keypoints").tolist(),
        "refused": refused,
    }


if __name__ == "__main__":
    json.dump(main(sys.argv[1], sys.argv[2], int(sys.argv[3])), sys.stdout)
