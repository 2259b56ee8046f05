"""Images per second and memory on an accelerator, ours beside timm's.

python benchmarks/gpu.py --models=efficientnet_b0,efficientnet_lite0

Ours under JAX, which needs no TensorFlow; timm's with torch.compile and
channels_last, where PyTorch and timm are installed. A train step is loss,
gradients, SGD with momentum, batch norm's statistics, dropout and drop-path.
Images are random, and made on the device once.

Each figure comes from a process of its own, as both sides want all of the
card's memory, and is the best over batch sizes that grow until one does not fit
or is no faster. Memory is the peak of what was allocated at that size.
"""

import importlib
import importlib.util
import json
import math
import os
import statistics
import subprocess
import sys
import time

from absl import app, flags

from efficientnet_tf.models import registry

MODES = ("train", "inference")
SIDES = ("ours", "timm")
PRECISIONS = ("mixed_bfloat16", "float32")

MODELS = flags.DEFINE_list(
    "models",
    "efficientnet_b0,efficientnet_b1,efficientnet_b4,efficientnet_lite0",
    "Networks' names.",
)
BATCH_SIZES = flags.DEFINE_list(
    "batch_sizes", "64,128,256,512,1024,2048,4096", "To try, in this order."
)
STEPS = flags.DEFINE_integer("steps", 20, "In each of the timed rounds.", 1)
RESOLUTION = flags.DEFINE_integer(
    "resolution", None, "Pixels a side; the variant's own by default.", 32
)
PRECISION = flags.DEFINE_enum(
    "precision", PRECISIONS[0], PRECISIONS, "Of both sides."
)
MODE = flags.DEFINE_multi_enum("modes", MODES, MODES, "One only, or both.")
SIDE = flags.DEFINE_multi_enum("sides", SIDES, SIDES, "One only, or both.")
MEASURE = flags.DEFINE_string(
    "measure", None, "SIDE:MODE:MODEL, for this process alone; used inside."
)

# On one GPU: the tables of NVIDIA's DeepLearningExamples (TensorFlow 2, NGC
# 21.09, XLA; training with AutoAugment) and of timm's folder `results`.
A100 = "A100 80 GB, AMP, NVIDIA's TensorFlow 2"
RTX_3090 = "RTX 3090, AMP, timm"
RTX_4090 = "RTX 4090, AMP, timm"
PUBLISHED = {
    ("train", "efficientnet_b0"): (3454, A100),
    ("train", "efficientnet_b1"): (1100, RTX_3090),
    ("train", "efficientnet_b4"): (470, A100),
    ("inference", "efficientnet_b0"): (9730, A100),
    ("inference", "efficientnet_b1"): (5299, RTX_4090),
    ("inference", "efficientnet_b4"): (1497, A100),
    ("inference", "efficientnet_lite0"): (9765, RTX_4090),
}

# How the frameworks' many errors for one thing begin.
OUT_OF_MEMORY = ("RESOURCE_EXHAUSTED", "ResourceExhausted", "out of memory")
ENVIRONMENT = {
    "KERAS_BACKEND": "jax",
    # Else all of the card counts as used from the start.
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    # Of the card; PyTorch takes all of it.
    "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.95",
    "TF_CPP_MIN_LOG_LEVEL": "3",  # XLA reads it too.
}
MIN_GAIN = 1.01  # Less is noise.
WARMUP_STEPS = 3
ROUNDS = 3
CLASSES = 1000
LABEL_SMOOTHING = 0.1
LEARNING_RATE = 1e-3  # Small, as it is always the same batch.
MOMENTUM = 0.9


def main(_):
    if MEASURE.value is not None:
        measure_one(*MEASURE.value.split(":"))
        return
    for name in MODELS.value:
        registry.get_variant(name)
    sides = [side for side in SIDE.value if is_installed(side)]
    print_header(sides)
    rows = []
    for name in MODELS.value:
        for mode in MODE.value:
            rows.append(measure_row(mode, name, sides))
            print_row(rows[-1])
    result = {
        "benchmark": "gpu",
        "precision": PRECISION.value,
        "steps": STEPS.value,
        "rows": rows,
    }
    print(json.dumps(result), flush=True)
    if any(row[side]["batch_size"] is None for row in rows for side in sides):
        sys.exit(1)


def is_installed(side):
    modules = {"ours": ("jax",), "timm": ("torch", "timm")}[side]
    return all(map(importlib.util.find_spec, modules))


