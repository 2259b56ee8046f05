import json

import pytest

from efficientnet_tf.data.sets import terms
from efficientnet_tf.deploy import card, card_data, card_metadata, licenses
from efficientnet_tf.inference import settings as settings_lib
from efficientnet_tf.utils import intervals
from efficientnet_tf.weights import catalog, origins
from transfer.config import tasks

yaml = pytest.importorskip("yaml")

SETTINGS = settings_lib.Settings(("a", "b|c", "<d>"), 32, "bilinear", 0)
CONFIG = {
    "task": "folder:/home/anna/photos of Bob",
    "model": "efficientnet_lite0",
    "weights": "imagenet",
}
ROW = {
    **CONFIG,
    "metric": "mean_per_class",
    "score": 0.75,
    "top1": 0.8,
    "top5": 1.0,
    "mean_per_class": 0.75,
    "recipe": "full",
    "changed": {"epochs": 3, "teacher": "/home/anna/teacher"},
    "epochs": 3,
    "seconds": 75.0,
    "evaluated_on": "test",
    "train_images": 1000,
    "test_images": 30,
    "near_duplicates": 2,
    "class_names": ["a", "b|c", "<d>"],
    "confusion": [[0, 0, 12], [1, 1, 12], [2, 0, 6]],
}


def _about(**changes):
    fields = {
        "network": "efficientnet_lite0",
        "origin": origins.describe("efficientnet_lite0", "imagenet"),
        "config": CONFIG,
        "row": ROW,
        "intervals": {"top1": intervals.wilson(0.8, 30)},
    }
    return card.About(**{**fields, **changes})


def _head(text):
    _, head, _ = text.split("---\n", 2)
    return yaml.safe_load(head)


def test_a_card_says_what_a_run_has_recorded():
    text = card.make(SETTINGS, _about(license="mit"))
    head = _head(text)
    assert head["library_name"] == "keras"
    assert head["pipeline_tag"] == "image-classification"
    assert head["license"] == "mit"
    assert "base_model" not in head and "datasets" not in head
    (result,) = head["model-index"][0]["results"]
    assert result["dataset"] == {
        "name": "own images",
        "type": "imagefolder",
        "split": "test",
    }
    # Of three classes, top-5 says nothing.
    found = {m["name"]: m["value"] for m in result["metrics"]}
    assert found == {
        "top-1 accuracy": 0.8,
        "mean accuracy of the classes": 0.75,
    }
    low, high = (f"{100 * end:.1f} %" for end in intervals.wilson(0.8, 30))
    for line in (
        f"| top-1 accuracy | 80.0 % | {low} to {high} | 30 test images, own "
        "images |",
        "| mean accuracy of the classes | 75.0 % | not computed | 30 test ",
        "- Trained on 1,000 images, somebody's own.",
        "- Recipe `full` with `epochs=3`: 3 epochs.",
        "- It took 1 min 15 s.",
        "2 images of these are nearly the same as one of another split",
        "- Of 1 class there were fewer than 10 images to score on",
        "- Found least often: &lt;d> (0 of 6).",
        "Nobody has recorded what it is meant for",
        "- **This model**: mit.",
        "- **Weights that it started from**: apache-2.0 ([page](https://",
        "which the weights were trained on: for non-commercial research",
        "- **Data, own images**: those of the images, which whoever took",
    ):
        assert line in text, line
    assert "/home" not in text and "Bob" not in text


def test_what_is_not_known_is_said_to_be_not_known():
    text = card.make(SETTINGS)
    head = _head(text)
    assert head["license"] == "unknown"
    assert "model-index" not in head and "metrics" not in head
    for line in (
        "| Network | not known |",
        "- Of a training by this package nothing is recorded.",
        "- Weights: not known.",
        "- No accuracy is recorded.",
        "- **This model**: unknown: choose one (`--license`).",
        "- **Weights**: not known.",
        "- **Data**: not known.",
    ):
        assert line in text, line
    assert "fine-tuning" not in text


