"""A headless Chromium, driven over the WebDriver protocol."""

import base64
import contextlib
import json
import pathlib
import re
import shutil
import subprocess
import tempfile
import urllib.request

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


def find():
    """Returns the paths of Chromium and its driver; None without them."""
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next(filter(None, map(shutil.which, names)), None)
    driver = shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


@contextlib.contextmanager
def start(browser, driver, *flags):
    """Yields a `Page` in a browser that ends with the block.

    `flags` are further ones of the browser's.
    """
    process = subprocess.Popen(
        [driver, "--port=0"], stdout=subprocess.PIPE, text=True
    )
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        try:
            port = next(
                match[1]
                for line in process.stdout
                if (match := re.search(r"successfully on port (\d+)", line))
            )
            options = {
                "binary": browser,
                "args": [*FLAGS, *flags, f"--user-data-dir={profile}"],
            }
            page = Page(f"http://127.0.0.1:{port}/session", options)
            yield page
            page.close()
        finally:
            process.terminate()
            process.wait()
            process.stdout.close()


class Page:
    """One window."""

    def __init__(self, address, options):
        always = {"browserName": "chrome", "goog:chromeOptions": options}
        body = {"capabilities": {"alwaysMatch": always}}
        session = _send("POST", address, body)["sessionId"]
        self._address = f"{address}/{session}"

    def open(self, path):
        """Opens a file, or an address that begins with http or file."""
        url = str(path)
        if not url.startswith(("http", "file:")):
            url = pathlib.Path(path).resolve().as_uri()
        self._post("url", {"url": url})

    def run(self, script, *arguments):
        """Runs the body of a JavaScript function; returns what it returns.

        A promise is waited for.
        """
        body = {"script": script, "args": arguments}
        return self._post("execute/sync", body)

    def resize(self, width, height):
        """Sets the page's size, which may be below that of a window."""
        parameters = {"width": width, "height": height}
        parameters |= {"deviceScaleFactor": 1, "mobile": False}
        self._devtools("Emulation.setDeviceMetricsOverride", parameters)

    def prefer(self, scheme):
        """Asks for "light" or "dark" colours, as a person's system does."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self._devtools("Emulation.setEmulatedMedia", {"features": [feature]})

    def type(self, *keys):
        """Presses keys one after the other on what has the focus."""
        actions = [
            {"type": kind, "value": key}
            for key in keys
            for kind in ("keyDown", "keyUp")
        ]
        source = {"type": "key", "id": "keyboard", "actions": actions}
        self._post("actions", {"actions": [source]})

    def screenshot(self, path):
        """Writes all of the page as a PNG file."""
        parameters = {"captureBeyondViewport": True}
        data = self._devtools("Page.captureScreenshot", parameters)["data"]
        pathlib.Path(path).write_bytes(base64.b64decode(data))

    def close(self):
        _send("DELETE", self._address)

    def _devtools(self, command, parameters):
        body = {"cmd": command, "params": parameters}
        return self._post("goog/cdp/execute", body)

    def _post(self, command, body):
        return _send("POST", f"{self._address}/{command}", body)


def _send(method, address, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, method=method)
    # Not through a proxy: it is this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=120) as answer:
        return json.load(answer)["value"]
