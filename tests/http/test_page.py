"""The live page in headless Chromium: it shows a node going down and back, in light and dark, wide and narrow.

Run by `make test-page`; needs the programs chromium and chromedriver.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from pgproxy.demo.nodes import HOST, free_port
from pgproxy.shardmap.load import load
from pgproxy.shardmap.model import HttpSettings, Node
from pgproxy.shardmap.write import to_toml
from tests.fix_nodes import LibraryCluster
from tests.fix_proxy import running_proxy
from tests.http.conftest import HttpProxy

pytestmark = pytest.mark.browser

WEST = "west-library"
TIMEOUT_S = 60
TOKEN = "0123456789abcdef"
_SHOWN_TEXT = """
    const found = document.querySelector(arguments[0]);
    return found && found.checkVisibility() ? found.innerText : '';
"""
_TOO_WIDE = "return document.documentElement.scrollWidth > document.documentElement.clientWidth"
_ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    for argument in (*_ARGUMENTS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(argument)
    options.binary_location = _program("chromium")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(_program("chromedriver")))
    driver.set_page_load_timeout(TIMEOUT_S)
    try:
        yield driver
    finally:
        driver.quit()


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.fail(f"{name} is not installed (Debian: apt-get install chromium chromium-driver)")
    return path


def _until(driver: webdriver.Chrome, what: str, condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + TIMEOUT_S
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what}; the page:\n{driver.find_element(By.TAG_NAME, 'body').text}"
        time.sleep(0.1)
    return found


def _text(driver: webdriver.Chrome, selector: str) -> str:
    """What stands there, the newest of it: parts of the page are replaced at any time."""
    return str(driver.execute_script(_SHOWN_TEXT, selector))


def _complaints(driver: webdriver.Chrome) -> list[str]:
    """What the browser has said of errors: scripts, refused loads, the content security policy."""
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


def test_a_node_goes_down_and_back(browser: webdriver.Chrome, own_cluster: LibraryCluster, tmp_path: Path) -> None:
    http = HttpSettings(port=free_port())
    with running_proxy(own_cluster, tmp_path, http=http, slow_statement_ms=100) as proxy:
        web = HttpProxy(proxy, http.port or 0)
        browser.get(web.url)
        card = f'[data-node="{WEST}"]'
        _until(browser, "all nodes are up", lambda: _text(browser, "#t-nodes") == "3 / 3")
        assert _text(browser, f"{card} .badge") == "up"
        assert "ms" in _text(browser, f'{card} [data-fact="latency"]')
        assert _text(browser, "#link") == "live"
        assert _text(browser, "#banner") == ""

        with proxy.connect() as connection:
            for number in range(25):
                connection.execute("SELECT author FROM books WHERE branch = 'west' AND isbn = %s", (number,)).fetchall()
            connection.execute("SELECT count(*) FROM patrons").fetchall()
            connection.execute("SELECT pg_sleep(0.2)").fetchall()
        _until(browser, "the template", lambda: "WHERE branch = $1 AND isbn = $2" in _text(browser, "#templates"))
        _until(browser, "the ways", lambda: {"route", "scatter", "one node"} <= _ways(browser))
        _until(browser, "the slow one", lambda: "SELECT pg_sleep($1)" in _text(browser, "#slow"))
        assert "modulus 3, remainder 1" in _text(browser, "#shards")
        assert browser.execute_script("return document.querySelectorAll('.chart canvas').length") == 3

        own_cluster.kill(WEST)
        _until(browser, "the node is down", lambda: _text(browser, f"{card} .badge") == "down")
        assert _text(browser, "#t-nodes") == "2 / 3"
        assert f"{WEST} is down" in _text(browser, "#banner")
        alert = f'#alerts li[data-node="{WEST}"][data-up="false"]'
        assert WEST in _until(browser, "the alert", lambda: _text(browser, alert))
        assert _text(browser, f"{card} .error")

        own_cluster.restart(WEST)
        _until(browser, "the node is up", lambda: _text(browser, f"{card} .badge") == "up")
        _until(browser, "the banner goes", lambda: _text(browser, "#banner") == "")
        first = '#alerts li:first-child[data-up="true"]'
        assert WEST in _until(browser, "the recovery", lambda: _text(browser, first))
        assert _complaints(browser) == []

        with proxy.connect(dbname="pgproxy") as admin:
            admin.execute(f'PAUSE "{WEST}"')
            _until(browser, "the node is paused", lambda: _text(browser, f"{card} .badge") == "paused")
            assert f"{WEST} is paused" in _text(browser, "#banner")
            admin.execute(f'RESUME "{WEST}"')
            fourth = Node("fourth", HOST, own_cluster.nodes[WEST].port)
            shard_map = load(proxy.config)
            shard_map = replace(shard_map, nodes={**shard_map.nodes, "fourth": fourth})
            proxy.config.write_text(to_toml(shard_map), encoding="utf-8")
            admin.execute("RELOAD")
        _until(browser, "the new node", lambda: _text(browser, '[data-node="fourth"] .badge') == "up")
        _until(browser, "its heartbeat", lambda: "fourth" in _text(browser, "#chart-heartbeat"))

        for name, emulate in _SCREENS.items():
            emulate(browser)
            _until(browser, f"no sideways scrolling: {name}", lambda: not browser.execute_script(_TOO_WIDE))
        assert _complaints(browser) == []
    _until(browser, "the lost stream", lambda: "no answer" in _text(browser, "#link"))


def _ways(driver: webdriver.Chrome) -> set[str]:
    script = "return [...document.querySelectorAll('#templates .way')].map((way) => way.innerText)"
    return set(driver.execute_script(script))


def _screen(width: int, scheme: str) -> Callable[[webdriver.Chrome], None]:
    def emulate(driver: webdriver.Chrome) -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        background = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert background == {"dark": "rgb(15, 20, 27)", "light": "rgb(245, 246, 248)"}[scheme]

    return emulate


_SCREENS = {"phone, dark": _screen(360, "dark"), "tablet, light": _screen(800, "light"), "wide": _screen(1600, "dark")}


def test_a_token_is_asked_for(browser: webdriver.Chrome, library_cluster: LibraryCluster, tmp_path: Path) -> None:
    http = HttpSettings(port=free_port(), token=TOKEN)
    with running_proxy(library_cluster, tmp_path, http=http) as proxy:
        url = HttpProxy(proxy, http.port or 0).url
        browser.get(url)
        _until(browser, "the form", lambda: "Token" in _text(browser, "#login"))
        for given in ("wrong", TOKEN):
            browser.find_element(By.ID, "token").send_keys(given)
            browser.find_element(By.CSS_SELECTOR, "#login button").click()
            _until(browser, "an answer", lambda: _text(browser, "#login") == "" or _text(browser, "#token") == "")
        _until(browser, "the nodes", lambda: _text(browser, "#t-nodes") == "3 / 3")
        browser.execute_script("sessionStorage.clear()")
        browser.get("about:blank")
        browser.get(f"{url}/#token={TOKEN}")
        _until(browser, "the nodes", lambda: _text(browser, "#t-nodes") == "3 / 3")
        assert TOKEN not in browser.current_url
