"""Runs commands, each in a fork of this process, and says what they loaded.

Its arguments: a JSON file with a list of command lines, and a file for the
list of their results: [exit code, frameworks imported, standard error].
"""

import json
import os
import pathlib
import signal
import sys
import tempfile

import forked

HEAVY = ("keras", "tensorflow", "jax", "torch")


class Hook:
    """Notes that a framework is asked for, were it not installed, too."""

    def __init__(self):
        self.asked = set()

    def find_spec(self, name, path=None, target=None):
        if name in HEAVY:
            self.asked.add(name)


HOOK = Hook()


def run(arguments, folder):
    """Runs a command in a fork; returns its result."""
    files = [pathlib.Path(folder, name) for name in ("asked", "stderr")]
    child = os.fork()
    if not child:
        forked.end_with(lambda: _run_here(arguments, *files))
    _, status = os.waitpid(child, 0)
    asked, stderr = (file.read_text() for file in files)
    return os.waitstatus_to_exitcode(status), json.loads(asked), stderr


def _run_here(arguments, asked, stderr):
    for number, name in ((1, os.devnull), (2, stderr)):
        opened = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, number)
    from efficientnet_tf.commands import main, program

    if arguments[0] == "serve":  # Else it would run until somebody ends it.
        program.print_result = lambda _: os.kill(os.getpid(), signal.SIGTERM)
    sys.argv = ["efficientnet", *arguments]
    try:
        main.main()
    finally:
        asked.write_text(json.dumps(sorted(HOOK.asked)))


def main():
    source, target = sys.argv[1:]
    sys.meta_path.insert(0, HOOK)
    # What most commands import: once, not in each fork.
    from efficientnet_tf.commands import shared  # noqa: F401
    from transfer.report import run_report  # noqa: F401

    commands = json.loads(pathlib.Path(source).read_text())
    with tempfile.TemporaryDirectory() as folder:
        found = [run(arguments, folder) for arguments in commands]
    pathlib.Path(target).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
