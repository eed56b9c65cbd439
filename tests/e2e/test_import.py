"""What the server needs to run, and what it must not need."""

from __future__ import annotations

import json
import subprocess
import sys

IMPORT_ALL = """
import importlib, json, pkgutil, sys
import synpose_server
found = [module.name for module in pkgutil.walk_packages(synpose_server.__path__, "synpose_server.")]
names = [name for name in found if not name.startswith("synpose_server.cluster.")]  # they need the extra `ray`
for name in names:
    importlib.import_module(name)
print(json.dumps([names, sorted(sys.modules)]))
"""


def test_server_imports_no_training_code() -> None:
    """All modules of the server load without torch, ONNX tools, the renderer or plots."""
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, check=True, timeout=60)
    names, loaded = json.loads(done.stdout)
    assert {"synpose_server.http.app", "synpose_server.grpc.server", "synpose_server.serve"} <= set(names)
    assert {"synpose_server.serve", "onnxruntime", "synpose_model.bundle"} <= set(loaded)
    assert not {"torch", "onnx", "onnxscript", "anny", "moderngl", "matplotlib", "scipy"} & set(loaded)
