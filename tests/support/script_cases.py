"""Runs many command lines of the scripts, importing TensorFlow only once.

python tests/script_cases.py CASES.json RESULTS.json

CASES holds {name: [script, arguments...]}; RESULTS gets {name: [exit code,
standard output, standard error]}. Each case is a process of its own, forked
import paths
from one that has the libraries loaded.
"""

import json
import os
import pathlib
import runpy
import sys
import tempfile

import paths


def _become(arguments, streams):
    for number, stream in enumerate(streams, start=1):
        os.dup2(stream.fileno(), number)
    script = str(paths.SCRIPTS / f"{arguments[0]}.py")
    sys.argv = [script, *arguments[1:]]
    try:
        runpy.run_path(script, run_name="__main__")
        code = 0
    except SystemExit as done:
        code = done.code or 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 99
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


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
    sys.path.insert(0, str(paths.SCRIPTS))
    import cli  # noqa: F401  First: it sets what TensorFlow reads.

    from efficientnet_tf.models import builder  # noqa: F401
    from efficientnet_tf.weights import loading  # noqa: F401
    from transfer import finetune  # noqa: F401

    cases = json.loads(pathlib.Path(sys.argv[1]).read_text())
    results = {name: _run(arguments) for name, arguments in cases.items()}
    pathlib.Path(sys.argv[2]).write_text(json.dumps(results))