def measure_row(mode, name, sides):
    """Returns a row of the table, each side measured in its own process."""
    row = {"mode": mode, "model": name, "resolution": get_resolution(name)}
    row |= dict.fromkeys((*SIDES, "ratio"))
    for side in sides:
        command = [sys.executable, *sys.argv, f"--measure={side}:{mode}:{name}"]
        row[side] = run_child(command)
    rates = [(row[side] or {}).get("images_per_second") for side in SIDES]
    if all(rates):
        row["ratio"] = round(rates[0] / rates[1], 3)
    rate, source = PUBLISHED.get((mode, name), (None, None))
    return row | {"published": rate, "published_on": source}


def get_resolution(name):
    return RESOLUTION.value or registry.get_variant(name).resolution


def run_child(command):
    """Runs a process that prints JSON lines until it ends or dies.

    Returns:
      Its first line, the best of the others, all of them as "tried", and what
      ended it; the best is None if there are none.
    """
    child = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | ENVIRONMENT
    )
    lines = child.stdout.splitlines()
    lines = [json.loads(line) for line in lines if line.startswith("{")]
    about, tried = (lines or [{}])[0], lines[1:]
    ended_by = "no larger or no faster batch"
    if child.returncode:
        ended_by = "out of memory"
        if not any(words in child.stderr for words in OUT_OF_MEMORY):
            # Unexpected, so all of it is of interest.
            print(child.stderr, file=sys.stderr, flush=True)
            ended_by = f"exit code {child.returncode}"
    nothing = dict.fromkeys(
        ("batch_size", "images_per_second", "peak_memory_mib")
    )
    best = max(
        tried, key=lambda line: line["images_per_second"], default=nothing
    )
    return {**about, **best, "tried": tried, "ended_by": ended_by}


def print_header(sides):
    text = f"{'':37}"
    for side in sides:
        text += f"{f'{side}, images/s':>16}{'batch':>7}{'MiB':>8}"
    print(f"{text}{'ratio':>8}  published", flush=True)


def print_row(row):
    text = f"{row['model']:21}{row['mode']:10}{row['resolution']:4}px"
    for figures in filter(None, (row[side] for side in SIDES)):
        text += (
            f"{_or_dash(figures['images_per_second']):>16}"
            f"{_or_dash(figures['batch_size']):>7}"
            f"{_or_dash(figures['peak_memory_mib']):>8}"
        )
    text += f"{_or_dash(row['ratio']):>8}  {_or_dash(row['published'])}"
    if row["published_on"]:
        text += f" ({row['published_on']})"
    print(text, flush=True)


def measure_one(side, mode, name):
    """Measures one side of one row, and prints it as `run_child` wants it."""
    engine = {"ours": Ours, "timm": Timm}[side](
        mode, name, get_resolution(name), PRECISION.value
    )
    print(json.dumps(engine.about()), flush=True)
    for line in search(engine, map(int, BATCH_SIZES.value), STEPS.value):
        print(json.dumps(line), flush=True)


def search(engine, batch_sizes, steps):
    """Yields the figures of each batch size, until one is no faster."""
    best = 0.0
    for batch_size in batch_sizes:
        rate = batch_size * steps / time_steps(engine, batch_size, steps)
        peak = engine.peak_memory()
        yield {
            "batch_size": batch_size,
            "images_per_second": round(rate, 1),
            "peak_memory_mib": None if peak is None else peak // 2**20,
        }
        if rate < MIN_GAIN * best:
            return
        best = max(best, rate)


def time_steps(engine, batch_size, steps):
    """Returns the median round's seconds."""
    run = engine.prepare(batch_size)
    run(WARMUP_STEPS)
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        last = run(steps)
        seconds.append(time.perf_counter() - start)
        if not math.isfinite(last):
            raise FloatingPointError(f"The step's result is {last}.")
    return statistics.median(seconds)


def make_ours(name, resolution, precision):
    """Returns our network, an optimizer and a loss on one-hot labels."""
    import keras

    from efficientnet_tf.models import builder
    from efficientnet_tf.training import distribution

    distribution.set_precision(precision)
    keras.utils.set_random_seed(0)
    network = builder.build(
        name,
        input_shape=(resolution, resolution, 3),
        classes=CLASSES,
        classifier_activation=None,
        # Both sides get what is normalized already.
        include_preprocessing=False,
    )
    optimizer = keras.optimizers.SGD(LEARNING_RATE, MOMENTUM)
    optimizer.build(network.trainable_variables)
    loss = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=LABEL_SMOOTHING
    )
    return network, optimizer, loss


