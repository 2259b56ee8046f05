"""MobileNets, ResNet-50 and a plain ViT, as variants like the family's."""

from efficientnet_tf.models import variants

_Stage = variants.Stage


def _make_row(**fields):
    """Returns a network at scale 1 that drops nothing."""
    return variants.Variant(
        width=1.0,
        depth=1.0,
        resolution=224,
        dropout=0.0,
        drop_path=0.0,
        **fields,
    )


# Table 1 of https://arxiv.org/abs/1704.04861: depthwise-separable blocks.
MOBILENET_V1 = _make_row(
    activation="relu6",
    head="none",
    head_filters=0,
    stages=(
        # block, kernel, repeats, filters, expand, strides, SE
        _Stage("separable", 3, 1, 64, 1, 1, 0.0),
        _Stage("separable", 3, 2, 128, 1, 2, 0.0),
        _Stage("separable", 3, 2, 256, 1, 2, 0.0),
        _Stage("separable", 3, 6, 512, 1, 2, 0.0),
        _Stage("separable", 3, 2, 1024, 1, 2, 0.0),
    ),
)

# Table 2 of https://arxiv.org/abs/1801.04381: MBConv without
# squeeze-and-excitation.
MOBILENET_V2 = _make_row(
    activation="relu6",
    stages=(
        _Stage("mbconv", 3, 1, 16, 1, 1, 0.0),
        _Stage("mbconv", 3, 2, 24, 6, 2, 0.0),
        _Stage("mbconv", 3, 3, 32, 6, 2, 0.0),
        _Stage("mbconv", 3, 4, 64, 6, 2, 0.0),
        _Stage("mbconv", 3, 3, 96, 6, 1, 0.0),
        _Stage("mbconv", 3, 3, 160, 6, 2, 0.0),
        _Stage("mbconv", 3, 1, 320, 6, 1, 0.0),
    ),
)

# Table 1 of https://arxiv.org/abs/1512.03385; filters are those inside the
# bottleneck.
RESNET50 = _make_row(
    activation="relu",
    stem="conv_pool",
    stem_filters=64,
    head="none",
    head_filters=0,
    stages=(
        _Stage("bottleneck", 3, 3, 64, 4, 1, 0.0),
        _Stage("bottleneck", 3, 4, 128, 4, 2, 0.0),
        _Stage("bottleneck", 3, 6, 256, 4, 2, 0.0),
        _Stage("bottleneck", 3, 3, 512, 4, 2, 0.0),
    ),
)

# ViT-S/16, https://arxiv.org/abs/2012.12877; width 2 is ViT-B/16 of Table 1
# in https://arxiv.org/abs/2010.11929, width 0.5 is DeiT-Ti.
VIT = _make_row(
    activation="gelu",
    stem="patches",
    stem_filters=384,
    head="class_token",
    head_filters=0,
    stages=(_Stage("transformer", 1, 12, 384, 4, 1, 0.0),),
)

BASELINES = {
    "mobilenet_v1": MOBILENET_V1,
    "mobilenet_v2": MOBILENET_V2,
    "resnet50": RESNET50,
    "vit": VIT,
}
