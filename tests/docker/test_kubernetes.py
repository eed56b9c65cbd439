"""The Kubernetes manifests, as far as they can be judged without a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

FOLDER = Path(__file__).parents[2] / "docker" / "kubernetes"
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
MANIFESTS: dict[str, dict[str, Any]] = {
    name: yaml.safe_load((FOLDER / name).read_text()) for name in KUSTOMIZATION["resources"]
}


@pytest.mark.parametrize("name", MANIFESTS)
@pytest.mark.parametrize("version", ["1.34", "1.37"])
def test_a_manifest_fits_its_schema(name: str, version: str) -> None:
    """Kubernetes of this version knows the resource and every field of it."""
    kubernetes_validate.validate(MANIFESTS[name], version, strict=True)


def test_all_manifests_are_applied() -> None:
    """The kustomization lists every file of its folder."""
    assert {path.name for path in FOLDER.iterdir()} == {*MANIFESTS, "kustomization.yaml"}


def test_names_and_ports_agree() -> None:
    """Service, autoscaler and disruption budget point at the pods of the deployment, and probes at its ports."""
    deployment = MANIFESTS["deployment.yaml"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == labels
    assert MANIFESTS["service.yaml"]["spec"]["selector"] == labels
    assert MANIFESTS["disruption-budget.yaml"]["spec"]["selector"]["matchLabels"] == labels
    target = MANIFESTS["autoscaler.yaml"]["spec"]["scaleTargetRef"]
    assert target["name"] == MANIFESTS["deployment.yaml"]["metadata"]["name"]
    (container,) = deployment["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert {port["targetPort"] for port in MANIFESTS["service.yaml"]["spec"]["ports"]} == set(ports)
    assert container["startupProbe"]["grpc"]["port"] == container["readinessProbe"]["grpc"]["port"] == ports["grpc"]
    assert container["livenessProbe"]["httpGet"]["port"] in ports
    assert container["image"].split(":")[0] in {image["name"] for image in KUSTOMIZATION["images"]}
