r"""Classifies image files.

efficientnet predict --model=efficientnet_lite0 --weights=imagenet \
    IMAGE.jpg ...
"""

import pathlib

from absl import flags

from efficientnet_tf.commands import program, shared
from efficientnet_tf.utils import files, tables

MODEL = flags.DEFINE_string("model", None, shared.MODEL_HELP)
WEIGHTS = flags.DEFINE_string("weights", "imagenet", shared.WEIGHTS_HELP)
SOURCE_FAMILY, NORMALIZATION = shared.define_weights_flags()
WORKDIR = flags.DEFINE_string("workdir", None, shared.WORKDIR_HELP)
TOP = flags.DEFINE_integer("top", 5, "How many classes to name per image.", 1)
OUTPUT = flags.DEFINE_string(
    "output", None, "A .jsonl file for all predictions, one image per line."
)


def main(argv: list[str]) -> None:
    paths = argv[1:]
    if not paths:
        raise ValueError("Name one or more image files.")
    if OUTPUT.value:
        if not OUTPUT.value.endswith(".jsonl"):
            raise ValueError(f"--output={OUTPUT.value} must end in .jsonl.")
        files.check_folder(pathlib.Path(OUTPUT.value).parent)
    classifier = shared.load_classifier(
        MODEL.value,
        shared.parse_weights(WEIGHTS.value),
        WORKDIR.value,
        source_family=SOURCE_FAMILY.value,
        normalization=NORMALIZATION.value,
    )
    results = []
    try:
        for path in paths:  # One at a time, which bounds the memory.
            results.append(_predict(classifier, path))
    finally:  # An unreadable image does not hide the ones before it.
        if results:
            print(_to_table(results), flush=True)
    if OUTPUT.value:
        files.write_json_lines(OUTPUT.value, results)
    first = results[0]
    prediction, probability = next(iter(first["predictions"].items()))
    program.print_result(
        {
            "images": len(results),
            "image": first["image"],
            "prediction": prediction,
            "probability": probability,
            "output": OUTPUT.value,
        }
    )


def _predict(classifier, path):
    """Returns {"image": path, "predictions": {class: probability}}."""
    scores = classifier.predict([path])[0]
    best = scores.argsort()[::-1][: TOP.value]
    names = {classifier.class_names[i]: float(scores[i]) for i in best}
    return {"image": path, "predictions": names}


def _to_table(results):
    rows = [
        ("" if rank else result["image"], f"{probability:.1%}", name)
        for result in results
        for rank, (name, probability) in enumerate(
            result["predictions"].items()
        )
    ]
    return tables.to_text(("image", "", "class"), rows, left=(0, 2))


if __name__ == "__main__":
    program.run(main)
