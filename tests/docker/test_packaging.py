"""The systemd unit and the Kubernetes manifests: valid by themselves, and true about pgproxy."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner

from pgproxy.cli import main
from pgproxy.shardmap.load import load
from pgproxy.shardmap.model import PoolSettings, ProxySettings, ShardMap

ROOT = Path(__file__).parent.parent.parent
UNIT = ROOT / "docker/systemd/pgproxy@.service"
VERSION = "0.1.0"
KUBERNETES = ROOT / "docker/kubernetes"
KUBERNETES_VERSION = "1.31"


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((KUBERNETES / name).read_text(encoding="utf-8"))
    return found


@pytest.fixture
def kustomization() -> dict[str, Any]:
    return read("kustomization.yaml")


@pytest.fixture
def pod() -> dict[str, Any]:
    template: dict[str, Any] = read("deployment.yaml")["spec"]["template"]
    return template


@pytest.fixture
def container(pod: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod["spec"]["containers"]
    return only


@pytest.fixture
def secrets(kustomization: dict[str, Any]) -> dict[str, str]:
    """The environment of the container."""
    generator = next(one for one in kustomization["secretGenerator"] if one["name"] == "pgproxy")
    return dict(literal.split("=", 1) for literal in generator["literals"])


@pytest.fixture
def shard_map(secrets: dict[str, str]) -> ShardMap:
    return load(KUBERNETES / "shardmap.toml", secrets)


# systemd


# What systemd.unit(5), systemd.service(5) and systemd.exec(5) allow for the directives that the unit has. One that is
# misspelt, or has a value that systemd would pass over with a warning, is not here.
_BOOLEAN, _SECONDS, _WORD, _PATH = "yes|no", r"\d+s", r"[\w-]+", r"-?/\S+"
_DIRECTIVES = {
    "Unit": {"Description": ".+", "After": r"[\w.-]+", "Wants": r"[\w.-]+"},
    "Service": {
        "Type": "notify",
        "ExecStart": r"/\S+( \S+)*",
        "ExecReload": r"/\S+( \S+)*",
        "EnvironmentFile": _PATH,
        "Restart": "no|always|on-success|on-failure|on-abnormal|on-abort|on-watchdog",
        **dict.fromkeys(("RestartSec", "TimeoutStartSec", "TimeoutStopSec"), _SECONDS),
        "LimitNOFILE": r"\d+",
        "User": _WORD,
        "StateDirectory": _WORD,
        "ProtectSystem": "yes|no|full|strict",
        "ProtectHome": "yes|no|read-only|tmpfs",
        **dict.fromkeys(
            (
                *("DynamicUser", "NoNewPrivileges", "PrivateTmp", "PrivateDevices", "ProtectClock", "LockPersonality"),
                *("ProtectControlGroups", "ProtectHostname", "ProtectKernelLogs", "ProtectKernelModules"),
                *("ProtectKernelTunables", "RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID"),
            ),
            _BOOLEAN,
        ),
        "RestrictAddressFamilies": r"AF_\w+( AF_\w+)*",
        "SystemCallArchitectures": "native",
        "SystemCallFilter": r"@[\w-]+",
        "CapabilityBoundingSet": "",
        "UMask": "0[0-7]{3}",
    },
    "Install": {"WantedBy": r"[\w-]+\.target"},
}


@pytest.fixture
def unit() -> configparser.ConfigParser:
    """Strict: a section or directive that stands twice is an error."""
    parsed = configparser.ConfigParser(interpolation=None, comment_prefixes="#", delimiters="=")
    parsed.optionxform = str  # type: ignore[assignment,method-assign]
    parsed.read_string(UNIT.read_text(encoding="utf-8"))
    return parsed


@pytest.fixture
def service(unit: configparser.ConfigParser) -> configparser.SectionProxy:
    return unit["Service"]


def problems(unit: configparser.ConfigParser) -> list[str]:
    return [
        f"[{section}] {name}={value}"
        for section in unit.sections()
        for name, value in unit[section].items()
        if not re.fullmatch(_DIRECTIVES.get(section, {}).get(name, "(?!)"), value)
    ]


def test_systemd_accepts_the_unit(unit: configparser.ConfigParser, tmp_path: Path) -> None:
    """By the table above, and by systemd's own word where it is installed."""
    assert set(unit.sections()) == set(_DIRECTIVES)
    assert problems(unit) == []
    if analyze := shutil.which("systemd-analyze"):
        program = tmp_path / VERSION / "bin/pgproxy"
        program.parent.mkdir(parents=True)
        program.symlink_to("/bin/true")
        text = UNIT.read_text(encoding="utf-8").replace("/opt/pgproxy", str(tmp_path))
        (tmp_path / UNIT.name).write_text(text, encoding="utf-8")
        instance = UNIT.name.replace("@", f"@{VERSION}")
        verified = subprocess.run(
            [analyze, "verify", str(tmp_path / instance)], capture_output=True, text=True, check=False
        )
        about_us = [line for line in verified.stderr.splitlines() if "pgproxy" in line]
        assert (verified.returncode, about_us) == (0, [])


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("Service", "LimitNoFile", "65536"),
        ("Service", "TimeoutStopSec", "fourty"),
        ("Service", "DynamicUser", "maybe"),
        ("Unit", "ExecStart", "/bin/true"),
    ],
)
def test_a_wrong_directive_would_be_told(unit: configparser.ConfigParser, section: str, name: str, value: str) -> None:
    unit[section][name] = value
    assert problems(unit) == [f"[{section}] {name}={value}"]


