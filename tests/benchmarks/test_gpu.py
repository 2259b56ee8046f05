"""benchmarks/gpu.py, on a CPU as far as that goes."""

import json
import os
import shutil
import subprocess
import sys
import textwrap

import pytest

import paths
from efficientnet_tf.models import variants

PROGRAM = paths.ROOT / "benchmarks/gpu.py"

# Children are started with the same file, so they begin with this too.
HEADER = f"""
import pathlib, sys

class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "tensorflow":
            raise ModuleNotFoundError(f"No module named {{name!r}}")

sys.meta_path.insert(0, NotInstalled())
sys.path[:0] = [{str(paths.ROOT)!r}, {str(paths.SUPPORT)!r}]
sys.path.insert(0, {str(PROGRAM.parent)!r})

import samples, gpu
from absl import app
from efficientnet_tf.models import variants

variants.VARIANTS["tiny"] = samples.make_tiny_row(variants)
"""


@pytest.fixture(scope="module")
def gpu(load_benchmark):
    """The program as a module; its flags are not parsed."""
    return load_benchmark("gpu")


@pytest.fixture
def start(tmp_path):
    """A function that runs a program without TensorFlow, after `HEADER`."""
    pytest.importorskip("jax")

    def start(program, *arguments):
        path = tmp_path / "program.py"
        path.write_text(HEADER + textwrap.dedent(program))
        return finish([sys.executable, path, *arguments])

    return start


