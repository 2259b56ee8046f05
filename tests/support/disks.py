"""Small file systems, to be filled."""

import contextlib
import os
import pathlib
import subprocess

import pytest


@contextlib.contextmanager
def mount(path, kilobytes):
    """Yields the path of a file system of so many KiB; skips without rights."""
    path = pathlib.Path(path)
    path.mkdir(exist_ok=True)
    size = f"size={kilobytes}k"
    command = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(path)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        yield path
    finally:
        # Lazily: libraries may still have a file open.
        subprocess.run(["umount", "--lazy", str(path)], check=True)
