"""A browser without a window, over the pipes of Chromium's DevTools protocol."""

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
)
# The browser reads from 3 and writes to 4; first to higher numbers, in case one of the two is in the way.
LAUNCHER = (
    "import os, sys; from fcntl import fcntl, F_DUPFD\n"
    "for new, old in enumerate([fcntl(int(each), F_DUPFD, 10) for each in sys.argv[1:3]], 3): os.dup2(old, new)\n"
    "os.execv(sys.argv[3], sys.argv[3:])"
)


def find_chromium():
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """Opens one page at a time; `events` has what the page said since it was opened."""

    def __init__(self, program):
        self.ids, self.events, self.session = itertools.count(1), [], None
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        read, self.to = os.pipe()
        self.source, write = os.pipe()
        options = [*OPTIONS, f"--user-data-dir={self.profile.name}", "--remote-debugging-pipe", "about:blank"]
        launcher = [sys.executable, "-c", LAUNCHER, str(read), str(write), program, *options]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
        self.process = subprocess.Popen(launcher, pass_fds=(read, write), **quiet)
        os.close(read), os.close(write)
        self.replies = self._read()
        try:
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                self.call(f"{domain}.enable")
        except BaseException:
            self.close()
            raise

    def _read(self):
        held = b""
        while piece := os.read(self.source, 1 << 16):
            *whole, held = (held + piece).split(b"\0")
            yield from map(json.loads, whole)
        raise RuntimeError("the browser has gone")

    def call(self, method, **parameters):
        number = next(self.ids)
        message = {"id": number, "method": method, "params": parameters}
        message |= {"sessionId": self.session} if self.session else {}
        os.write(self.to, json.dumps(message).encode() + b"\0")
        for reply in self.replies:
            if reply.get("id") == number:
                assert "error" not in reply, reply
                return reply["result"]
            self.events.append(reply)
        return None

    def open(self, path, width, scheme):
        """Open a file in a window of this width, in a "light" or "dark" scheme, and wait until it is there."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.events.clear()
        self.call("Page.navigate", url=path.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(next(self.replies))

    def evaluate(self, script):
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"]["value"]

    def complaints(self):
        """Errors and warnings of the console, exceptions, and requests for anything but the page and what is in it."""
        told = [(event["method"], event["params"]) for event in self.events if "params" in event]
        logged = {"Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"}
        asked = [p["request"]["url"] for method, p in told if method == "Network.requestWillBeSent"]
        return [told_ for told_ in told if told_[0] in logged], [url for url in asked if not url.startswith("data:")]

    def close(self):
        with contextlib.suppress(Exception):
            self.session = None
            self.call("Browser.close")
        os.close(self.to), os.close(self.source)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.profile.cleanup()
