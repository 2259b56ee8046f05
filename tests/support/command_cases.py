"""Runs many command lines, importing TensorFlow only once.

python tests/support/command_cases.py CASES.json RESULTS.json [PACKAGE ...]

CASES holds {name: [command, arguments...]}, where "NAME.py" is a file of
scripts/; RESULTS gets {name: [exit code, standard output, standard error]}.
Each case is a process of its own, forked from one that has the libraries
loaded. The packages cannot be imported.
"""

import importlib.abc
import json
import os
import pathlib
import runpy
import sys
import tempfile

import forked
import paths


class _Refuse(importlib.abc.MetaPathFinder):
    """Refuses packages, as if they were not installed."""

    def __init__(self, packages):
        self._packages = packages

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self._packages:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


def _become(arguments, streams):
    for number, stream in enumerate(streams, start=1):
        os.dup2(stream.fileno(), number)
    forked.end_with(lambda: _call(arguments))


def _call(arguments):
    if arguments[0].endswith(".py"):
        script = str(paths.SCRIPTS / arguments[0])
        sys.argv = [script, *arguments[1:]]
        runpy.run_path(script, run_name="__main__")
    else:
        sys.argv = ["efficientnet", *arguments]
        main.main()


def _run(arguments):
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            _become(arguments, (out, err))
        _, status = os.waitpid(child, 0)
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode())
        return [os.waitstatus_to_exitcode(status), *texts]


if __name__ == "__main__":
    sys.meta_path.insert(0, _Refuse(sys.argv[3:]))
    # program is among the first: it sets what TensorFlow reads.
    from efficientnet_tf.commands import main, program  # noqa: F401
    from efficientnet_tf.models import builder  # noqa: F401
    from efficientnet_tf.weights import loading  # noqa: F401
    from transfer import finetune  # noqa: F401

    cases = json.loads(pathlib.Path(sys.argv[1]).read_text())
    results = {name: _run(arguments) for name, arguments in cases.items()}
    pathlib.Path(sys.argv[2]).write_text(json.dumps(results))
