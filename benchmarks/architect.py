"""Searchers of `efficientnet architect` against one another on NAS-Bench-Macro.

python benchmarks/architect.py --benchmark=nas_bench_macro.json.xz \
    --image=docs/images/architect.png

Every searcher sees the accuracies of one training; its regret is by the mean of
three. With --data_dir also how NASWOT, depth and multiply-adds rank networks of
the benchmark, on a batch of CIFAR-10. One core suffices.
"""

import json
import pathlib
import time

import numpy as np
from absl import app, flags

from efficientnet_tf.search import ranking
from efficientnet_tf.search.architect import (
    contest,
    evaluators,
    proxies,
    searchers,
    tabular,
)
from efficientnet_tf.utils import figures

BENCHMARK = flags.DEFINE_string("benchmark", None, "The table.")
LIMIT = flags.DEFINE_float("limit", 50e6, "The most multiply-adds.")
RUNS = flags.DEFINE_integer("runs", 50, "Searches by each.", 2)
EVALUATIONS = flags.DEFINE_integer("evaluations", 200, "Of a search.", 25)
SEARCHERS = flags.DEFINE_list("searchers", list(searchers.SEARCHERS), "Which.")
IMAGE = flags.DEFINE_string("image", None, "PNG of the curves to write.")
DATA_DIR = flags.DEFINE_string("data_dir", None, "TFDS's, with CIFAR-10.")
NETWORKS = flags.DEFINE_integer("networks", 300, "To score by NASWOT.", 10)
flags.mark_flag_as_required("benchmark")


def main(_):
    table = tabular.read(BENCHMARK.value)
    begin, regrets = time.perf_counter(), {}
    for name in SEARCHERS.value:
        clock = time.process_time()
        regrets |= contest.compare(
            [name],
            table,
            LIMIT.value,
            runs=RUNS.value,
            evaluations=EVALUATIONS.value,
        )
        print(f"{name}: {time.process_time() - clock:.1f} s of one core")
    steps = [n for n in contest.STEPS if n <= EVALUATIONS.value]
    for row in contest.summarize(regrets, steps):
        print(json.dumps(row))
    print(f"All searches: {time.perf_counter() - begin:.0f} s.")
    if IMAGE.value:
        figures.write_png(pathlib.Path(IMAGE.value), draw(regrets))
    if DATA_DIR.value:
        print(json.dumps(rank(table)))


def draw(regrets):
    """Draws the mean regret over evaluations, with its standard error."""
    drawing, (axes,) = figures.make_figure(1, 1, (7.5, 4.5))
    for name, found in regrets.items():
        mean = 100 * found.mean(axis=0)
        error = 100 * found.std(axis=0, ddof=1) / len(found) ** 0.5
        number = np.arange(1, len(mean) + 1)
        axes.plot(number, mean, label=name)
        axes.fill_between(number, mean - error, mean + error, alpha=0.15)
    axes.set_xlim(10, None)
    axes.set_ylim(0, 2)
    axes.set_xlabel("evaluations")
    axes.set_ylabel("regret, points of accuracy")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figures.rasterize(drawing)


def rank(table):
    """Returns how well scores without training rank networks of a table."""
    import keras
    from scipy import stats

    images = evaluators.read_images(
        ("cifar10", "train", DATA_DIR.value), 32, "bilinear"
    )
    images = (images - images.mean((0, 1, 2))) / images.std((0, 1, 2))
    rng = np.random.default_rng(0)
    rows = rng.choice(len(table.genotypes), NETWORKS.value, replace=False)
    truth = table.accuracies[rows].mean(axis=1)
    begin, naswot = time.perf_counter(), []
    for row in rows:
        keras.backend.clear_session()
        keras.utils.set_random_seed(0)
        network = tabular.build(table.genotypes[row])
        naswot.append(proxies.naswot(network, images))
    seconds = (time.perf_counter() - begin) / len(rows)
    scores = {
        "naswot": naswot,
        "depth": [sum(map(bool, table.genotypes[row])) for row in rows],
        "multiply_adds": table.multiply_adds[rows],
        "params": table.params[rows],
    }
    found = {"networks": len(rows), "naswot_seconds": round(seconds, 2)}
    for name, values in scores.items():
        found[f"{name}_spearman"] = round(ranking.spearman(values, truth), 3)
        tau = stats.kendalltau(values, truth).statistic
        found[f"{name}_kendall"] = round(float(tau), 3)
    return found


if __name__ == "__main__":
    app.run(main)
