r"""Scores a network on a data set; every image counts once.

efficientnet evaluate --model=efficientnet_lite0 --weights=imagenet \
    --dataset=imagenet2012 --split=validation --data_dir=~/tensorflow_datasets
"""

from absl import flags

from efficientnet_tf.commands import program, shared

MODEL = flags.DEFINE_string("model", None, "A network over 1,000 classes.")
WEIGHTS = flags.DEFINE_string("weights", "imagenet", "A name or a file.")
WORKDIR = flags.DEFINE_string("workdir", None, "Or: a fine-tuning run.")
DATASET = flags.DEFINE_string(
    "dataset", None, "A TFDS name, or folder:PATH; imagenet2012 for --model."
)
SPLIT = flags.DEFINE_string("split", "validation", "E.g. test, train[:10%].")
DATA_DIR = flags.DEFINE_string("data_dir", None, "Where TFDS keeps its sets.")
RESOLUTION = flags.DEFINE_integer(
    "resolution", None, "Pixels a side; the variant's own by default.", 32
)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Images a step.", 1)


def main(_: list[str]) -> None:
    if WORKDIR.value and not DATASET.value:
        raise ValueError("--workdir needs --dataset and --split: which images?")
    name = DATASET.value or "imagenet2012"
    shared.check_dataset(name)
    classifier = shared.load_classifier(
        MODEL.value, WEIGHTS.value, WORKDIR.value, RESOLUTION.value
    )
    import tqdm

    from efficientnet_tf.data import datasets, sources
    from efficientnet_tf.inference import evaluate

    examples = sources.load(name, SPLIT.value, DATA_DIR.value)
    dataset = datasets.make_eval_dataset(
        examples, classifier.preprocess, batch_size=BATCH_SIZE.value
    )
    with tqdm.tqdm(
        desc="Evaluating", total=examples.size, unit="image", disable=None
    ) as bar:
        scores = evaluate.evaluate(
            classifier.model, dataset, progress=bar.update
        )
    program.print_result(
        {
            "model": WORKDIR.value or MODEL.value,
            "dataset": name,
            "split": SPLIT.value,
            "top1": scores.top1,
            "top5": scores.top5,
            "mean_per_class": scores.mean_per_class,
            "images": scores.images,
        }
    )


if __name__ == "__main__":
    program.run(main)
