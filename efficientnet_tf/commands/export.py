r"""Writes a classifier for other runtimes, and measures each file.

efficientnet export --model=efficientnet_lite0 --output=/tmp/lite0
efficientnet export --workdir=RUN --format=litert,onnx,openvino \
    --precision=float32,float16,int8 --output=/tmp/lite0

Preprocessing is inside every file; class names and the preparation of images
are inside, too. Each is scored on held-out images, a run's own or those of
--dataset, beside the Keras network, and timed on this machine.
"""

import os
import typing

from absl import flags, logging

from efficientnet_tf.commands import (
    classifier_flags,
    described,
    program,
    shared,
    summary,
    trained_on,
)
from efficientnet_tf.deploy import (
    formats,
    int8 as int8_lib,
    licenses,
    plan as plan_lib,
)
from efficientnet_tf.utils import (
    image_sizes,
    run_folder,
    tables,
    targets,
    words,
)

if typing.TYPE_CHECKING:
    from efficientnet_tf.commands import held_out

NO_DATASET = NOTHING = "none"
_REFERENCE = "the Keras network with its own fake quantization"

CLASSIFIER = classifier_flags.ClassifierFlags(exported=None)
FORMAT = flags.DEFINE_list(
    "format",
    ["saved_model"],
    f"Some of {', '.join(formats.FORMATS)}.",
)
PRECISION = flags.DEFINE_list(
    "precision", ["float32"], f"Some of {', '.join(formats.PRECISIONS)}."
)
OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "One file, or a SavedModel's folder; for several, a folder for them.",
)
DATASET = flags.DEFINE_string(
    "dataset",
    None,
    f"{shared.DATASET_HELP}, to score on and to calibrate with; or "
    f"{NO_DATASET}; by default a run's own.",
)
SPLIT = flags.DEFINE_string(
    "split", "validation", "What of --dataset to score on."
)
CALIBRATION_SPLIT = flags.DEFINE_string(
    "calibration_split", "train", "What of --dataset to calibrate int8 with."
)
CALIBRATION_IMAGES = flags.DEFINE_integer(
    "calibration_images", 200, "How many, of all classes alike.", 1, 100_000
)
KEEP_FLOAT = flags.DEFINE_list(
    "keep_float",
    list(int8_lib.STANDARD.keep_float),
    "What of the network stays float32 in int8: some of first (convolution), "
    f"gates (of squeeze-and-excitation), head, last (layer), or {NOTHING}.",
)
DATA_DIR = flags.DEFINE_string("data_dir", None, shared.DATA_DIR_HELP)
BATCH_SIZE = flags.DEFINE_integer(
    "batch_size",
    None,
    "The only number of images that the files take at a time; by default 1 for "
    "litert, and any for the others.",
    1,
    4096,
)
ACTIVATION_MAP = flags.DEFINE_bool(
    "activation_map",
    False,
    "Files of litert, onnx, openvino and triton also give what speaks for each "
    "class at each place: activation_map [N, h, w, classes].",
)
MAX_LOSS = flags.DEFINE_float(
    "max_loss",
    plan_lib.MAX_LOSS,
    "Points of top-1, of mean average precision or of R² that a file may lose.",
    0.0,
    100.0,
)
LICENSE = flags.DEFINE_string(
    "license",
    None,
    "Of the model card in a folder of files: your choice for this model, by "
    "the hub's identifiers, e.g. apache-2.0.",
)
flags.mark_flag_as_required("output")


def main(_: list[str]) -> None:
    CLASSIFIER.check()
    licenses.check(LICENSE.value)
    if DATASET.value not in (None, NO_DATASET):
        shared.check_dataset(DATASET.value)
    for flag in (SPLIT, CALIBRATION_SPLIT):
        if flag.present and DATASET.value in (None, NO_DATASET):
            raise ValueError(f"--{flag.name}={flag.value} goes with --dataset.")
    plan = plan_lib.make_plan(
        OUTPUT.value,
        FORMAT.value,
        PRECISION.value,
        activation_map=ACTIVATION_MAP.value,
    )
    plan_lib.check_paths(plan)
    if LICENSE.value and plan.folder is None:
        raise ValueError(
            f"--license={LICENSE.value} goes with a folder of files, which "
            "has a model card; one file has none."
        )
    kept = KEEP_FLOAT.value if KEEP_FLOAT.value != [NOTHING] else ()
    int8 = int8_lib.Int8(keep_float=tuple(kept))
    calibrates = plan.quantizes
    if _is_quantized():
        plan_lib.check_quantized(plan)
        calibrates = False
    if KEEP_FLOAT.present and not calibrates:
        raise ValueError(
            "--keep_float goes with --precision=int8 that is calibrated."
        )
    if calibrates and not _knows_images():
        raise ValueError(
            "--precision=int8 needs images for calibration: --dataset, and "
            "--calibration_split."
        )
    classifier = CLASSIFIER.load()
    if calibrates:  # Before any image is read.
        int8_lib.find_layers(classifier.model, int8.keep_float)
    rows = _export(classifier, plan, int8, calibrates)
    _print_summary(plan, classifier, rows)


