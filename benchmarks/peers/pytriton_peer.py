"""pytriton before the bare work, in an environment with nvidia-pytriton.

python pytriton_peer.py serve FOLDER PORT WORKERS
python pytriton_peer.py load FOLDER PORT CLIENTS SECONDS (prints answers a second and how many)
"""

import asyncio
import sys
import time
from pathlib import Path

import numpy as np


def serve(folder: str, port: int, workers: int) -> None:
    from pytriton.model_config import ModelConfig, Tensor
    from pytriton.triton import Triton, TritonConfig
    from work import Work

    def worker():
        work = Work(Path(folder), workers)

        def infer(requests):
            return [{"joints": np.array(work(list(request["images"])), np.float32)} for request in requests]

        return infer

    with Triton(config=TritonConfig(http_port=port, grpc_port=port + 1, metrics_port=port + 2)) as triton:
        triton.bind(
            model_name="pose",
            infer_func=[worker() for _ in range(workers)],
            inputs=[Tensor(name="images", dtype=bytes, shape=(-1,))],
            outputs=[Tensor(name="joints", dtype=np.float32, shape=(-1,))],
            config=ModelConfig(batching=False),
        )
        triton.serve()


async def load(folder: str, port: int, clients: int, seconds: float) -> None:
    import tritonclient.grpc.aio as triton

    images = np.array([path.read_bytes() for path in sorted(Path(folder).glob("*.jpg"))], object)
    async with triton.InferenceServerClient(f"127.0.0.1:{port + 1}") as client:
        given = triton.InferInput("images", list(images.shape), "BYTES")
        given.set_data_from_numpy(images)
        start, done = time.perf_counter(), 0

        async def ask() -> None:
            nonlocal done
            while time.perf_counter() - start < seconds:
                await client.infer("pose", [given])
                done += 1

        await asyncio.gather(*(ask() for _ in range(clients)))
        print(done / (time.perf_counter() - start), done)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        asyncio.run(load(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])))
