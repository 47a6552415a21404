"""Fixtures by theme: `fix_nodes` has real database servers, `fix_proxy` a running proxy in front of them."""

from __future__ import annotations

pytest_plugins = ["tests.fix_nodes", "tests.fix_proxy", "tests.differential.fix_sides"]
