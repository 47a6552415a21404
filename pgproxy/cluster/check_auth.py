"""What `pgproxy check` says of authentication: rules that may not be meant so, and the users file."""

from __future__ import annotations

from pathlib import Path

from pgproxy.auth.users_file import UsersFileErrors, mode_warning, read_users
from pgproxy.shardmap.auth_rules import NEED_SECRETS, warnings
from pgproxy.shardmap.model import ShardMap


def check_authentication(shard_map: ShardMap) -> tuple[list[str], list[str]]:
    """Errors and warnings, each a line that begins with a place."""
    rules, users = shard_map.auth, shard_map.auth_users
    errors: list[str] = []
    told = list(warnings(rules, shard_map.proxy.listen))
    known: set[str] = set()
    if users.file is not None:
        path = Path(users.file)
        try:
            known = set(read_users(path))
        except UsersFileErrors as wrong:
            errors += (f"auth_users.file: {problem}" for problem in wrong.problems)
        mode = mode_warning(path)
        told += [] if mode is None else [f"auth_users.file: {mode}"]
    if users.query is None and not errors:
        told += _unknown_users(shard_map, known)
    return errors, told


def _unknown_users(shard_map: ShardMap, known: set[str]) -> list[str]:
    """Users whom a rule asks for a password that is stored nowhere."""
    return [
        f'auth[{index}].user: "{user}" is not in {shard_map.auth_users.file}'
        for index, rule in enumerate(shard_map.auth)
        if rule.method in NEED_SECRETS
        for user in rule.user
        if user not in known
    ]
