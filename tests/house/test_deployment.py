"""The files under deploy/ and the container files say things that are true.

No container engine is needed: the compose file is checked against the published schema, Prometheus' files by
Prometheus' own tool, and the Dockerfile for what it copies.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def test_compose_file_fits_the_published_schema() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]

    done = subprocess.run([*command, str(ROOT / "docker-compose.yml")], capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_file_that_a_container_mounts_is_there() -> None:
    mounts = [volume for service in compose()["services"].values() for volume in service.get("volumes", [])]
    sources = [mount.split(":")[0] for mount in mounts]

    files = [source for source in sources if source.startswith("./")]
    named = {source for source in sources if not source.startswith("./")}

    assert files
    assert all((ROOT / source).exists() for source in files), files
    assert named == set(compose()["volumes"])


def test_every_port_is_published_to_this_machine_alone() -> None:
    ports = [port for service in compose()["services"].values() for port in service.get("ports", [])]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports), ports


def test_redis_starts_only_when_it_is_asked_for() -> None:
    """The service has no Redis store yet; starting one by default would claim otherwise."""
    assert compose()["services"]["redis"]["profiles"] == ["redis"]


def test_dockerfile_copies_what_is_there_and_not_ignored() -> None:
    text = (ROOT / "Dockerfile").read_text()
    copied = [source for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.M) for source in line.split()[:-1]]
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}

    assert all((ROOT / source).exists() for source in copied), copied
    assert set(copied) == kept


@pytest.mark.parametrize(
    "command",
    [("check", "config", "deploy/prometheus/prometheus.yml"), ("test", "rules", "tests/house/alerts_test.yml")],
    ids=["configuration", "alerts"],
)
def test_promtool_agrees(command: tuple[str, ...]) -> None:
    promtool = shutil.which("promtool")
    assert promtool, "promtool comes with Debian's package 'prometheus'; 'make test' installs it"

    done = subprocess.run([promtool, *command], cwd=ROOT, capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_and_grafana_look_where_compose_puts_things() -> None:
    services = compose()["services"]
    scrape = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    targets = {job["job_name"]: job["static_configs"][0]["targets"][0] for job in scrape}
    source = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"][0]
    provider = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/tapehead.yml").read_text())["providers"][0]
    mounted = {volume.split(":")[1] for volume in services["grafana"]["volumes"]}

    host, port = targets["tapehead"].split(":")
    assert host in services
    assert any(published.endswith(f":{port}") for published in services[host]["ports"])
    assert source["url"] == "http://prometheus:9090"
    assert provider["options"]["path"] in mounted
