"""Exports a network as a SavedModel for tensors or encoded images.

efficientnet export --model=efficientnet_lite0 --output=/tmp/lite0
"""

from absl import flags

from efficientnet_tf.commands import program, shared, summary

WORKDIR = flags.DEFINE_string("workdir", None, shared.WORKDIR_HELP)
MODEL = flags.DEFINE_string("model", None, shared.MODEL_HELP)
WEIGHTS = flags.DEFINE_string("weights", "imagenet", shared.WEIGHTS_HELP)
SOURCE_FAMILY, NORMALIZATION = shared.define_weights_flags()
OUTPUT = flags.DEFINE_string("output", None, "The SavedModel's folder.")
flags.mark_flag_as_required("output")


def main(_: list[str]) -> None:
    classifier = shared.load_classifier(
        MODEL.value,
        shared.parse_weights(WEIGHTS.value),
        WORKDIR.value,
        source_family=SOURCE_FAMILY.value,
        normalization=NORMALIZATION.value,
    )
    from efficientnet_tf.deploy import saved_model

    difference = saved_model.export_saved_model(classifier, OUTPUT.value)
    size = classifier.resolution
    summary.print_summary(
        f"Exported {WORKDIR.value or MODEL.value} to {OUTPUT.value}.",
        {
            saved_model.TENSOR_SIGNATURE: f"images, [N, {size}, {size}, 3]",
            saved_model.BYTES_SIGNATURE: "encoded JPEG, PNG, ... files, [N]",
            "checked": f"differs from the Keras model by {difference:.1g}",
        },
    )
    program.print_result(
        {
            "output": OUTPUT.value,
            "classes": len(classifier.class_names),
            "resolution": size,
            "max_difference": difference,
        }
    )


if __name__ == "__main__":
    program.run(main)
