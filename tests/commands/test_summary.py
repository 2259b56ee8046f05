"""The block for people that ends a run."""

import pathlib
import shlex
import sys

import numpy as np
import pytest

from efficientnet_tf.commands import summary


def test_an_accuracy_is_told_with_its_interval_and_images():
    # 81 of 263: Newcombe, 1998, table I.
    assert summary.top1_text(81 / 263, 263) == (
        "30.8 % (95 % interval 25.5 to 36.6) on 263 test images"
    )
    assert summary.accuracy_text(0.5, None, 1_000, "validation") == (
        "50.0 % on 1,000 validation images"
    )


def test_facts_are_aligned_and_unknown_ones_left_out(capsys):
    facts = {"accuracy": "93 %", "time": "5 s", "model": None}
    summary.print_summary("Trained a network.", facts, [None])
    assert capsys.readouterr().out == (
        "\nTrained a network.\n  accuracy  93 %\n  time      5 s\n\n"
    )


@pytest.mark.parametrize("images", [[], ["1_b.png", "0_a c.png"]])
def test_a_run_names_its_model_and_commands_that_a_shell_takes(
    tmp_path, capsys, images
):
    workdir = tmp_path / "my run"
    (workdir / "examples").mkdir(parents=True)
    for name in images:
        (workdir / "examples" / name).touch()
    summary.print_run("Trained.", {}, str(workdir), ["efficientnet", "export"])
    title, model, head, *lines = capsys.readouterr().out.split("\n")[1:-2]
    del lines[0]
    commands = [shlex.split(line) for line in lines]
    assert model == f"  model  {workdir}/model.keras"
    assert len(commands) == 3 if images else 2
    if images:
        assert commands[0][-2:] == [
            f"--workdir={workdir}",
            f"{workdir}/examples/0_a c.png",
        ]
    assert commands[-1][-1] == f"--logdir={workdir}"


def test_a_program_outside_of_path_is_named_by_its_file(monkeypatch, capsys):
    monkeypatch.setattr(summary.shutil, "which", lambda name: None)
    summary.print_summary("Done.", {}, [["tensorboard", "--logdir=runs"]])
    (line,) = [
        line for line in capsys.readouterr().out.splitlines() if "log" in line
    ]
    program, flag = shlex.split(line)
    beside = pathlib.Path(sys.executable).with_name("tensorboard")
    assert (program, flag) == (str(beside), "--logdir=runs")


def test_what_is_not_installed_runs_as_a_module(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    summary.print_summary("Done.", {}, [["efficientnet", "explore"]])
    line = capsys.readouterr().out.splitlines()[-2]
    assert shlex.split(line) == [
        *(f"{tmp_path}/python", "-m", "efficientnet_tf", "explore")
    ]


CONFUSIONS = {
    "one class never found": (
        [[3, 1, 0], [2, 0, 0], [0, 0, 4]],
        ("58.3 %", "b", "b taken for a (2 of 2), a taken for b (1 of 4)"),
    ),
    "all right": ([[3, 0, 0], [0, 1, 0], [0, 0, 4]], ("100.0 %", None, None)),
    # Of a class without images nothing can be found.
    "no images": (
        [[1, 1, 0], [0, 0, 0], [0, 0, 4]],
        ("75.0 %", None, "a taken for b (1 of 2)"),
    ),
    "many pairs": (
        [[0, 4, 3], [2, 0, 1], [0, 0, 1]],
        (
            "33.3 %",
            "a, b",
            "a taken for b (4 of 7), a taken for c (3 of 7), "
            "b taken for a (2 of 3) and 1 more",
        ),
    ),
}


@pytest.mark.parametrize("name", CONFUSIONS)
def test_classes_and_pairs_that_an_accuracy_hides_are_named(name):
    counts, expected = CONFUSIONS[name]
    facts = summary.class_facts(np.array(counts), ["a", "b", "c"])
    assert tuple(facts.values()) == expected
    assert list(facts) == ["mean per class", "never found", "most confused"]