def finish(command, platform="cpu"):
    """Returns the last line of standard output, and all of it."""
    done = subprocess.run(
        list(map(str, command)),
        env=os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": platform},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stdout


@pytest.mark.slow
def test_the_program_prints_its_table_without_tensorflow(start):
    result, text = start(
        "app.run(gpu.main)",
        "--models=tiny",
        "--sides=ours",
        "--batch_sizes=2",
        "--steps=1",
    )
    assert [row["mode"] for row in result["rows"]] == ["train", "inference"]
    assert result["precision"] == "mixed_bfloat16"
    for row, line in zip(result["rows"], text.splitlines()[1:], strict=False):
        assert (row["model"], row["resolution"]) == ("tiny", 32)
        assert row["timm"] is row["ratio"] is row["published"] is None
        ours = row["ours"]
        assert ours["device"] == "cpu" and ours["peak_memory_mib"] is None
        assert [each["batch_size"] for each in ours["tried"]] == [2]
        assert ours["images_per_second"] > 0
        assert line.split()[:4] == [
            "tiny",
            row["mode"],
            "32px",
            str(ours["images_per_second"]),
        ]


@pytest.mark.slow  # Of a program for GPUs.
def test_a_step_does_to_every_variable_what_fit_does(start):
    result, _ = start(
        """
        import json
        import jax
        import numpy as np

        def make():
            return gpu.make_ours("tiny", 32, "float32")

        def variables(network, optimizer):
            return (
                network.trainable_variables,
                network.non_trainable_variables,
                optimizer.variables,
            )

        network, optimizer, loss = make()
        groups = variables(network, optimizer)
        state = [[v.value for v in group] for group in groups]
        before = [[np.array(v) for v in group] for group in state]
        rng = np.random.default_rng(0)
        images = rng.normal(size=(4, 32, 32, 3)).astype("float32")
        labels = np.eye(1000, dtype="float32")[:4]
        step = jax.jit(gpu.make_jax_train_step(network, optimizer, loss))
        losses = []
        for _ in range(3):
            state, value = step(state, images, labels)
            losses.append(float(value))

        network, optimizer, loss = make()
        network.compile(optimizer, loss)
        expected = []
        for _ in range(3):
            network.reset_metrics()
            expected.append(float(network.train_on_batch(images, labels)))
        different = moved = 0
        for group, first, wanted in zip(
            state, before, variables(network, optimizer), strict=True
        ):
            for value, begin, variable in zip(
                group, first, wanted, strict=True
            ):
                want = np.array(variable.value)
                moved += int((want != begin).any())
                close = np.allclose(value, want, rtol=1e-4, atol=1e-6)
                different += int(not close)
        print(json.dumps([losses, expected, different, moved, sum(
            map(len, state)
        )]))
        """
    )
    losses, expected, different, moved, count = result
    assert losses == pytest.approx(expected, rel=1e-5)
    assert different == 0
    # All but the optimizer's learning rate.
    assert moved == count - 1


# Seconds a step by batch size → the sizes tried.
SEARCHES = {
    "until no faster": ({1: 1, 2: 1, 4: 1.5, 8: 3.0, 16: 1}, [1, 2, 4, 8]),
    "until slower": ({1: 1, 2: 3, 4: 1}, [1, 2]),
    "until the last": ({1: 1, 2: 1, 4: 1}, [1, 2, 4]),
}


@pytest.mark.parametrize("seconds,tried", SEARCHES.values(), ids=SEARCHES)
def test_batches_grow_until_throughput_stops_rising(
    seconds, tried, gpu, monkeypatch
):
    class Engine:
        def peak_memory(self):
            return 3 * 2**20

    monkeypatch.setattr(
        gpu,
        "time_steps",
        lambda _, batch_size, steps: seconds[batch_size] * steps,
    )
    lines = list(gpu.search(Engine(), seconds, 5))
    assert lines == [
        {
            "batch_size": size,
            "images_per_second": pytest.approx(size / seconds[size], abs=0.1),
            "peak_memory_mib": 3,
        }
        for size in tried
    ]


def test_a_step_that_computes_no_number_is_no_measurement(gpu):
    class Engine:
        def prepare(self, batch_size):
            return lambda steps: float("nan")

    with pytest.raises(FloatingPointError, match="nan"):
        gpu.time_steps(Engine(), 1, 1)


LINES = """
import sys
print('{"device": "x"}')
print('{"batch_size": 1, "images_per_second": 5.0, "peak_memory_mib": 1}')
print('{"batch_size": 2, "images_per_second": 4.0, "peak_memory_mib": 2}')
"""
# What a child does → its best batch and what ended it.
CHILDREN = {
    "ends": (LINES, 1, "no larger or no faster batch"),
    "JAX's": (
        LINES + "sys.exit('RESOURCE_EXHAUSTED: Out of memory')",
        1,
        "out of memory",
    ),
    "PyTorch's": (
        LINES + "sys.exit('torch.OutOfMemoryError: CUDA out of memory.')",
        1,
        "out of memory",
    ),
    "a crash": (LINES + "sys.stdout.flush(); sys.exit(7)", 1, "exit code 7"),
    "nothing": ("import sys; sys.exit('broken')", None, "exit code 1"),
}


@pytest.mark.parametrize("program,best,ended", CHILDREN.values(), ids=CHILDREN)
def test_what_was_measured_outlives_the_process(program, best, ended, gpu):
    result = gpu.run_child([sys.executable, "-c", program])
    assert (result["batch_size"], result["ended_by"]) == (best, ended)
    assert len(result["tried"]) == (0 if best is None else 2)


def test_published_figures_are_of_networks_that_there_are(gpu):
    assert {name for _, name in gpu.PUBLISHED} <= set(variants.VARIANTS)
    assert {mode for mode, _ in gpu.PUBLISHED} <= set(gpu.MODES)


@pytest.mark.gpu
def test_both_sides_are_measured_on_the_card():
    for module in ("jax", "timm", "torch"):
        pytest.importorskip(module)
    if shutil.which("nvidia-smi") is None:
        pytest.skip("needs an NVIDIA GPU")
    flags = ["--models=efficientnet_lite0", "--batch_sizes=8,16", "--steps=2"]
    result, _ = finish([sys.executable, PROGRAM, *flags], platform="cuda")
    for row in result["rows"]:
        assert row["ratio"] > 0
        for side in ("ours", "timm"):
            assert row[side]["device"] != "cpu"
            assert row[side]["peak_memory_mib"] > 0