class Ours:
    """Our network in one compiled function a step, its state donated.

    What `fit` does at each step, without what Python does around it.
    """

    def __init__(self, mode, name, resolution, precision):
        import jax

        self.resolution = resolution
        network, optimizer, loss = make_ours(name, resolution, precision)
        variables = (
            network.trainable_variables,
            network.non_trainable_variables,
            optimizer.variables,
        )
        self.state = [[v.value for v in each] for each in variables]
        if mode == "train":
            step = make_jax_train_step(network, optimizer, loss)
            self.step = jax.jit(step, donate_argnums=0)
        else:
            del self.state[2]  # The optimizer's.
            self.step = jax.jit(make_jax_inference_step(network))

    def about(self):
        import jax

        return _about(jax.devices()[0].device_kind, "keras", "jax")

    def peak_memory(self):
        """Returns bytes; of all batch sizes so far, of which each is larger."""
        import jax

        return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")

    def prepare(self, batch_size):
        import jax

        side = self.resolution
        key = jax.random.key(0)
        images = jax.random.normal(key, (batch_size, side, side, 3))
        labels = jax.random.randint(key, (batch_size,), 0, CLASSES)
        labels = jax.nn.one_hot(labels, CLASSES)

        def run(steps):
            results = []
            for _ in range(steps):
                self.state, result = self.step(self.state, images, labels)
                results.append(result)
            # Of all: nothing makes one inference wait for the one before.
            return float(jax.block_until_ready(results)[-1].sum())

        return run


def make_jax_train_step(network, optimizer, loss):
    """Returns a pure function (state, images, labels) → (state, loss).

    The state: the values of the trainable variables, of the others (batch
    norm's statistics, seeds), and of the optimizer's.
    """
    import jax

    def compute_loss(trainable, others, images, labels):
        logits, others = network.stateless_call(
            trainable, others, images, training=True
        )
        return loss(labels, logits), others

    def step(state, images, labels):
        trainable, others, slots = state
        (value, others), gradients = jax.value_and_grad(
            compute_loss, has_aux=True
        )(trainable, others, images, labels)
        trainable, slots = optimizer.stateless_apply(
            slots, gradients, trainable
        )
        return [trainable, others, slots], value

    return step


def make_jax_inference_step(network):
    """Returns a pure function (state, images, _) → (state, best logits)."""

    def step(state, images, _):
        logits, _ = network.stateless_call(*state, images, training=False)
        # Not a sum, which XLA could move in front of the last layer.
        return state, logits.max(axis=-1)

    return step


class Timm:
    """timm's network of the same name, as PyTorch runs it fastest."""

    def __init__(self, mode, name, resolution, precision):
        import timm
        import torch

        self.resolution = resolution
        self.precision = precision
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")  # TF32, as the others.
        variant = registry.get_variant(name)
        network = timm.create_model(
            f"tf_{name}",
            num_classes=CLASSES,
            drop_rate=variant.dropout,
            drop_path_rate=variant.drop_path,
        )
        network = network.to(self.device, memory_format=torch.channels_last)
        # By itself it would compile the second batch size for any.
        self.network = torch.compile(
            network.train(mode == "train"), dynamic=False
        )
        self.optimizer = torch.optim.SGD(
            network.parameters(),
            LEARNING_RATE,
            momentum=MOMENTUM,
            fused=self.device == "cuda" or None,
        )
        self.loss = torch.nn.CrossEntropyLoss(label_smoothing=LABEL_SMOOTHING)
        self.step = self._train if mode == "train" else self._infer

    def about(self):
        import torch

        on_gpu = self.device == "cuda"
        device = torch.cuda.get_device_name() if on_gpu else "cpu"
        return _about(device, "torch", "timm")

    def peak_memory(self):
        import torch

        if self.device == "cpu":
            return None
        return torch.cuda.max_memory_allocated()

    def prepare(self, batch_size):
        import torch

        torch.compiler.reset()  # It gives up after eight shapes.
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        side = self.resolution
        images = torch.randn(batch_size, 3, side, side, device=self.device)
        images = images.to(memory_format=torch.channels_last)
        labels = torch.randint(CLASSES, (batch_size,), device=self.device)

        def run(steps):
            for _ in range(steps):
                result = self.step(images, labels)
            return result.sum().item()  # Waits.

        return run

    def _autocast(self):
        import torch

        return torch.autocast(
            self.device,
            torch.bfloat16,
            enabled=self.precision == "mixed_bfloat16",
        )

    def _train(self, images, labels):
        self.optimizer.zero_grad(set_to_none=True)
        with self._autocast():
            loss = self.loss(self.network(images), labels)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def _infer(self, images, _):
        import torch

        with torch.inference_mode(), self._autocast():
            return self.network(images).float().amax(-1)


def _or_dash(value):
    return "-" if value is None else str(value)


def _about(device, *packages):
    versions = {
        name: importlib.import_module(name).__version__ for name in packages
    }
    return {"device": device, **versions}


if __name__ == "__main__":
    app.run(main)
