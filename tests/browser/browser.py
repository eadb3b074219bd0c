# SPDX-License-Identifier: GPL-3.0-or-later
"""A headless Chromium, spoken to over a pipe in its DevTools protocol: no port is opened, and nothing else is needed."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import signal
import subprocess
import tempfile
from types import TracebackType
from typing import Any

FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
    "--remote-debugging-pipe",
]
#: Seconds that an answer may take on a busy machine before Chromium is given up.
PATIENCE = 120


class BrowserError(Exception):
    """What Chromium answered in place of a result."""


class Browser:
    """One page of one Chromium with a profile of its own. Events pile up in ``events``."""

    def __enter__(self) -> Browser:
        self.events: list[dict[str, Any]] = []
        self._count = 0
        self._profile = tempfile.TemporaryDirectory(prefix="lvs.ipvs-browser.", ignore_cleanup_errors=True)
        (to_read, self._out), (self._in, to_write) = os.pipe(), os.pipe()
        # Chromium reads file 3 and writes file 4; the shell puts them there, from numbers that it has no use for.
        theirs = [fcntl.fcntl(end, fcntl.F_DUPFD, 100) for end in (to_read, to_write)]
        script = 'exec "$@" 3<&{} 4>&{}'.format(*theirs)
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            ["bash", "-c", script, "bash", "chromium", *FLAGS, f"--user-data-dir={self._profile.name}", "about:blank"],
            pass_fds=theirs, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log,
            start_new_session=True,
        )  # fmt: skip
        for end in (to_read, to_write, *theirs):
            os.close(end)
        self._reader = os.fdopen(self._in, "rb")
        self._alarm = signal.signal(signal.SIGALRM, _late)
        self._session = ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        signal.signal(signal.SIGALRM, self._alarm)
        self._reader.close()
        os.close(self._out)
        self._log.close()
        self._profile.cleanup()

    def _message(self) -> dict[str, Any]:
        letters = bytearray()
        while (letter := self._reader.read(1)) != b"\0":
            if not letter:
                self._log.seek(0)
                raise BrowserError(f"chromium ended: {self._log.read().decode(errors='replace')[-2000:]}")
            letters += letter
        message: dict[str, Any] = json.loads(letters)
        return message

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the protocol, and its result."""
        self._count += 1
        request = {"id": self._count, "method": method, "params": params}
        if self._session:
            request["sessionId"] = self._session
        signal.alarm(PATIENCE)
        try:
            os.write(self._out, json.dumps(request).encode() + b"\0")
            while (message := self._message()).get("id") != self._count:
                self.events.append(message)
        finally:
            signal.alarm(0)
        if "error" in message:
            raise BrowserError(f"{method}: {message['error']}")
        result: dict[str, Any] = message["result"]
        return result

    def wait(self, event: str) -> None:
        """Until an event has come that was not there before the last show()."""
        signal.alarm(PATIENCE)
        try:
            while not any(message.get("method") == event for message in self.events):
                self.events.append(self._message())
        finally:
            signal.alarm(0)

    def show(self, url: str, width: int, height: int, dark: bool) -> None:
        """A page, in a window of that size."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.events.clear()
        self.call("Page.navigate", url=url)
        self.wait("Page.loadEventFired")

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in result:
            raise BrowserError(str(result["exceptionDetails"]))
        return result["result"].get("value")

    def press(self, key: str, **more: Any) -> None:
        """A key, down and up."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, **more)

    def picture(self) -> bytes:
        """What the window shows, as a PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])


def _late(_signal: int, _frame: object) -> None:
    raise BrowserError(f"no answer from chromium in {PATIENCE} s")
