"""What one client may have at most: told with 53400, and everything goes on."""

from __future__ import annotations

from pgproxy.session.client_portals import MOST_PORTALS
from pgproxy.session.cursors import MOST_CURSORS
from pgproxy.session.settings import MOST_SETTINGS, MOST_SETTINGS_CHARACTERS
from tests.extended_client import SYNC, bind, converse, once, parse
from tests.fix_proxy import RunningProxy
from tests.raw_client import RawClient


def test_portals(shared_proxy: RunningProxy) -> None:
    with RawClient.logged_in(shared_proxy.conninfo) as client:
        converse(client, once("BEGIN"))
        bound = [bind(name="s", portal=f"p{number}") for number in range(MOST_PORTALS - 1)]  # and that of BEGIN
        (answer,) = converse(client, [parse("SELECT 1", "s"), *bound, SYNC])
        assert [shown[0] for shown in answer] == ["1", *["2"] * (MOST_PORTALS - 1), "Z"]
        assert converse(client, [bind(name="s"), SYNC])[0][0][0] == "2"
        error, ready = converse(client, [bind(name="s", portal="more"), SYNC])[0]
        assert (error[1]["C"], error[1]["M"], ready[1]) == ("53400", "too many portals", "E")


def test_cursors(shared_proxy: RunningProxy) -> None:
    with RawClient.logged_in(shared_proxy.conninfo) as client:
        client.query("BEGIN")
        declared = "; ".join(f"DECLARE c{number} CURSOR FOR SELECT 1" for number in range(MOST_CURSORS))
        assert [message.kind for message in client.query(declared)] == ["C"] * MOST_CURSORS + ["Z"]
        client.query("CLOSE c7")
        assert client.query("DECLARE c7 CURSOR FOR SELECT isbn FROM books")[0].kind == "C"
        error, ready = client.query("DECLARE more CURSOR FOR SELECT 1")
        assert (error.fields["C"], error.fields["M"], ready.text) == ("53400", "too many cursors", "E")


def test_settings(shared_proxy: RunningProxy) -> None:
    with RawClient.logged_in(shared_proxy.conninfo) as client:
        for first in range(0, MOST_SETTINGS, 100):
            said = "; ".join(f"SET my.s{number} = 'x'" for number in range(first, first + 100))
            assert client.query(said)[-2].text == "SET"
        assert client.query("SET my.s7 = 'y'")[0].text == "SET"
        assert client.query("SET my.more = 'x'")[0].fields["M"] == "too many settings"
        client.query("DISCARD ALL")
        assert client.query(f"SET my.long = '{'x' * MOST_SETTINGS_CHARACTERS}'")[0].fields["C"] == "53400"
        assert client.query("SET my.more = 'x'")[0].text == "SET"
