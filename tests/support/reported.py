"""Folders of finished runs, without training any."""

import json
import pathlib

import numpy as np

from transfer.scores import diagnostics, predictions

HOSTILE = (
    "$x_1$ a_b",
    "猫と犬",
    "كلب صغير",
    "<script>alert(1)</script>",
    "a" * 300,
    "=1+1 | & 'quoted' \"twice\"",
    "two\nlines \u202e turned",
)


def predict(labels, classes, *, right=0.8, seed=0):
    """Returns probabilities [N, classes] of which a share is right."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1, (len(labels), classes))
    chosen = np.where(
        random.random(len(labels)) < right,
        labels,
        random.integers(0, classes, len(labels)),
    )
    logits[np.arange(len(labels)), chosen] += 4
    shares = np.exp(logits)
    return (shares / shares.sum(axis=1, keepdims=True)).astype("float32")


def name_images(count, hashed=True, fingerprint="f"):
    """Returns `predictions.Images`: "0.jpg", ... with hashes of their own."""
    hashes = np.zeros((count if hashed else 0, 32), "uint8")
    if hashed:
        hashes[:, :4] = (
            np.arange(count, dtype="<u4").view("uint8").reshape(-1, 4)
        )
    names = tuple(f"{i}.jpg" for i in range(count))
    return predictions.Images(names, hashes, fingerprint)


def write_run(
    folder,
    labels,
    matrix,
    class_names,
    *,
    images=None,
    task="folder:/photos",
    keep=True,
    **fields,
):
    """Writes what a fine-tuning run leaves; returns its row."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True)
    found = predictions.from_matrix(
        matrix, labels, images or name_images(len(labels))
    )
    if keep:
        predictions.write(folder / predictions.PREDICTIONS_FILE, found)
    counts = np.zeros((len(class_names), len(class_names)), int)
    np.add.at(counts, (labels, found.predicted), 1)
    row = {
        "task": task,
        "model": "efficientnet_lite0",
        "weights": "imagenet",
        "recipe": "full",
        "changed": {},
        "metric": "top1",
        "score": float(found.hits.mean()),
        "top1": float(found.hits.mean()),
        "evaluated_on": "test",
        "epochs": 3,
        "seed": 0,
        "train_images": 100,
        "test_images": len(labels),
        "class_names": list(class_names),
        "confusion": [
            [int(i), int(j), int(counts[i, j])] for i, j in np.argwhere(counts)
        ],
        "curves": {
            "epoch": [1, 2, 3],
            "top1": [0.5, 0.7, 0.9],
            "loss": [2.0, 1.5, 1.2],
        },
        "seconds": 61.0,
        **fields,
    }
    diagnostics.check(row)
    (folder / "results.jsonl").write_text(json.dumps(row) + "\n")
    (folder / "config.json").write_text(
        json.dumps({"task": task, "train_on": "train"})
    )
    return row
