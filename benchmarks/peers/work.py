"""The bare work of one frame set: its JPEG images decoded, and the graph runs that it takes, by ONNX Runtime alone.

Needs nothing but numpy, simplejpeg and onnxruntime, so that other servers can do the same work in their own worlds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime as ort
import simplejpeg


class Work:
    """`folder` holds `work.json` (threads, graphs by kind, kinds of the runs in order) and `K.npz`, inputs of run K.

    One of several `workers` at the same work has its share of the threads.
    """

    def __init__(self, folder: Path, workers: int = 1) -> None:
        told = json.loads((folder / "work.json").read_text())
        threads = max(1, told["threads"] // workers)
        self.pool = ThreadPoolExecutor(threads)
        self.sessions = {}
        for kind, path in told["graphs"].items():
            options = ort.SessionOptions()
            options.intra_op_num_threads = 1 if kind == "relation" else threads
            options.inter_op_num_threads = 1
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            self.sessions[kind] = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.runs = [(kind, dict(np.load(folder / f"{k}.npz"))) for k, kind in enumerate(told["runs"])]

    def __call__(self, images: Sequence[bytes]) -> list[float]:
        """The last run's first output, to have an answer."""
        list(self.pool.map(lambda image: simplejpeg.decode_jpeg(image, colorspace="RGB"), images))
        answer = np.zeros(1)
        for kind, inputs in self.runs:
            answer = self.sessions[kind].run(None, inputs)[0]
        return [float(value) for value in answer.ravel()]
