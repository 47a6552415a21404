"""Rules: which one matches, what is wrong with them, and what is only warned of."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from pgproxy.shardmap.auth_rules import AuthMethod, AuthRule, client_address, find_rule, trust_warning, warnings
from pgproxy.shardmap.load import ShardMapErrors, load, parse, to_toml
from tests.shardmap.test_load import WHOLE

V4, V6 = ip_network("10.1.0.0/16"), ip_network("fd00::/8")
TRUST = AuthRule(AuthMethod.TRUST)
TLS = '[proxy.tls]\nclient_ca_file = "ca.pem"\n'
USERS = '[auth_users]\nfile = "users.txt"\n'


@pytest.mark.parametrize(
    ("rule", "address", "user", "database", "tls", "matches"),
    [
        (TRUST, "10.1.2.3", "any", "any", False, True),
        (AuthRule(AuthMethod.TRUST, (V4, V6)), "10.1.2.3", "u", "d", False, True),
        (AuthRule(AuthMethod.TRUST, (V4, V6)), "fd00::1", "u", "d", False, True),
        (AuthRule(AuthMethod.TRUST, (V4, V6)), "10.2.2.3", "u", "d", False, False),
        (AuthRule(AuthMethod.TRUST, (V4, V6)), "::1", "u", "d", False, False),
        (AuthRule(AuthMethod.TRUST, (V4,)), "::ffff:10.1.2.3", "u", "d", False, True),
        (AuthRule(AuthMethod.TRUST, (ip_network("fe80::/10"),)), "fe80::1%eth0", "u", "d", False, True),
        (AuthRule(AuthMethod.TRUST, (), ("u", "v")), "::1", "v", "d", False, True),
        (AuthRule(AuthMethod.TRUST, (), ("u", "v")), "::1", "V", "d", False, False),
        (AuthRule(AuthMethod.TRUST, (), (), ("d",)), "::1", "u", "d", False, True),
        (AuthRule(AuthMethod.TRUST, (), (), ("d",)), "::1", "u", "e", False, False),
        (AuthRule(AuthMethod.TRUST, tls=True), "::1", "u", "d", True, True),
        (AuthRule(AuthMethod.TRUST, tls=True), "::1", "u", "d", False, False),
        (AuthRule(AuthMethod.TRUST, tls=False), "::1", "u", "d", True, False),
    ],
)
def test_what_matches(rule: AuthRule, address: str, user: str, database: str, tls: bool, matches: bool) -> None:
    assert rule.matches(client_address(address), user, database, tls=tls) is matches


def test_the_first_match_decides() -> None:
    reject = AuthRule(AuthMethod.REJECT, (V4,))
    address = client_address("10.1.0.1")
    assert find_rule((reject, TRUST), address, "u", "d", tls=False) is reject
    assert find_rule((TRUST, reject), address, "u", "d", tls=False) is TRUST
    assert find_rule((), address, "u", "d", tls=False) is None
    assert find_rule((reject, TRUST), None, "u", "d", tls=False) is TRUST


def test_reading_and_writing(tmp_path: Path) -> None:
    text = (
        TLS
        + WHOLE
        + '[[auth]]\nmethod = "trust"\naddress = "127.0.0.1"\nuser = "a"\n'
        + '[[auth]]\nmethod = "cert"\naddress = ["all", "::1"]\nuser = ["a", "b$"]\ndatabase = "d"\ntls = true\n'
        + '[[auth]]\nmethod = "scram-sha-256"\naddress = ["10.0.0.0/8", "fd00::/8"]\ntls = false\n'
        + '[auth_users]\nfile = "users.txt"\nquery = "SELECT $1"\ncache_s = 1.5\n'
    )
    shard_map = parse(text, {})
    assert shard_map.auth == (
        AuthRule(AuthMethod.TRUST, (ip_network("127.0.0.1/32"),), ("a",)),
        AuthRule(AuthMethod.CERT, (), ("a", "b$"), ("d",), True),
        AuthRule(AuthMethod.SCRAM, (ip_network("10.0.0.0/8"), ip_network("fd00::/8")), tls=False),
    )
    assert shard_map.auth_users.query == "SELECT $1"
    assert parse(to_toml(shard_map), {}) == shard_map
    path = tmp_path / "shardmap.toml"
    path.write_text(text)
    assert load(path, {}).auth_users.file == str(tmp_path / "users.txt")


def problems(text: str) -> list[str]:
    with pytest.raises(ShardMapErrors) as wrong:
        parse(text, {})
    return list(wrong.value.problems)


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("", "auth[0].method: is missing"),
        ('method = "scram"', 'auth[0].method: must be "trust" or'),
        ('method = "trust"\naddress = "10.0.0.1/8"', 'auth[0].address: "10.0.0.1/8" is no address or network'),
        ('method = "trust"\naddress = "localhost"', 'auth[0].address: "localhost" is no address or network'),
        ('method = "trust"\naddress = []', "auth[0].address: must not be empty"),
        ('method = "trust"\nuser = 7', "auth[0].user: must be a list of names"),
        ('method = "trust"\nuser = "+staff"', 'auth[0].user: "+staff": groups'),
        ('method = "trust"\ndatabase = ["/^a"]', 'auth[0].database: "/^a": groups'),
        ('method = "trust"\ntls = "yes"', "auth[0].tls: must be true or false"),
        ('method = "cert"', 'auth[0].tls: must be true with method "cert"'),
        ('method = "trust"\nusr = "x"', 'auth[0].usr: unknown key; did you mean "user"?'),
    ],
)
def test_what_is_wrong_with_a_rule(rule: str, problem: str) -> None:
    (found,) = problems(f"{TLS}{WHOLE}[[auth]]\n{rule}\n{USERS}")
    assert found.startswith(problem)


@pytest.mark.parametrize("method", ["password", "md5", "scram-sha-256"])
def test_passwords_must_be_stored_somewhere(method: str) -> None:
    (found,) = problems(f'{WHOLE}[[auth]]\nmethod = "{method}"\n')
    assert found == f'auth[0].method: "{method}" needs auth_users.file or auth_users.query'


def test_certificates_need_an_authority() -> None:
    (found,) = problems(f'{WHOLE}[[auth]]\nmethod = "cert"\ntls = true\n')
    assert found == 'auth[0].method: "cert" needs proxy.tls.client_ca_file'


def test_a_query_without_a_user() -> None:
    (found,) = problems(f'{WHOLE}[auth_users]\nquery = "SELECT 1"\n')
    assert found == "auth_users.query: must have the user's name as $1"


@pytest.mark.parametrize(
    ("listen", "rules", "path"),
    [
        ("127.0.0.1", 'method = "trust"', None),
        ("0.0.0.0", 'method = "trust"', "auth[0]"),
        ("0.0.0.0", 'method = "trust"\nuser = "monitor"', "auth[0]"),
        ("0.0.0.0", 'method = "trust"\naddress = ["127.0.0.0/8", "::1"]', None),
        ("::", 'method = "trust"\naddress = ["127.0.0.0/8", "10.0.0.0/8"]', "auth[0]"),
        ("0.0.0.0", 'method = "reject"\n[[auth]]\nmethod = "trust"\ntls = true', "auth[1]"),
        ("0.0.0.0", 'method = "scram-sha-256"', None),
    ],
)
def test_trust_from_elsewhere_needs_the_flag(listen: str, rules: str, path: str | None) -> None:
    text = f'[proxy]\nlisten = "{listen}"\nFLAG\n{WHOLE}[[auth]]\n{rules}\n{USERS}'
    if path is None:
        assert parse(text.replace("FLAG", ""), {}).auth
        return
    (found,) = problems(text.replace("FLAG", ""))
    assert found.startswith(f'proxy.listen: "{listen}" can be reached from other machines')
    assert path in found
    allowed = parse(text.replace("FLAG", "allow_trust_from_anywhere = true"), {})
    assert (trust_warning(allowed.auth, listen) or "").startswith(f"{path}: ANYONE")


def test_warnings() -> None:
    password = AuthRule(AuthMethod.PASSWORD, (V4,))
    assert [each.split(":")[0] for each in warnings((password, TRUST, password), "0.0.0.0")] == [
        "auth[0].method",
        "auth[1]",
    ]
    assert list(warnings((password,), "127.0.0.1")) == []
    assert list(warnings((AuthRule(AuthMethod.PASSWORD, tls=True),), "0.0.0.0")) == []
    assert (trust_warning((), "0.0.0.0") or "").startswith("auth: ANYONE")
    assert trust_warning((password,), "0.0.0.0") is None
