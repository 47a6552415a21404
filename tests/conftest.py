"""Fixtures by theme: `fix_nodes` has real database servers, `fix_proxy` a running proxy in front of them."""

from __future__ import annotations

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

# No test may fail because the machine is slow.
settings.register_profile("pgproxy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("pgproxy")