def test_a_published_network_has_its_publishers_license():
    name = "efficientnet_b0"
    about = card.About(name, origins.describe(name, "noisy-student"))
    text = card.make(SETTINGS, about)
    assert _head(text)["license"] == "apache-2.0"
    assert _head(text)["datasets"] == ["ILSVRC/imagenet-1k"]
    assert "300 million unlabelled images" in text
    about = card.About("x", origins.describe("x", "hf://anna/own@v1"))
    head = _head(card.make(SETTINGS, about))
    assert (head["license"], head["base_model"]) == ("unknown", "anna/own")


@pytest.mark.parametrize(
    "name,title,page",
    [
        ("folder:photos", "own images", ""),
        ("folder:/home/anna/x", "own images", ""),
        ("csv:/home/anna/x.csv", "own images", ""),
        ("records:x/y", "own images", ""),
        ("./photos", "own images", ""),
        ("cars196", "Stanford Cars", "https://ai.stanford.edu/"),
        ("tfds:food101", "Food-101", "https://data.vision.ee.ethz.ch/"),
        ("tfds:beans", "beans", "https://www.tensorflow.org/datasets/cat"),
        ("hf:/home/anna/x", "own images", ""),
        ("hf:a/b/c", "own images", ""),
        ("hf:birds", "birds", "https://huggingface.co/datasets/birds"),
        ("tfds:food101/x", "food101/x", "https://www.tensorflow.org/datase"),
        ("hf:anna/birds", "anna/birds", "https://huggingface.co/datasets/an"),
        ("tf_flowers", "tf_flowers", "https://www.tensorflow.org/datasets/"),
    ],
)
def test_data_are_named_but_never_by_a_path(name, title, page):
    found = card_data.describe_name(name)
    assert found.title == title
    assert found.page.startswith(page)


def test_every_task_and_every_published_row_can_be_described():
    assert set(tasks.TASKS) | {"imagenet2012"} == set(terms.TERMS)
    for model, name in catalog.WEIGHTS:
        found = origins.describe(model, name)
        assert found.license == "apache-2.0" and found.on_imagenet
    for weights, license, text in (
        (None, None, "random weights"),
        ("none", None, "random weights"),
        ("hf://timm/tf_efficientnet_b0.in1k", "apache-2.0", "timm/tf_eff"),
        ("hf://timm/efficientnet_b0.ra_in1k", "apache-2.0", "timm/eff"),
        ("hf://timm/convnext_tiny.fb_in1k", None, "timm/convnext"),
        ("/home/anna/best.pth", None, "weights of an origin that is not k"),
        ("/", None, "the network of another run"),
    ):
        found = origins.describe("efficientnet_b0", weights)
        assert found.license == license and found.text.startswith(text)


def test_a_head_is_yaml_whatever_its_texts_hold():
    texts = ["no", "1.5", "a: b", '"', "x # y", "日本", "-", "", "n\nm", "a\\b"]
    fields = {"all": texts, "one": {"x": [{"a": 1.5, "b": True}, {"c": "y"}]}}
    read = yaml.safe_load(card_metadata.to_text(fields)[4:-4])
    texts[-2] = "n\\nm"  # A line stays a line.
    assert read == fields | {"all": texts}
    assert card_metadata.to_text({"a": None, "b": []}) == "---\n---\n"


def test_a_license_is_one_of_the_hubs_and_is_chosen():
    for name in (None, "apache-2.0", "cc-by-nc-4.0", "openrail++"):
        licenses.check(name)
    for name in ("apache", "Apache-2.0", "unknown", "other", "", "cc"):
        with pytest.raises(ValueError, match="Unknown license"):
            licenses.check(name)
    with pytest.raises(ValueError, match="--license is needed: .* choose one"):
        licenses.require(None)


def test_the_hubs_library_reads_the_card():
    hub = pytest.importorskip("huggingface_hub")
    read = hub.ModelCard(card.make(SETTINGS, _about(license="mit"))).data
    assert (read.license, read.pipeline_tag) == ("mit", "image-classification")
    assert [r.metric_value for r in read.eval_results] == [0.8, 0.75]
    assert json.dumps(read.to_dict())
