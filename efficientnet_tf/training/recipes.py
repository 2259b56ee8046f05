"""Recipes for training from scratch: the named rows."""

import dataclasses
from collections.abc import Iterable

from efficientnet_tf.training import train_config
from efficientnet_tf.utils import configs

PAPER = train_config.TrainConfig(
    # §5.2: 25K of the training images choose the best checkpoint.
    minival_images=25_000,
)

_TPU_V3_32 = dataclasses.replace(
    PAPER,
    batch_size=2048,
    augment="none",
    precision="mixed_bfloat16",
    steps_per_execution=64,  # Ours; costs the run's last 5 steps.
    minival_images=0,
)

# https://arxiv.org/abs/2104.00298, §5.1, with hparams.py and datasets.py of
# https://github.com/google/automl: the first family's, but for what grows by
# stage. Where both mixtures are on, that code halves each batch between them;
# here each batch gets one.
_V2 = dataclasses.replace(
    PAPER,
    decayed="kernels",
    augment="variant",
    randaugment_magnitude=None,
    mixup_alpha=None,
    cutmix_alpha=None,
    progression="code",
    precision="mixed_bfloat16",
)

RECIPES = {
    # §5.2. Its initial rate of 0.256 is the code's 0.016 per 256 images at a
    # batch of 4096.
    "paper": PAPER,
    # The defaults of the official code's main.py: 218,949 steps of 2048 images,
    # bfloat16, and no augmentation but crops and flips.
    "tpu_v3_32": _TPU_V3_32,
    # The same with its --augment_name=autoaugment: 77.1 % for B0 in its README,
    # which has 76.7 % with "baseline preprocessing".
    "tpu_v3_32_autoaugment": dataclasses.replace(
        _TPU_V3_32, augment="autoaugment"
    ),
    # The official code's, after https://arxiv.org/abs/1909.13719: 17 for B5,
    # 28 for B7; none is published for B6.
    "randaugment": dataclasses.replace(
        PAPER, augment="randaugment", randaugment_magnitude=17.0
    ),
    # Ours: the learning rate scales with the batch; the rest is unchanged.
    "one_gpu": dataclasses.replace(
        PAPER,
        batch_size=256,
        batch_norm="local",
        precision="mixed_bfloat16",
    ),
    # As pycls trains B0 in configs/dds_baselines/effnet/EN-B0_dds_8gpu.yaml
    # (https://github.com/facebookresearch/pycls), which reports 75.1 %. Its
    # colour jitter, precise batch-norm statistics and weight decay of batch
    # norm are left out; the moving average beside the raw weights is ours.
    "sgd_cosine": dataclasses.replace(
        PAPER,
        epochs=100,
        batch_size=256,
        optimizer="sgd",
        learning_rate_per_256=0.4,
        schedule="cosine",
        label_smoothing=0.0,
        dropout_rate=0.0,
        drop_path_rate=0.0,
        augment="none",
        batch_norm="local",
        minival_images=0,
    ),
    # "v2_paper" for B0: magnitudes as for V2-S; the image sizes are ours.
    "progressive": dataclasses.replace(
        PAPER,
        augment="randaugment",
        stage_resolutions=(128, 160, 192, 224),
        stage_magnitudes=(5.0, 8.0, 12.0, 15.0),
    ),
    # As its code was released, for every network.
    "v2": _V2,
    # As published in Table 6, which the code differs from: for V2-S, M and L.
    "v2_paper": dataclasses.replace(_V2, progression="paper"),
    # Before fine-tuning, on ImageNet-21k: "ImageNet21k" of that code. Its
    # images have several labels, which it divides by their number for the
    # softmax; data sets here have one. The paper has "60 or 30" epochs.
    "v2_21k": dataclasses.replace(
        _V2,
        epochs=60,
        resolution=224,
        learning_rate_per_256=0.008,
        schedule="cosine",
        warmup_epochs=1.0,
        label_smoothing=0.0,
        dropout_rate=0.0,  # 1e-6 there.
        drop_path_rate=0.0,
        augment="none",
        randaugment_magnitude=0.0,
        mixup_alpha=0.0,
        cutmix_alpha=0.0,
        progression="none",
        minival_images=0,
    ),
    # timm's efficientnet_b0.ra_in1k, 77.7 %, from its training examples:
    # `-b 384` on 2 GPUs, `--aa rand-m9-mstd0.5`. Not in that command: the
    # length of the warm-up, here the paper's. Not taken over: timm's own
    # operations of RandAugment (these are the official code's), resizing by a
    # random filter, the choice of the best epoch on the validation images.
    "timm_ra": dataclasses.replace(
        PAPER,
        epochs=450,
        batch_size=768,
        decayed="kernels",
        augment="randaugment",
        randaugment_magnitude=9.0,
        randaugment_noise=0.5,
        randaugment_probability=0.5,
        random_erasing=0.2,
        batch_norm="local",
        precision="mixed_float16",
        minival_images=0,
    ),
    # timm's efficientnet_b0.ra4_e3600_r224_in1k, 78.6 % at 224 pixels and
    # 79.4 % at 256 (`eval_resolution`). Its model card and its author's
    # "MobileNet Baselines" give the length, the size, AdamW with a beta_1 of
    # 0.6, and that the rest is "inspired by" MobileNetV4's small network; its
    # file of arguments could not be checked. So the rest is MobileNetV4-Conv-
    # S's (imagenet_mobilenetv4_conv_small_tpu.yaml of tensorflow/models), with
    # timm's rule of what decays. The published arguments of timm's smallest
    # networks, of the same template, have no repeated augmentation; they clip
    # gradients at a norm of 5, which is left out. timm's images have a mean
    # and deviation of 0.5; here they are the network's own.
    "timm_ra4": dataclasses.replace(
        PAPER,
        epochs=3600,
        resolution=224,
        optimizer="adamw",
        adam_beta_1=0.6,
        adam_epsilon=1e-6,
        learning_rate_per_256=0.002 / 16,  # 0.002 at 4096.
        schedule="cosine",
        weight_decay=0.01,
        decayed="kernels",
        dropout_rate=0.3,
        drop_path_rate=0.0,
        augment="randaugment",
        randaugment_magnitude=9.0,
        randaugment_probability=0.5,
        batch_norm="local",
        precision="mixed_float16",
        minival_images=0,
    ),
    # Ours: runs every part once, within minutes on a CPU.
    "smoke": dataclasses.replace(
        PAPER,
        epochs=3,
        batch_size=32,
        resolution=64,
        crop_padding=9,  # The same share as 32 of 224 pixels.
        # Per 256, so 0.001 at this batch: at 0.008 the weights run away from
        # batch norm's averages within the few steps of a small set.
        learning_rate_per_256=0.008,
        warmup_epochs=1.0,
        # There are too few steps for a longer average.
        ema_decay=0.9,
        augment="none",
        drop_path_rate=0.0,
        batch_norm="synchronized",
        minival_images=0,
        checkpoint_minutes=1.0,
    ),
}


def get_recipe(
    name: str, overrides: Iterable[str] = ()
) -> train_config.TrainConfig:
    """Returns a row of `RECIPES` with "field=value" overrides applied.

    Raises:
      ValueError: an unknown name or field, or a bad value.
    """
    return configs.choose(RECIPES, name, overrides)
