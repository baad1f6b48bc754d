"""A headless Chromium that tests can click in: the W3C WebDriver protocol over HTTP, spoken to chromedriver.

Skips where Chromium or its driver is not installed (Debian: chromium, chromium-driver).
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import Request, urlopen

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
ARGUMENTS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
needs_chromium = pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="needs chromium and chromedriver")
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key that the standard gives to references of elements


class Browser:
    """One window; CSS selectors say where."""

    def __init__(self, port: int) -> None:
        self._home = f"http://127.0.0.1:{port}/session"
        options = {"binary": CHROMIUM, "args": ARGUMENTS}
        capabilities = {"alwaysMatch": {"goog:chromeOptions": options}}
        self._home += "/" + self._send("POST", "", capabilities=capabilities)["sessionId"]

    def _send(self, method: str, path: str, **body: Any) -> Any:
        data = json.dumps(body).encode() if method == "POST" else None
        request = Request(self._home + path, data, {"Content-Type": "application/json"}, method=method)
        with urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def _element(self, selector: str) -> str:
        found = self._send("POST", "/element", using="css selector", value=selector)
        return f"/element/{found[ELEMENT]}"

    def open(self, url: str) -> None:
        """Load a page."""
        self._send("POST", "/url", url=url)

    def script(self, text: str) -> Any:
        """What a function body returns in the page."""
        return self._send("POST", "/execute/sync", script=text, args=[])

    def click(self, selector: str) -> None:
        """Click as a user would: what is covered or not shown raises."""
        self._send("POST", self._element(selector) + "/click")

    def choose(self, selector: str, text: str) -> None:
        """Choose an option of a list by what it says."""
        number = self.script(
            f"return [...document.querySelectorAll('{selector} option')].findIndex(o => o.text === {json.dumps(text)})"
        )
        assert number >= 0, f"{selector} does not offer {text}"
        self.click(f"{selector} option:nth-child({number + 1})")

    def text(self, selector: str) -> str:
        """The text of an element, as shown."""
        return str(self._send("GET", self._element(selector) + "/text"))

    def resize(self, width: int, dark: bool = False) -> None:
        """The window's width in pixels, and whether its user prefers dark pages."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        for command, parameters in (
            ("Emulation.setDeviceMetricsOverride", size),
            ("Emulation.setEmulatedMedia", {"features": scheme}),
        ):
            self._send("POST", "/goog/cdp/execute", cmd=command, params=parameters)

    def screenshot(self) -> bytes:
        """A PNG of what is shown."""
        return base64.b64decode(self._send("GET", "/screenshot"))

    def close(self) -> None:
        """End the session."""
        self._send("DELETE", "")


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser for the block."""
    assert DRIVER is not None
    with subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, text=True) as driver:
        try:
            assert driver.stdout is not None
            started = next(found for line in driver.stdout if (found := re.search(r"successfully on port (\d+)", line)))
            browser = Browser(int(started[1]))
            try:
                yield browser
            finally:
                browser.close()
        finally:
            driver.terminate()
