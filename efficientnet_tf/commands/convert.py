r"""Converts EfficientNet weights of any origin to .weights.h5.

efficientnet convert --model=efficientnet_lite0 \
    --source=imagenet --output=/tmp/lite0.weights.h5
"""

from absl import flags

from efficientnet_tf.commands import program, shared, summary

MODEL = flags.DEFINE_string("model", None, shared.MODEL_HELP)
SOURCE = flags.DEFINE_string(
    "source",
    None,
    "A file or SavedModel of Keras, tensorflow/tpu, timm, torchvision or "
    "EfficientNet-PyTorch, hf://USER/REPO, or the name of published weights.",
)
SOURCE_FAMILY, NORMALIZATION = shared.define_weights_flags()
OUTPUT = flags.DEFINE_string("output", None, "The file, NAME.weights.h5.")
flags.mark_flags_as_required(["model", "source", "output"])


def main(_: list[str]) -> None:
    from efficientnet_tf.weights import catalog

    catalog.check_output(OUTPUT.value)
    shared.check_weights(
        MODEL.value,
        SOURCE.value,
        source_family=SOURCE_FAMILY.value,
        normalization=NORMALIZATION.value,
    )
    from efficientnet_tf.weights import loading

    checkpoint = loading.resolve(MODEL.value, SOURCE.value, SOURCE_FAMILY.value)
    head = checkpoint.arrays.get("predictions/kernel")
    network = loading.build_for(
        checkpoint,
        MODEL.value,
        label=SOURCE.value,
        include_top=head is not None,
        classes=1000 if head is None else head.shape[-1],
        normalization=NORMALIZATION.value,
    )
    loading.assign(network, checkpoint)
    loading.save(network, OUTPUT.value)
    rows = {
        "parameters": f"{network.count_params():,}",
        "padding": checkpoint.padding,
        "classifier head": (
            "none" if head is None else f"{head.shape[-1]} classes"
        ),
    }
    if checkpoint.left_out:
        rows["left out"] = ", ".join(checkpoint.left_out)
    summary.print_summary(
        f"Converted {SOURCE.value} to {OUTPUT.value}.",
        rows,
        [
            [
                *("efficientnet", "finetune", "--task=digits"),
                f"--model={MODEL.value}",
                f"--weights={OUTPUT.value}",
                "--workdir=runs/digits-converted",
            ]
        ],
    )
    program.print_result(
        {
            "model": MODEL.value,
            "output": OUTPUT.value,
            "parameters": network.count_params(),
            "classes": None if head is None else head.shape[-1],
        }
    )


if __name__ == "__main__":
    program.run(main)
