"""Fixtures by theme: `fix_nodes` has real database servers, `fix_proxy` a running proxy in front of them."""

from __future__ import annotations

import resource

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = [
    "tests.fix_nodes",
    "tests.fix_proxy",
    "tests.fix_replicas",
    "tests.fix_gateways",
    "tests.fix_tls",
    "tests.fix_system_nodes",
    "tests.session.fix_authentication",
    "tests.clients.fix_secure",
    "tests.clients.restarts",
    "tests.differential.fix_sides",
    "tests.fix_copy",
    "tests.fix_accounts",
]

pytest.register_assert_rewrite("tests.clients.sides")

_DESCRIPTORS = 8_192  # some tests are a thousand clients


def pytest_configure() -> None:
    """Take so many file descriptors, where the soft limit is the usual 1,024 and the hard one allows more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < _DESCRIPTORS:
        enough = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))


# No test may fail because the machine is slow, or by luck: `--hypothesis-profile luck` draws other examples each time.
settings.register_profile("luck", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("pgproxy", settings.get_profile("luck"), derandomize=True)
settings.load_profile("pgproxy")
