"""LitServe before the bare work: python litserve_peer.py FOLDER PORT WORKERS, in an environment with litserve."""

import base64
import sys
from pathlib import Path

import litserve as ls
from work import Work

WORKERS = int(sys.argv[3])


class Api(ls.LitAPI):
    def setup(self, device):
        self.work = Work(Path(sys.argv[1]), WORKERS)

    def decode_request(self, request):
        return [base64.b64decode(image) for image in request["images"]]

    def predict(self, images):
        return self.work(images)

    def encode_response(self, answer):
        return {"joints": answer}


if __name__ == "__main__":
    server = ls.LitServer(Api(), accelerator="cpu", workers_per_device=WORKERS)
    server.run(port=int(sys.argv[2]), generate_client_file=False)
