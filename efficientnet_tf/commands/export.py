"""Exports a network as a SavedModel for tensors or encoded images.

efficientnet export --model=efficientnet_lite0 --output=/tmp/lite0
"""

from absl import flags

from efficientnet_tf.commands import program, shared

WORKDIR = flags.DEFINE_string("workdir", None, "A fine-tuning run.")
MODEL = flags.DEFINE_string("model", None, "Or: a network over 1,000 classes.")
WEIGHTS = flags.DEFINE_string("weights", "imagenet", "A name or a file.")
OUTPUT = flags.DEFINE_string("output", None, "The SavedModel's folder.")
flags.mark_flag_as_required("output")


def main(_: list[str]) -> None:
    classifier = shared.load_classifier(
        MODEL.value, WEIGHTS.value, WORKDIR.value
    )
    from efficientnet_tf.deploy import saved_model

    difference = saved_model.export_saved_model(classifier, OUTPUT.value)
    program.print_result(
        {
            "output": OUTPUT.value,
            "classes": len(classifier.class_names),
            "resolution": classifier.resolution,
            "signatures": [
                saved_model.TENSOR_SIGNATURE,
                saved_model.BYTES_SIGNATURE,
            ],
            "max_difference": difference,
        }
    )


if __name__ == "__main__":
    program.run(main)
