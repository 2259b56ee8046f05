r"""Scores a network on a data set; every image counts once.

efficientnet evaluate --model=efficientnet_lite0 --weights=imagenet \
    --dataset=imagenet2012 --split=validation --data_dir=~/tensorflow_datasets
"""

from absl import flags

from efficientnet_tf.commands import program, shared, summary
from efficientnet_tf.models import variants

MODEL = flags.DEFINE_string("model", None, shared.MODEL_HELP)
WEIGHTS = flags.DEFINE_string("weights", "imagenet", shared.WEIGHTS_HELP)
SOURCE_FAMILY, NORMALIZATION = shared.define_weights_flags()
WORKDIR = flags.DEFINE_string("workdir", None, shared.WORKDIR_HELP)
DATASET = flags.DEFINE_string(
    "dataset",
    None,
    "A TFDS name, folder:PATH or records:PATH; imagenet2012 if unset.",
)
SPLIT = flags.DEFINE_string("split", "validation", "E.g. test, train[:10%].")
DATA_DIR = flags.DEFINE_string("data_dir", None, shared.DATA_DIR_HELP)
RESOLUTION = flags.DEFINE_integer(
    "resolution",
    None,
    "Pixels a side, with --model; the variant's own if unset.",
    variants.MIN_SIZE,
)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Images per step.", 1)


def main(_: list[str]) -> None:
    if WORKDIR.value and not DATASET.value:
        raise ValueError("--workdir needs --dataset and --split.")
    name = DATASET.value or "imagenet2012"
    shared.check_dataset(name)
    classifier = shared.load_classifier(
        MODEL.value,
        shared.parse_weights(WEIGHTS.value),
        WORKDIR.value,
        RESOLUTION.value,
        source_family=SOURCE_FAMILY.value,
        normalization=NORMALIZATION.value,
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
    model = WORKDIR.value or MODEL.value
    summary.print_summary(
        f"Evaluated {model} on {scores.images:,} images of {name}, "
        f"{SPLIT.value}.",
        {
            "top-1 accuracy": summary.top1_text(
                scores.top1, scores.images, SPLIT.value
            ),
            "top-5 accuracy": f"{scores.top5:.1%}",
            "mean per class": f"{scores.mean_per_class:.1%}",
        },
    )
    program.print_result(
        {
            "model": model,
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
