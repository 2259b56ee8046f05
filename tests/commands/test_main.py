"""The command `efficientnet`: its list, its help, how it starts others."""

import json
import os
import subprocess
import sys

import pytest

import efficientnet_tf
import paths
from efficientnet_tf.commands import main
from efficientnet_tf.utils import files, run_folder

COMMAND = [sys.executable, "-m", "efficientnet_tf"]
HEAVY = ("absl", "numpy", "keras", "tensorflow", "h5py")


def run(*command):
    return subprocess.run(
        command,
        cwd=paths.ROOT,
        capture_output=True,
        text=True,
    )


def list_modules(*arguments):
    """Runs the command; returns what it printed and what it has imported."""
    program = (
        "import atexit, json, sys\n"
        "say = lambda: print(json.dumps(list(sys.modules)), file=sys.stderr)\n"
        "atexit.register(say)\n"
        f"sys.argv = ['efficientnet', *{arguments!r}]\n"
        "from efficientnet_tf.commands import main\n"
        "main.main()\n"
    )
    done = run(sys.executable, "-c", program)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(done.stderr)


def test_the_commands_are_the_files_of_the_room():
    folder = paths.ROOT / "efficientnet_tf/commands"
    found = {path.stem for path in folder.glob("*.py")}
    others = {"__init__", "main", "program", "quiet", "shared"}
    others |= {"held_out", "image_arguments", "classifier_flags"}
    others |= {"foreign", "summary", "trained_on", "described"}
    assert found - others == {name.replace("-", "_") for name in main.COMMANDS}


@pytest.mark.parametrize("arguments", [[], ["help"], ["--help"]])
def test_alone_it_lists_the_commands_with_a_line_each(arguments):
    done = run(*COMMAND, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line for line in done.stdout.splitlines() if line[:2] == "  "]
    assert [line.split()[0] for line in lines] == list(main.COMMANDS)
    assert all(line.endswith(".") for line in lines)
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_the_version():
    done = run(*COMMAND, "--version")
    assert done.stdout == f"efficientnet {efficientnet_tf.__version__}\n"


@pytest.mark.parametrize("argument", ["finetun", "fine-tune", "finetuning"])
def test_an_unknown_command_names_the_nearest(argument):
    done = run(*COMMAND, argument)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(
        f"efficientnet: Unknown command {argument!r}; did you mean 'finetune'? "
        "Choose one of finetune, find-lr, "
    )


def test_a_flag_before_the_command_is_refused():
    done = run(*COMMAND, "--task=digits", "finetune")
    assert done.returncode == 2
    assert done.stderr.startswith("efficientnet: Unknown flag '--task=digits';")


def test_the_list_imports_next_to_nothing():
    stdout, modules = list_modules()
    assert "finetune" in stdout
    assert not set(HEAVY) & set(modules)
    assert len(modules) <= 120


@pytest.mark.parametrize("name", main.COMMANDS)
def test_the_flags_of_a_command_show_without_a_framework(name):
    stdout, modules = list_modules(name, "--helpshort")
    assert f"efficientnet {name}:\n  --" in stdout
    # Its own alone, not absl's.
    assert "--verbosity" not in stdout and "--logtostderr" not in stdout
    assert not {"keras", "tensorflow", "h5py", "numpy"} & set(modules)


@pytest.mark.parametrize(
    "command",
    [
        (*COMMAND, "help", "predict"),
        (*COMMAND, "predict", "--help"),
        (sys.executable, "scripts/predict.py", "--help"),
    ],
)
def test_help_of_a_command_is_no_failure(command):
    done = run(*command)
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        "--workdir: In place of --model: a training or fine-tuning run."
        in done.stdout
    )


@pytest.mark.parametrize(
    "start", [(*COMMAND, "launch"), (sys.executable, "scripts/launch_local.py")]
)
def test_workers_of_a_launch_can_be_commands(start):
    # One that succeeds: a worker that fails may end another before its line.
    done = run(*start, "--workers=2", "--", "predict", "--help")
    assert done.returncode == 0, done.stderr
    shown = [line for line in done.stdout.splitlines() if "--workdir:" in line]
    assert len(shown) == 1
    assert f"[worker 1] {shown[0]}" in done.stderr.splitlines()


# All runs have ended before, so the workers have nothing to train; that they
# say so in their logs shows that they were started with the same flags.
@pytest.mark.parametrize(
    "start",
    [
        (*COMMAND, "study"),
        (sys.executable, "scripts/study_scaling.py"),
    ],
)
@pytest.mark.slow  # `launch` above starts others alike.
def test_a_study_starts_itself_again_as_its_workers(
    start, tmp_path, make_folder
):
    make_folder(tmp_path / "images", {"a": 10, "b": 10})
    flags = [
        f"--dataset=folder:{tmp_path}/images",
        f"--workdir={tmp_path}/study",
        "--bases=mobilenet_v1",
        "--directions=depth",
        "--seeds=1",
        "--eval_split=test",
    ]
    counted = run(*start, *flags, "--costs")
    assert counted.returncode == 0, counted.stderr
    for row in files.read_json_lines(tmp_path / "study/results.jsonl"):
        folder = tmp_path / "study/runs" / row["name"] / "seed=0"
        folder.mkdir(parents=True)
        result = {"top1": 0.5, "seed": 0}
        files.append_json_line(folder / run_folder.RESULTS_FILE, result)
    done = run(*start, *flags, "--workers=2")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["trained"] == 2
    rows = files.read_json_lines(tmp_path / "study/results.jsonl")
    assert [row["accuracy"] for row in rows] == [0.5] * len(rows)
    for index in range(2):
        log = (tmp_path / "study" / f"worker{index}.log").read_text()
        assert "runs have ended" in log
    assert os.path.exists(tmp_path / "study/report.md")
