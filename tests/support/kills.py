"""Kills commands at random moments; what they leave in the end must not differ.

python tests/support/kills.py FOLDER KILLS SEED [KIND ...]

Each kind of work runs once undisturbed. Then it is started again and again in
another folder, and killed by a random signal within the time that it took,
until it ends by itself. Its results must be those of the undisturbed one. A
line of JSON is printed for each kind. Every start is a process of its own,
forked from one that has the libraries loaded but no devices set up.
"""

import json
import os
import pathlib
import random
import shutil
import signal
import sys
import time
import zipfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import forked
import line_fit
import samples
from efficientnet_tf.commands import main
from efficientnet_tf.models import variants
from efficientnet_tf.training import callbacks, checkpoints
from efficientnet_tf.utils import files

SMALL = ("epochs=2", "batch_size=4", "resolution=32")
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
# Besides 0, how a run may end that got a signal.
CODES = (75, 130, 143)
# Of rows: what differs from one run to the next.
TIMES = (
    "seconds",
    "finished",
    "images_per_second",
    "input_wait",
    "workdir",
    "phases",
)


def _set(*settings):
    return [f"--set={setting}" for setting in settings]


def _finetune(images, workdir, recipe, *settings):
    return [
        ["finetune", f"--task=folder:{images}", f"--recipe={recipe}"]
        + ["--model=tiny", "--weights=none", f"--workdir={workdir}/run"]
        + _set(*settings)
    ]


def _export(workdir):
    where = f"--workdir={workdir}/run"
    return [["export", where, f"--output={workdir}/run/saved_model"]]


def _list_kinds(images):
    """Kind -> a function from a folder to the command lines to run in it."""
    data = [f"--dataset=folder:{images}", "--eval_split=test"]
    trained = ["train", "--model=tiny", "--recipe=smoke", *data]
    return {
        "quickstart": lambda folder: (
            _finetune(images, folder, "full", *SMALL, "head=linear")
            + _export(folder)
        ),
        "fast": lambda folder: _finetune(images, folder, "fast", *SMALL),
        "grid": lambda folder: [
            ["grid", f"--tasks=folder:{images}", "--models=tiny"]
            + ["--recipes=full", "--weights=none", "--seeds=2"]
            + ["--search=learning_rate=0.001,0.01", f"--workdir={folder}/run"]
            + _set(*SMALL, "head=random")
        ],
        "train": lambda folder: [
            [*trained, f"--workdir={folder}/run"]
            + _set("epochs=6", "batch_size=8", "checkpoint_minutes=0.001")
        ],
        "search": lambda folder: [
            ["search", "--base=tiny", *data, "--seeds=1", "--step=0.4"]
            + ["--phis=0,1", f"--workdir={folder}/run"]
            + _set("epochs=1", "warmup_epochs=0", "batch_size=8")
        ],
        "export": lambda folder: (
            _finetune(images, folder, "full", *SMALL, "head=random")
            + 3 * _export(folder)
        ),
    }


def _run_commands(lines):
    """Runs command lines one after the other, as a shell script does."""
    variants.VARIANTS["tiny"] = samples.make_tiny_row(variants)
    for line in lines:
        pid = os.fork()
        if pid == 0:
            _call(lambda line=line: main.run(line[0], ["efficientnet", *line]))
        # The script passes a signal on, and ends with the code of its command.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda n, _, pid=pid: os.kill(pid, n))
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if code:
            os._exit(code if code > 0 else 128 - code)


