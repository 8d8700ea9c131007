"""The files under deploy/ and the container files say things that are true.

No container engine is needed: the compose file is checked against the published schema, Prometheus' files by
Prometheus' own tool, and the Dockerfile for what it copies.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import Settings

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


def test_replicas_find_redis_and_haproxy_finds_replicas() -> None:
    services = compose()["services"]
    replicas = [name for name in services if name.startswith("replica-")]
    environment = services["haproxy"]["environment"]

    assert len(replicas) == 2
    assert all(services[name]["environment"]["TAPEHEAD_STORE"].startswith("redis://redis:") for name in replicas)
    assert [environment[f"REPLICA_{number}"].split(":")[0] for number in (1, 2)] == replicas
    assert {environment[name].rpartition(":")[2] for name in ("CHECK_1", "CHECK_2")} == {"8002"}
    assert services["haproxy"]["ports"][0].endswith(environment["BIND"].rpartition(":")[2])


def test_haproxy_agrees_with_its_configuration() -> None:
    haproxy = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
    assert haproxy, "haproxy comes with Debian's package 'haproxy'; 'make test' installs it"
    addresses = {"BIND": "127.0.0.1:1", "REPLICA_1": "127.0.0.1:2", "REPLICA_2": "127.0.0.1:3", "CHECK_1": "4"}
    environment = {**os.environ, **addresses, "CHECK_2": "5"}

    command = [haproxy, "-c", "-f", str(DEPLOY / "haproxy" / "haproxy.cfg")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr


def test_haproxy_waits_longer_than_the_service_is_silent_and_has_room_for_its_streams() -> None:
    text = (DEPLOY / "haproxy" / "haproxy.cfg").read_text()
    silence = {int(seconds) for seconds in re.findall(r"^ *timeout (?:client|server)(?:-fin)? +(\d+)s", text, re.M)}
    streams = int(re.search(r"max-concurrent-streams (\d+)", text)[1])  # type: ignore[index]

    assert silence
    assert min(silence) >= 3 * Settings.model_fields["heartbeat"].default
    assert streams > Settings.model_fields["max_streams"].default + Settings.model_fields["max_calls"].default
    assert "balance hdr(tapehead-session-id)" in text


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
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in scrape}
    source = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"][0]
    provider = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/tapehead.yml").read_text())["providers"][0]
    mounted = {volume.split(":")[1] for volume in services["grafana"]["volumes"]}

    for host, port in (target.split(":") for target in targets["tapehead"]):
        assert any(published.endswith(f":{port}") for published in services[host]["ports"])
    assert source["url"] == "http://prometheus:9090"
    assert provider["options"]["path"] in mounted
