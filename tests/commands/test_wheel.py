"""The command from a built wheel, outside of any checkout."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig

import numpy as np
import pytest
from PIL import Image

import paths

# What the wheel is built of.
SOURCES = ("efficientnet_tf", "transfer", "setup.cfg", "pyproject.toml")
TEXTS = ("README.md", "LICENSE")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A function that runs `efficientnet` in an empty folder."""
    tmp = tmp_path_factory.mktemp("wheel")
    # Built from a copy, because building leaves files beside the sources.
    for name in (*SOURCES, *TEXTS):
        source, target = paths.ROOT / name, tmp / "source" / name
        target.parent.mkdir(exist_ok=True)
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, target)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    alone = ["--no-deps", "--no-index"]
    build = ["wheel", *alone, "--no-build-isolation", "-w", tmp, tmp / "source"]
    subprocess.run([*pip, *build], check=True)
    shutil.rmtree(tmp / "source")
    (wheel,) = tmp.glob("*.whl")
    venv = [sys.executable, "-m", "venv", "--without-pip", tmp / "venv"]
    subprocess.run(venv, check=True)
    python = tmp / "venv/bin/python"
    install = ["--python", python, "install", *alone, wheel]
    subprocess.run([*pip, *install], check=True)
    # The dependencies come from the environment of the tests. Python reads no
    # .pth files in there, so an editable installation of ours is not seen.
    (packages,) = (tmp / "venv/lib").glob("python*/site-packages")
    others = sysconfig.get_path("purelib")
    (packages / "dependencies.pth").write_text(f"{others}\n")
    (tmp / "empty").mkdir()
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment["EFFICIENTNET_TF_CACHE"] = str(tmp / "cache")

    def run(*command):
        done = subprocess.run(
            [tmp / "venv/bin" / command[0], *command[1:]],
            cwd=tmp / "empty",
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run.folder = tmp / "empty"
    run.packages = packages
    return run


def test_the_packages_are_those_of_the_wheel(run):
    program = "import efficientnet_tf, transfer as t; print(t.__file__)"
    program += "; print(efficientnet_tf.__file__)"
    for line in run("python", "-c", program).splitlines():
        assert line.startswith(str(run.packages))


def test_packages_that_type_checkers_read_are_marked(run):
    for package in ("efficientnet_tf", "transfer"):
        assert (run.packages / package / "py.typed").exists()


def test_the_page_of_the_demo_is_there(run):
    web = "efficientnet_tf/deploy/demo/web"
    for path in (paths.ROOT / web).iterdir():
        assert (run.packages / web / path.name).is_file()


def test_the_command_lists_its_commands_and_its_version(run):
    assert "  finetune " in run("efficientnet")
    assert run("efficientnet", "--version").startswith("efficientnet 0.")


def test_the_explorer_finds_its_files(run):
    result = json.loads(run("efficientnet", "explore").splitlines()[-1])
    assert result["output"] == str(run.folder / "explorer.html")


@pytest.mark.slow  # As from a checkout.
def test_digits_are_learned(run):
    flags = ["--task=digits", "--recipe=linear", "--workdir=run"]
    changes = ["--set=resolution=32", "--set=l2_sweep=0.01"]
    out = run("efficientnet", "finetune", *flags, *changes)
    # Of ten classes, on features of 32 pixels.
    assert json.loads(out.splitlines()[-1])["top1"] > 0.5


def test_a_network_names_the_classes_of_an_image(run):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(run.folder / "image.png")
    model = ("--model=efficientnet_lite0", "--weights=imagenet", "--top=3")
    out = run("efficientnet", "predict", *model, "image.png")
    result = json.loads(out.splitlines()[-1])
    assert (result["images"], result["unreadable"]) == (1, 0)
    # A header and three classes.
    assert len(out.splitlines()) == 1 + 3 + 1
