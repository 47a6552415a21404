"""Fixtures by theme: `fix_nodes` has real database servers, `fix_proxy` a running proxy in front of them."""

from __future__ import annotations

import pytest

pytest_plugins = ["tests.fix_nodes", "tests.fix_proxy", "tests.differential.fix_sides"]

pytest.register_assert_rewrite("tests.clients.sides")
