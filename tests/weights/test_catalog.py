"""The table of weights compared with what was published."""

import re

import pytest

from efficientnet_tf.models import variants
from efficientnet_tf.weights import catalog

B0 = "efficientnet_b0"
TPU = "https://storage.googleapis.com/cloud-tpu-checkpoints/efficientnet"

# From the tables of README.md in models/official/efficientnet of
# https://github.com/tensorflow/tpu and of lite/README.md there.
PUBLISHED = [
    (B0, "baseline", "ckpts/efficientnet-b0.tar.gz", 76.7),
    ("efficientnet_b5", "baseline", "ckpts/efficientnet-b5.tar.gz", 83.1),
    (B0, "autoaugment", "ckptsaug/efficientnet-b0.tar.gz", 77.1),
    ("efficientnet_b7", "autoaugment", "ckptsaug/efficientnet-b7.tar.gz", 84.3),
    (
        "efficientnet_b5",
        "randaugment",
        "randaug/efficientnet-b5-randaug.tar.gz",
        83.7,
    ),
    ("efficientnet_b8", "advprop", "advprop/efficientnet-b8.tar.gz", 85.5),
    (
        "efficientnet_b3",
        "noisy-student",
        "noisystudent/noisy_student_efficientnet-b3.tar.gz",
        84.1,
    ),
    (
        "efficientnet_l2",
        "noisy-student-475",
        "noisystudent/noisy_student_efficientnet-l2_475.tar.gz",
        88.2,
    ),
    (
        "efficientnet_lite4",
        "imagenet",
        "lite/efficientnet-lite4.tar.gz",
        81.5,
    ),
    # README.md of efficientnetv2 in https://github.com/google/automl.
    ("efficientnet_v2_b0", "in1k", "v2/efficientnetv2-b0.tgz", 78.7),
    ("efficientnet_v2_l", "in1k", "v2/efficientnetv2-l.tgz", 85.7),
    ("efficientnet_v2_s", "in21k", "v2/efficientnetv2-s-21k.tgz", None),
    (
        "efficientnet_v2_xl",
        "in21k_ft_in1k",
        "v2/efficientnetv2-xl-21k-ft1k.tgz",
        87.2,
    ),
]


@pytest.mark.parametrize("name,row,file,top1", PUBLISHED)
def test_a_row_is_as_its_publisher_prints_it(name, row, file, top1):
    found = catalog.WEIGHTS[name, row]
    assert found.url == f"{TPU}/{file}"
    assert found.top1 == top1


def test_imagenet_rows_of_b0_to_b7_are_those_of_the_installed_keras():
    from keras.src.applications import efficientnet

    for i in range(8):
        row = catalog.WEIGHTS[f"efficientnet_b{i}", "imagenet"]
        assert row.digest == f"md5:{efficientnet.WEIGHTS_HASHES[f'b{i}'][0]}"
        base = efficientnet.BASE_WEIGHTS_PATH
        assert row.url == f"{base}efficientnetb{i}.h5"


def test_imagenet_rows_of_v2_are_those_of_the_installed_keras():
    from keras.src.applications import efficientnet_v2

    hashes = efficientnet_v2.WEIGHTS_HASHES
    assert len(hashes) == 7
    for key, (md5, _) in hashes.items():
        size = key.removeprefix("-")
        row = catalog.WEIGHTS[f"efficientnet_v2_{size}", "imagenet"]
        assert row.digest == f"md5:{md5}"
        base = efficientnet_v2.BASE_WEIGHTS_PATH
        assert row.url == f"{base}efficientnetv2-{size}.h5"
    assert ("efficientnet_v2_xl", "imagenet") not in catalog.WEIGHTS


def test_every_row_is_complete_and_every_model_has_one():
    for (name, _), row in catalog.WEIGHTS.items():
        assert name in variants.VARIANTS
        assert (row.url is None) != (row.package is None)
        assert row.digest is not None or row.url.endswith((".tar.gz", ".tgz"))
        assert row.normalization in (None, *variants.NORMALIZATIONS)
    assert {name for name, _ in catalog.WEIGHTS} == set(variants.VARIANTS)
    # AdvProp alone was trained on pixels in [-1, 1].
    assert {
        name
        for (_, name), row in catalog.WEIGHTS.items()
        if row.normalization == "advprop"
    } == {"advprop"}


def test_larger_networks_of_one_recipe_are_published_as_better():
    by_recipe = {}
    for (name, recipe), row in catalog.WEIGHTS.items():
        family = re.sub(r"(\d+|_(s|m|l|xl))$", "", name)
        if row.top1 is not None:
            by_recipe.setdefault((family, recipe), []).append(row.top1)
    for rows in by_recipe.values():
        assert rows == sorted(rows)
