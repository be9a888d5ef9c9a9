"""Chromium over its DevTools protocol: open a page, run JavaScript, take a screenshot."""

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking"
    " --disable-component-update --disable-sync --hide-scrollbars --remote-debugging-port=0"
).split()
TIMEOUT_SECONDS = 30.0


def find_browser() -> str | None:
    """Return the path of an installed Chromium, or None."""
    return next((path for path in map(shutil.which, PROGRAMS) if path), None)


class Browser:
    """One tab of a browser."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._number = 0

    def send_command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one command of the protocol and return its result."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=TIMEOUT_SECONDS))
            if message.get("id") == self._number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result

    def resize(self, width: int, height: int, *, mobile: bool = False) -> None:
        """Set the size of the page in CSS pixels."""
        self.send_command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=mobile,
        )

    def open(self, address: str) -> None:
        """Open an address and wait until it is loaded."""
        self.send_command("Page.navigate", url=address)
        self.wait_until("document.readyState === 'complete'")

    def evaluate(self, script: str) -> Any:
        """Return the value of an expression in the page."""
        answer = self.send_command(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_until(self, condition: str) -> None:
        """Wait until a condition holds in the page; fail after a timeout."""
        until = time.monotonic() + TIMEOUT_SECONDS
        while not self.evaluate(f"Boolean({condition})"):
            assert time.monotonic() < until, f"timeout while waiting for: {condition}"

    def save_screenshot(self, file: Path) -> None:
        """Save a PNG of the visible part of the page."""
        file.write_bytes(
            base64.b64decode(self.send_command("Page.captureScreenshot", format="png")["data"])
        )


@contextmanager
def open_browser(program: str, profile: Path) -> Iterator[Browser]:
    """Start a Chromium with an empty profile; yield its tab."""
    process = subprocess.Popen(
        [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        line = next(line for line in process.stderr if "DevTools listening on" in line)
        host = line.split("ws://")[1].split("/")[0]
        with urllib.request.urlopen(f"http://{host}/json/list") as answer:
            target = next(entry for entry in json.load(answer) if entry["type"] == "page")
        with connect(target["webSocketDebuggerUrl"], max_size=None) as socket:
            tab = Browser(socket)
            tab.send_command("Page.enable")
            yield tab
    finally:
        process.terminate()
        process.wait()
