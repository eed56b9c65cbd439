"""The audit of dependencies: it fails for what is known, and never passes for want of knowledge without saying so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

AUDIT = Path(__file__).parents[2] / "scripts" / "audit"
KNOWN = {"name": "jinja2", "version": "2.11.2", "vulns": [{"id": "PYSEC-2021-66", "fix_versions": ["2.11.3"]}]}
CLEAN: dict[str, Any] = {"name": "numpy", "version": "2.4", "vulns": []}
UNKNOWN = {"name": "torch", "skip_reason": "torch (2.13.0+cpu) is not known"}


def audit(folder: Path, canary: object, installed: object) -> subprocess.CompletedProcess[str]:
    """Run the script with a pip-audit that answers so; a string is what it prints in the place of JSON."""
    for name, answer in (("canary", canary), ("installed", installed)):
        text = answer if isinstance(answer, str) else json.dumps({"dependencies": answer})
        (folder / name).write_text(text)
    fake = folder / "pip-audit"
    fake.write_text(
        f'#!/bin/sh\ncase "$*" in *--requirement*) cat {folder}/canary ;; *) cat {folder}/installed ;; esac\n'
    )
    fake.chmod(0o755)
    env = {**os.environ, "BIN": str(folder)}
    return subprocess.run([sys.executable, str(AUDIT)], env=env, capture_output=True, text=True, timeout=60)


def test_a_known_vulnerability_fails(tmp_path: Path) -> None:
    """With the package, the vulnerability and the version that is free of it."""
    run = audit(tmp_path, [KNOWN], [CLEAN, KNOWN])
    assert run.returncode == 1
    assert "jinja2 2.11.2: PYSEC-2021-66, fixed in 2.11.3" in run.stderr


def test_nothing_known_passes(tmp_path: Path) -> None:
    """The number of packages is told, and each that could not be looked up."""
    run = audit(tmp_path, [KNOWN], [CLEAN, UNKNOWN])
    assert run.returncode == 0
    assert "asked about 1 packages; 0 have" in run.stdout
    assert "NOT AUDITED: torch" in run.stderr
    assert "SKIPPED" not in run.stderr


@pytest.mark.parametrize("canary", ["", "Traceback", [], [CLEAN], [UNKNOWN]])
def test_a_service_that_knows_nothing_is_no_pass(tmp_path: Path, canary: object) -> None:
    """Neither one that cannot be reached nor one that calls the vulnerable clean."""
    run = audit(tmp_path, canary, [CLEAN])
    assert run.returncode == 0
    assert "*** SKIPPED: DEPENDENCIES ARE NOT AUDITED" in run.stderr


def test_a_service_that_ceases_is_no_pass(tmp_path: Path) -> None:
    """Though it knew the first package."""
    run = audit(tmp_path, [KNOWN], "connection lost")
    assert run.returncode == 0
    assert "*** SKIPPED: DEPENDENCIES ARE NOT AUDITED" in run.stderr
