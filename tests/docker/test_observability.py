"""What Prometheus and Grafana are given, as far as it can be judged without them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PANELS: list[dict[str, Any]] = json.loads((ROOT / "docker/grafana/dashboards/synpose.json").read_text())["panels"]
QUERIES = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]


@pytest.mark.parametrize(("title", "query"), QUERIES)
def test_a_panel_asks_for_metrics_that_there_are(title: str, query: str) -> None:
    """Every metric of a query is one that the server gives."""
    metrics = pytest.importorskip("synpose_server.metrics")
    families = dict(re.findall(r"^# TYPE (\w+) (\w+)$", metrics.render().decode(), re.MULTILINE))
    asked = re.findall(r"\b(?:synpose|process)_\w+", query)
    assert asked, title
    for name in asked:
        assert name in families or families.get(re.sub("_(bucket|sum|count)$", "", name)) == "histogram", name


def test_panels_read_the_source_that_is_provisioned() -> None:
    """Every panel and query names the data source of the provisioning."""
    (source,) = yaml.safe_load((ROOT / "docker/grafana/provisioning/datasources/prometheus.yml").read_text())[
        "datasources"
    ]
    read = {part["datasource"]["uid"] for panel in PANELS for part in (panel, *panel["targets"])}
    assert read == {source["uid"]}


def test_panels_do_not_cover_each_other() -> None:
    """The 24 columns of the dashboard hold each panel once."""
    cells = [
        (place["x"] + dx, place["y"] + dy)
        for place in (panel["gridPos"] for panel in PANELS)
        for dx in range(place["w"])
        for dy in range(place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert all(0 <= x < 24 for x, _ in cells)


def test_compose_starts_what_is_named() -> None:
    """Prometheus asks the compose service of the server, and Grafana asks Prometheus, at their ports."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    (job,) = yaml.safe_load((ROOT / "docker/prometheus.yml").read_text())["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["server:8000"]}]
    assert "server" in services
    assert services["gpu"]["networks"]["default"]["aliases"] == ["server"]
    (source,) = yaml.safe_load((ROOT / "docker/grafana/provisioning/datasources/prometheus.yml").read_text())[
        "datasources"
    ]
    assert source["url"] == "http://prometheus:9090"