def _export(classifier, plan, int8, calibrates):
    import tqdm

    from efficientnet_tf.deploy import calibration, export, scorecard

    found = _find_images(classifier.outputs)
    held, images, total = None, (), None
    facts = {"network": CLASSIFIER.name}
    if _is_quantized():
        facts["reference"] = _REFERENCE
    if found is None:
        logging.warning(
            "Without images, accuracy is not measured, only whether float32 "
            "files do what the Keras network does; --dataset names some."
        )
    else:
        facts |= {"dataset": found.dataset, "split": found.split}
        facts |= _count_trained_on(found)
        held, total = (
            scorecard.hold(classifier, found.scored),
            found.scored.size,
        )
        if calibrates:
            images = calibration.pick(
                found.trained_on,
                CALIBRATION_IMAGES.value,
                classifier.preprocess,
                found.scored,
            )
            facts["calibration_images"] = len(images)
            facts["keep_float"] = int8.keep_float
            logging.info(
                "Calibrating with %s.", words.count(len(images), "image")
            )
    with tqdm.tqdm(
        desc="Scoring", total=total, unit="image", disable=None
    ) as bar:
        return export.export(
            classifier,
            plan,
            held=held,
            calibration=images,
            int8=int8,
            batch_size=BATCH_SIZE.value,
            max_loss=MAX_LOSS.value,
            facts=facts,
            about=_describe(),
            progress=bar.update,
        )


def _describe():
    """Returns what the model card says."""
    if CLASSIFIER.workdir:
        return described.of_run(CLASSIFIER.workdir, LICENSE.value)
    return described.of_weights(
        CLASSIFIER.model, CLASSIFIER.weights, LICENSE.value
    )


def _find_images(outputs) -> "held_out.Images | None":
    from efficientnet_tf.commands import held_out

    if not _knows_images():
        return None
    if DATASET.value:
        return held_out.of_dataset(
            DATASET.value,
            SPLIT.value,
            CALIBRATION_SPLIT.value,
            DATA_DIR.value,
            outputs,
            CLASSIFIER.workdir,
        )
    return held_out.of_run(CLASSIFIER.workdir, DATA_DIR.value)


def _count_trained_on(found):
    """Returns how many scored images a run has seen, and warns of them."""
    if not (CLASSIFIER.workdir and DATASET.value):
        return {}
    seen = trained_on.warn(
        CLASSIFIER.workdir, DATASET.value, found.scored, DATA_DIR.value
    )
    return {"trained_on": seen}


def _is_quantized():
    """Whether a run was trained for int8, so that it has its own ranges."""
    path = os.path.join(CLASSIFIER.workdir or "", run_folder.CONFIG_FILE)
    if not CLASSIFIER.workdir or not os.path.exists(path):
        return False
    return run_folder.read_config(path).get("quantization", "none") != "none"


def _knows_images():
    """Whether there are images to score on; those of a run, by its config."""
    if DATASET.value:
        return DATASET.value != NO_DATASET
    return bool(CLASSIFIER.workdir) and os.path.exists(
        os.path.join(CLASSIFIER.workdir, run_folder.CONFIG_FILE)
    )


def _print_summary(plan, classifier, rows):
    from efficientnet_tf.deploy import scorecard

    metric = targets.METRICS.get(classifier.target, "top1")
    header = scorecard.make_header(rows)
    print(
        tables.to_text(header, scorecard.to_lines(rows), left=(0,)), flush=True
    )
    files = [row for row in rows if row["file"] != scorecard.REFERENCE]
    summary.print_summary(
        f"Exported {CLASSIFIER.name}: "
        f"{words.count(len(files), 'file')}, measured.",
        {
            "in": OUTPUT.value,
            "compared with": _REFERENCE if _is_quantized() else None,
            "table": str(plan.table(".md")),
            "model card": _card_text(plan),
        },
    )
    program.print_result(
        {
            "output": OUTPUT.value,
            "files": len(files),
            "table": str(plan.table(".json")),
            "classes": len(classifier.class_names),
            "resolution": classifier.resolution,
            "image_size": image_sizes.show(classifier.size),
            "max_difference": max(
                (
                    row["max_difference"]
                    for row in files
                    if row["precision"] == "float32"
                ),
                default=None,
            ),
            "images": rows[0].get("images"),
            metric: rows[0].get(metric),
            "largest_loss": max(
                (row["loss"] for row in files if "loss" in row), default=None
            ),
        }
    )


def _card_text(plan):
    """Returns where the model card is, and what it lacks; None: no card."""
    from efficientnet_tf.deploy import card

    if plan.folder is None:
        return None
    about = _describe()
    missing = about.named_license == licenses.UNKNOWN
    return f"{plan.folder / card.FILE}" + (
        "; its license is unknown: choose one, --license" if missing else ""
    )


if __name__ == "__main__":
    program.run(main)
