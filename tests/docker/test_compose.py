"""The compose files against the shard maps: same nodes, same ports, an order of start that can work."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pgproxy.cluster.schema import split_statements
from pgproxy.demo.nodes import NODE_NAMES
from pgproxy.shardmap.load import load
from pgproxy.shardmap.model import Engine, ShardMap

ROOT = Path(__file__).parent.parent.parent
_SQL_PORTS, _WEB_PORTS = (26257, 26258, 26259), (8080, 8081, 8082)
FILES = {
    "cockroachdb": ("docker-compose.yml", "shardmap.toml"),
    "postgresql": ("postgres-compose.yml", "docker/shardmap.postgres.toml"),
}


@pytest.fixture(params=FILES.values(), ids=FILES)
def pair(request: pytest.FixtureRequest) -> tuple[dict[str, Any], ShardMap]:
    """A compose file's services, and the shard map as its pgproxy container reads it."""
    compose, shard_map = request.param
    services = yaml.safe_load((ROOT / "docker" / compose).read_text(encoding="utf-8"))["services"]
    environment = {name: str(value) for name, value in services["pgproxy"]["environment"].items()}
    return services, load(ROOT / shard_map, {name: _default(value) for name, value in environment.items()})


@pytest.fixture
def cockroach() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker/docker-compose.yml").read_text(encoding="utf-8"))["services"]


def test_services_are_the_shard_maps_nodes(pair: tuple[dict[str, Any], ShardMap]) -> None:
    services, shard_map = pair
    assert set(services) == {*NODE_NAMES, "init", "pgproxy"}
    assert tuple(shard_map.nodes) == NODE_NAMES
    for name in NODE_NAMES:
        assert shard_map.nodes[name].host == services[name]["hostname"] == name


def test_nodes_listen_where_the_shard_map_says(pair: tuple[dict[str, Any], ShardMap]) -> None:
    services, shard_map = pair
    for name, node in shard_map.nodes.items():
        inside = {int(port.rpartition(":")[2]) for port in services[name]["ports"]}
        assert node.port in inside


def test_every_port_is_published_once_and_on_this_machine_alone(pair: tuple[dict[str, Any], ShardMap]) -> None:
    services, _ = pair
    published = [port.rpartition(":")[0] for service in services.values() for port in service.get("ports", ())]
    assert len(set(published)) == len(published)
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_nodes_keep_their_data_and_tell_their_health(pair: tuple[dict[str, Any], ShardMap]) -> None:
    services, shard_map = pair
    target = {Engine.COCKROACHDB: "/cockroach/cockroach-data", Engine.POSTGRESQL: "/var/lib/postgresql"}
    for name in NODE_NAMES:
        assert services[name]["volumes"] == [f"{name}:{target[shard_map.cluster.engine]}"]
        assert services[name]["healthcheck"]["test"][0] == "CMD"
        assert services[name]["restart"] == "unless-stopped"


def test_the_proxy_waits_for_init_and_init_for_the_nodes(pair: tuple[dict[str, Any], ShardMap]) -> None:
    services, shard_map = pair
    assert services["pgproxy"]["depends_on"] == {"init": {"condition": "service_completed_successfully"}}
    assert tuple(services["init"]["depends_on"]) == NODE_NAMES
    assert services["init"]["restart"] == "no"
    # A CockroachDB node is not healthy before init has joined the cluster.
    condition = "service_started" if shard_map.cluster.engine is Engine.COCKROACHDB else "service_healthy"
    assert {need["condition"] for need in services["init"]["depends_on"].values()} == {condition}


def test_the_proxy_can_be_reached_and_ends_before_docker_kills_it(pair: tuple[dict[str, Any], ShardMap]) -> None:
    services, shard_map = pair
    assert shard_map.proxy.listen == "0.0.0.0"
    assert services["pgproxy"]["ports"] == [f"127.0.0.1:{shard_map.proxy.port}:{shard_map.proxy.port}"]
    assert float(services["pgproxy"]["stop_grace_period"].rstrip("s")) > shard_map.proxy.shutdown_grace_s


def test_image_versions_come_from_the_environment(pair: tuple[dict[str, Any], ShardMap]) -> None:
    services, _ = pair
    for service in services.values():
        assert re.fullmatch(r"[\w/]+:\$\{[A-Z]+_VERSION:-[\w.-]+\}", service["image"])


@pytest.mark.parametrize(("name", "sql_port", "web_port"), [*zip(NODE_NAMES, _SQL_PORTS, _WEB_PORTS, strict=True)])
def test_cockroach_command(cockroach: dict[str, Any], name: str, sql_port: int, web_port: int) -> None:
    options = dict(part.removeprefix("--").partition("=")[::2] for part in cockroach[name]["command"].split()[1:])
    assert options == {
        "insecure": "",
        "join": ",".join(f"{node}:26357" for node in NODE_NAMES),
        "listen-addr": f"{name}:26357",
        "advertise-addr": f"{name}:26357",
        "sql-addr": f"{name}:{sql_port}",
        "advertise-sql-addr": f"{name}:{sql_port}",
        "http-addr": f"{name}:{web_port}",
        "locality": f"region={name.removesuffix('-library')}",
    }
    assert cockroach[name]["ports"] == [f"127.0.0.1:{port}:{port}" for port in (sql_port, web_port)]
    assert f"--host={name}:{sql_port}" in cockroach[name]["healthcheck"]["test"]
    assert cockroach[name]["stop_grace_period"] == "5m"


def test_zones_home_every_shard_where_the_shard_map_says() -> None:
    shard_map = load(ROOT / "shardmap.toml", {})
    zone = re.compile(r"ALTER TABLE (\w+) .* lease_preferences = '\[\[\+(region=\w+)\]")
    script = (ROOT / "sql/zones.sql").read_text(encoding="utf-8")
    found = [match.groups() for statement in split_statements(script) if (match := zone.match(statement))]
    assert found == [
        (shard.table, shard_map.nodes[shard.node].locality)
        for table in shard_map.tables.values()
        for shard in table.shards
    ]


def test_what_the_image_copies_exists_and_is_not_ignored() -> None:
    dockerfile = (ROOT / "docker/Dockerfile").read_text(encoding="utf-8")
    copied = [path for line in re.findall(r"^COPY (?!--)(.*)$", dockerfile, re.MULTILINE) for path in line.split()[:-1]]
    kept = re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    assert copied
    for path in copied:
        assert (ROOT / path).exists()
        assert path in kept
    assert "USER pgproxy" in dockerfile
    assert "HEALTHCHECK" in dockerfile


def _default(value: str) -> str:
    """What compose makes of `${NAME:-default}` where the environment is empty."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)