def test_systemd_is_told_and_tells_what_the_program_understands(service: configparser.SectionProxy) -> None:
    assert service["Type"] == "notify"  # pgproxy/notify.py
    assert shlex.split(service["ExecReload"]) == ["/bin/kill", "-HUP", "$MAINPID"]
    assert not {"KillSignal", "KillMode"} & set(service)  # SIGTERM, which the proxy ends in order at


def test_a_version_may_take_over_from_another(service: configparser.SectionProxy) -> None:
    """Each is a unit of its own; pgproxy/takeover.py wants both to be of one user."""
    assert "%i" in service["ExecStart"]
    assert "--take-over" in service["ExecStart"]
    assert "%" not in service["User"]
    assert "AF_UNIX" in service["RestrictAddressFamilies"].split()
    assert "PrivateNetwork" not in service


def test_the_unit_gives_a_descriptor_to_every_client(service: configparser.SectionProxy) -> None:
    """And to every connection to some dozens of nodes."""
    assert int(service["LimitNOFILE"]) > ProxySettings().max_clients + 50 * PoolSettings().size


def test_the_unit_may_read_what_the_docs_have_put_in_place(service: configparser.SectionProxy) -> None:
    """The commands of docs/operations.md make the files that the unit names."""
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    program, *arguments = shlex.split(service["ExecStart"].replace("%i", VERSION))
    for path in (Path(program).parent.parent, arguments[-1], service["EnvironmentFile"].removeprefix("-")):
        assert str(path) in page
    assert f"docker/systemd/{UNIT.name} /etc/systemd/system" in page


def test_the_unit_starts_what_there_is(service: configparser.SectionProxy) -> None:
    program, *arguments = shlex.split(service["ExecStart"])
    assert Path(program).name == "pgproxy"
    asked = CliRunner().invoke(main, [*arguments[:1], "--help"])
    assert asked.exit_code == 0
    assert all(argument in asked.output for argument in arguments if argument.startswith("--"))


def test_the_unit_waits_longer_than_the_grace_time(service: configparser.SectionProxy) -> None:
    assert float(service["TimeoutStopSec"].removesuffix("s")) > ProxySettings().shutdown_grace_s


# Kubernetes


def test_manifests_are_valid(kustomization: dict[str, Any]) -> None:
    for name in kustomization["resources"]:
        kubernetes_validate.validate(read(name), KUBERNETES_VERSION, strict=True)


def test_a_wrong_manifest_would_be_told() -> None:
    wrong = read("deployment.yaml")
    wrong["spec"]["replicas"] = "two"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, KUBERNETES_VERSION, strict=True)


def test_every_file_is_used(kustomization: dict[str, Any]) -> None:
    generated = [*kustomization["configMapGenerator"], *kustomization["secretGenerator"]]
    used = {*kustomization["resources"], *(file for one in generated for file in one.get("files", ()))}
    assert {path.name for path in KUBERNETES.iterdir()} == used | {"kustomization.yaml"}


def test_selectors_find_the_pods(pod: dict[str, Any]) -> None:
    labels = pod["metadata"]["labels"].items()
    assert read("service.yaml")["spec"]["selector"].items() <= labels
    assert read("deployment.yaml")["spec"]["selector"]["matchLabels"].items() <= labels
    assert read("disruption-budget.yaml")["spec"]["selector"]["matchLabels"].items() <= labels


def test_ports_are_the_shard_maps(container: dict[str, Any], shard_map: ShardMap) -> None:
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"postgresql": shard_map.proxy.port, "http": shard_map.http.port}
    assert shard_map.proxy.listen == shard_map.http.listen == "0.0.0.0"
    (service,) = read("service.yaml")["spec"]["ports"]
    assert service["targetPort"] in ports


def test_clients_log_in_with_passwords(shard_map: ShardMap) -> None:
    assert [rule.method.value for rule in shard_map.auth] == ["scram-sha-256"]
    assert not shard_map.proxy.allow_trust_from_anywhere


def test_probes_ask_what_needs_no_token(container: dict[str, Any]) -> None:
    for probe, path in (("startupProbe", "/ready"), ("readinessProbe", "/ready"), ("livenessProbe", "/health")):
        assert container[probe]["httpGet"] == {"path": path, "port": "http"}


def test_the_config_is_where_it_is_looked_for(
    container: dict[str, Any], pod: dict[str, Any], kustomization: dict[str, Any], shard_map: ShardMap
) -> None:
    mounts = {mount["name"]: Path(mount["mountPath"]) for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    assert set(mounts) == set(volumes)
    assert Path(container["args"][2]) == mounts["config"] / "shardmap.toml"
    assert shard_map.auth_users.file is not None
    assert Path(shard_map.auth_users.file) == mounts["users"] / "users.txt"
    generated = {one["name"] for one in kustomization["configMapGenerator"] + kustomization["secretGenerator"]}
    assert volumes["config"]["configMap"]["name"] in generated
    assert volumes["users"]["secret"]["secretName"] in generated
    assert container["envFrom"][0]["secretRef"]["name"] in generated


def test_pods_may_end_in_order(pod: dict[str, Any], container: dict[str, Any], shard_map: ShardMap) -> None:
    (_, wait_s) = container["lifecycle"]["preStop"]["exec"]["command"]
    assert pod["spec"]["terminationGracePeriodSeconds"] > int(wait_s) + shard_map.proxy.shutdown_grace_s


def test_the_image_has_the_user_of_the_pods(pod: dict[str, Any]) -> None:
    dockerfile = (ROOT / "docker/Dockerfile").read_text(encoding="utf-8")
    assert f"--uid {pod['spec']['securityContext']['runAsUser']} " in dockerfile
