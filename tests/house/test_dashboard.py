"""Dashboard, alerts and the page about operations ask for series that the service really exports."""

import json
import re
from pathlib import Path

import pytest
import yaml

from service.telemetry.metrics import Gauges, Metrics

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboards" / "tapehead.json"
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
PAGE = ROOT / "docs" / "operations.md"
OURS = re.compile(r"\b(?:tapehead|grpc_server)_[a-z0-9_]+\b")
SELECTOR = re.compile(r"((?:tapehead|grpc_server)_[a-z0-9_]+)\{([^}]*)\}")


def exported() -> dict[str, set[str]]:
    """Every series of a service that has done one of everything, with the names of its labels."""
    metrics = Metrics()
    metrics.set_build({"version": "0"})
    metrics.set_models([{"model": "m", "version": "1"}])
    metrics.set_gauges(lambda: Gauges(1, 2, 3, 4))
    method = metrics.method("unary", "s", "m")
    method.started()
    method.handled("OK", 0.1)
    metrics.batch_run("m", "step", 1, 0.1)
    metrics.rejected("OVER_CAPACITY")
    return {sample.name: set(sample.labels) for family in metrics.registry.collect() for sample in family.samples}


SERIES = exported()


def expressions() -> list[str]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    return [target["expr"] for panel in panels for target in panel.get("targets", [])] + [
        rule["expr"] for rule in rules
    ]


@pytest.mark.parametrize("expression", expressions())
def test_every_series_and_label_asked_for_is_exported(expression: str) -> None:
    missing = set(OURS.findall(expression)) - set(SERIES)
    unknown = {
        (name, label)
        for name, selector in SELECTOR.findall(expression)
        for label in re.findall(r"(\w+)\s*[=!]", selector)
        if label not in SERIES[name]
    }

    assert not missing
    assert not unknown


def test_the_page_about_operations_tells_of_every_series_of_ours() -> None:
    told = set(OURS.findall(PAGE.read_text()))
    ours = {re.sub(r"_(bucket|sum|count)$", "", name) for name in SERIES if name.startswith("tapehead_")}

    assert ours - told == set(), "exported, but not on the page"
    assert {name for name in told if name.startswith("tapehead_")} - ours == set(), "on the page, but not exported"


def test_every_alert_is_explained_on_the_page() -> None:
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]

    assert [rule["alert"] for rule in rules if rule["alert"] not in PAGE.read_text()] == []


def test_every_panel_asks_for_something_and_has_its_own_id() -> None:
    panels = [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]

    assert all(panel["targets"] for panel in panels)
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert {panel["datasource"]["uid"] for panel in panels} == {"prometheus"}