def _call(function):
    """Ends this process with a function's exit code; signals are Python's."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    forked.end_with(function)


def _start(function, log):
    """Returns the process that calls a function, in a group of its own."""
    pid = os.fork()
    if pid:
        return pid
    os.setpgid(0, 0)
    with open(log, "ab") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    _call(function)


def _end(pid, after, number):
    """Kills a process after some seconds; returns its code, None if killed."""
    deadline = time.monotonic() + after
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    if number == signal.SIGKILL:
        os.killpg(pid, number)
    else:
        os.kill(pid, number)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return None if code == -number or code in CODES else code


def fit_line(folder):
    """A run of a few epochs with all files of a run, in a second."""
    workdir = pathlib.Path(folder) / "run"
    keras.utils.set_random_seed(0)
    network = line_fit.compile_line()
    variables = checkpoints.state_of(network)
    done = checkpoints.restore(workdir / "checkpoints", variables)
    saver = callbacks.Checkpointer(
        workdir / "checkpoints", variables, first_step=done, score="loss"
    )
    watchers = callbacks.list_callbacks(saver, workdir, epochs=8, batch_size=8)
    line_fit.fit(network, watchers, 8, done // line_fit.STEPS)


def describe(folder):
    """Returns what a folder holds, without what differs between two runs."""
    found = {}
    for path in sorted(pathlib.Path(folder).rglob("*")):
        name = str(path.relative_to(folder))
        if path.name == "results.jsonl":
            rows = files.read_json_lines(path)
            found[name] = [
                {
                    # A variant's file stands in the folder.
                    k: str(v).replace(str(folder), "")
                    for k, v in row.items()
                    if k not in TIMES
                }
                for row in rows
            ]
        elif path.name == "metrics.jsonl":
            rows = files.read_json_lines(path)
            # An epoch that was cut off after its row has it twice.
            found[name] = {row["epoch"]: row["loss"] for row in rows}
        elif path.name == "model.keras":
            with zipfile.ZipFile(path) as archive:
                found[name] = archive.read("model.weights.h5")
        elif path.name == "checkpoints":
            # Which older ones there are depends on the time that steps took.
            newest = checkpoints.list_newest(path)[0]
            with np.load(newest / checkpoints.STATE_FILE) as arrays:
                state = [arrays[k].tobytes() for k in sorted(arrays)]
            found[name] = (newest.name, state)
        elif path.name.startswith("variables.data"):
            found[name] = path.stat().st_size
        elif path.name.startswith(files.PREFIX):
            found[name] = "left behind"
    return found


def campaign(kind, function, folder, kills, moments):
    """Returns the line about one kind of work."""
    whole, killed = folder / f"{kind}-whole", folder / f"{kind}-killed"
    whole.mkdir(parents=True)
    begin = time.monotonic()
    log = folder / f"{kind}.log"
    code = _end(_start(lambda: function(whole), log), 3600, signal.SIGKILL)
    seconds = time.monotonic() - begin
    expected = describe(whole)
    line = {"kind": kind, "whole_s": round(seconds, 1), "whole_code": code}
    line |= {"kills": 0, "runs": 0, "bad_codes": [], "different": []}
    while line["kills"] < kills:
        shutil.rmtree(killed, ignore_errors=True)
        killed.mkdir()
        code, line["runs"] = None, line["runs"] + 1
        while code is None:
            after, number = moments.uniform(0, seconds), signal.SIGKILL
            if line["kills"] < kills:
                number = moments.choice(SIGNALS)
            else:
                after = 3600
            code = _end(_start(lambda: function(killed), log), after, number)
            line["kills"] += code is None
        if code:
            line["bad_codes"].append(code)
        found = describe(killed)
        different = sorted(
            name
            for name in {*expected, *found}
            if expected.get(name) != found.get(name)
        )
        if different:  # To be looked at.
            kept = folder / f"{kind}-different-{line['runs']}"
            shutil.copytree(killed, kept)
            line["different"] += [f"{kept.name}/{name}" for name in different]
    return line


def run(folder, kills, seed, kinds=()):
    """Yields a line about each kind; `kills` are shared by them."""
    folder = pathlib.Path(folder)
    images = samples.make_folder(folder / "images", {"a": 12, "b": 12}, 32)
    work = {
        kind: lambda there, make=make: _run_commands(make(there))
        for kind, make in _list_kinds(images).items()
    }
    work["line"] = fit_line
    kinds = kinds or [kind for kind in work if kind != "line"]
    moments = random.Random(seed)
    for number, kind in enumerate(kinds):
        share = kills // len(kinds) + (number < kills % len(kinds))
        yield campaign(kind, work[kind], folder, share, moments)


if __name__ == "__main__":
    _folder, _kills, _seed, *_kinds = sys.argv[1:]
    for _line in run(_folder, int(_kills), int(_seed), _kinds):
        print(json.dumps(_line), flush=True)
