"""Pages of `efficientnet demo`, as tests open them."""

import base64
import time

import pytest

from efficientnet_tf.deploy.demo import packages

# Of JavaScript: the bytes of `file`, which is base64.
READ_FILE = "Uint8Array.from(atob(file), (letter) => letter.charCodeAt(0))"
# As a person's paste.
PASTE = f"""
const [file, name] = arguments;
const files = new DataTransfer();
files.items.add(new File([{READ_FILE}], name));
document.dispatchEvent(new ClipboardEvent("paste", {{ clipboardData: files }}));
"""


def require_packages():
    """Skips the test if what the pages run cannot be had."""
    try:
        for package in packages.PACKAGES:
            packages.fetch(package)
    except OSError as error:
        pytest.skip(f"needs npm's registry: {error}")


def encode(data):
    return base64.b64encode(data).decode()


def wait(page, script, seconds=20):
    """Waits until a script returns something true, and returns that."""
    end = time.monotonic() + seconds
    while not (found := page.run(script)):
        assert time.monotonic() < end, page.run(
            "return document.body.innerText"
        )
        time.sleep(0.05)
    return found


def read(page, name):
    return page.run(
        "return document.getElementById(arguments[0]).innerText", name
    )
