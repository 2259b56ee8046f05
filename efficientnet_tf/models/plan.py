"""From a variant to its plan: every block after scaling.

The one description of a network that the builder, the costs and the name maps
of weights read. No Keras.
"""

import dataclasses
import string

from efficientnet_tf.models import registry, scaling

# Transformers: filters per attention head, pixels per side of a patch.
HEAD_SIZE = 64
PATCH_SIZE = 16

# Blocks that implement drop path.
DROPPING_BLOCKS = {"mbconv", "fused_mbconv"}

# What follows "block2a_" in the names of depthwise convolutions: that of
# keras.applications' efficientnet, and that of its efficientnet_v2.
DEPTHWISE_NAMES = DEPTHWISE, DEPTHWISE_V2 = "dwconv", "dwconv2"


@dataclasses.dataclass(frozen=True)
class BlockPlan:
    """One block after scaling; `filters` are its output's.

    `stage` and `index` count from 1.
    """

    block: str
    stage: int
    index: int
    kernel_size: int
    expand_ratio: int
    strides: int
    in_filters: int
    filters: int
    squeezed_filters: int  # 0: no squeeze-and-excitation.
    drop_rate: float
    padding: str = "same"
    bn_momentum: float | None = None  # None: the block's own.
    depthwise: str = DEPTHWISE

    @property
    def name(self) -> str:
        """The prefix of its layers, as in keras.applications: "block2a"."""
        return name_block(self.stage, self.index)

    @property
    def has_shortcut(self) -> bool:
        """Whether the input can be added to the output unchanged."""
        return self.strides == 1 and self.in_filters == self.filters


@dataclasses.dataclass(frozen=True)
class Plan:
    """A network after scaling; `head_filters` is 0 without a convolution."""

    stem_filters: int
    stages: tuple[tuple[BlockPlan, ...], ...]
    head_filters: int

    @property
    def blocks(self) -> tuple[BlockPlan, ...]:
        """All blocks in order."""
        return tuple(block for stage in self.stages for block in stage)

    @property
    def features(self) -> int:
        """The number of features that the classifier gets."""
        return self.head_filters or self.stages[-1][-1].filters


def plan_network(
    model: registry.Model, drop_path_rate: float | None = None
) -> Plan:
    """Returns the `Plan` of a network.

    Args:
      model: a name, a variant file or a `Variant`.
      drop_path_rate: of stochastic depth: block i of n, counted from 0, drops
        its branch at rate * i / n. None means the variant's own.

    Raises:
      ValueError: an unknown model, or a rate for blocks without drop path.
    """
    variant = registry.get_variant(model)
    rate = variant.drop_path if drop_path_rate is None else drop_path_rate
    _check_drop_path(variant, rate)
    stem, head = _plan_ends(variant)
    repeats = _plan_repeats(variant)
    common = _plan_common(variant)
    stages, in_filters, done = [], stem, 0
    for number, (stage, count) in enumerate(
        zip(variant.stages, repeats, strict=True), start=1
    ):
        filters = _scale_filters(stage, variant)
        blocks = []
        for index in range(count):
            block = _plan_block(
                stage,
                number=number,
                index=index,
                in_filters=in_filters,
                filters=filters,
                drop_rate=rate * (done + index) / sum(repeats),
                **common,
            )
            blocks.append(block)
            in_filters = filters
        done += count
        stages.append(tuple(blocks))
    return Plan(stem, tuple(stages), head)


def drops_paths(model: registry.Model) -> bool:
    """Whether all blocks of a network take a drop path rate above 0."""
    blocks = {stage.block for stage in registry.get_variant(model).stages}
    return blocks <= DROPPING_BLOCKS


def name_block(stage: int, index: int) -> str:
    """Returns "block2a" for 2 and 1; after "z" come "aa", "ab" and so on."""
    letters = ""
    while index:
        index, place = divmod(index - 1, len(string.ascii_lowercase))
        letters = string.ascii_lowercase[place] + letters
    return f"block{stage}{letters}"


def _plan_common(variant):
    """Returns what is the same in all blocks."""
    v2 = any(stage.block == "fused_mbconv" for stage in variant.stages)
    return {
        "padding": variant.padding,
        "bn_momentum": variant.bn_momentum,
        "depthwise": DEPTHWISE_V2 if v2 else DEPTHWISE,
    }


def squeeze(in_filters: int, ratio: float) -> int:
    """Returns the filters within squeeze-and-excitation; 0: there is none.

    The ratio refers to the block's input, not to the expanded tensor.
    """
    return max(1, int(in_filters * ratio)) if ratio else 0


def _plan_block(
    stage, *, number, index, in_filters, filters, drop_rate, **common
):
    return BlockPlan(
        block=stage.block,
        stage=number,
        index=index + 1,
        kernel_size=stage.kernel_size,
        expand_ratio=stage.expand_ratio,
        strides=stage.strides if index == 0 else 1,
        in_filters=in_filters,
        filters=filters,
        squeezed_filters=squeeze(in_filters, stage.se_ratio),
        drop_rate=drop_rate,
        **common,
    )


def _scale_filters(stage, variant):
    """Returns the filters of a stage's output."""
    if stage.block == "transformer":
        return _round_heads(stage.filters, variant.width)
    filters = scaling.round_filters(
        stage.filters, variant.width, limit=variant.round_limit
    )
    if stage.block == "bottleneck":
        return filters * stage.expand_ratio
    return filters


def _round_heads(filters, width):
    return HEAD_SIZE * max(1, round(filters * width / HEAD_SIZE))


def _plan_ends(variant):
    """Returns the filters of the stem and of the head."""
    head = variant.head_filters if variant.head == "conv" else 0
    if variant.stem == "patches":
        return _round_heads(variant.stem_filters, variant.width), head
    if variant.fixed_ends:
        return variant.stem_filters, head
    stem, head = (
        scaling.round_filters(filters, variant.width, limit=variant.round_limit)
        if filters
        else 0
        for filters in (variant.stem_filters, head)
    )
    return stem, head


def _plan_repeats(variant):
    """Returns the number of blocks of every stage."""
    repeats = [
        scaling.round_repeats(stage.repeats, variant.depth)
        for stage in variant.stages
    ]
    if variant.fixed_ends:
        repeats[0] = variant.stages[0].repeats
        repeats[-1] = variant.stages[-1].repeats
    return tuple(repeats)


def _check_drop_path(variant, rate):
    if rate and not drops_paths(variant):
        blocks = {stage.block for stage in variant.stages} - DROPPING_BLOCKS
        raise ValueError(
            f"drop_path_rate={rate}: {min(blocks)} blocks have no drop path; "
            "leave it at 0."
        )
