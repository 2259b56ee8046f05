"""Spaces of networks: a network's stages, with choices for their fields.

A space is short JSON: the network to start from, and lists of values for the
fields of all stages or of single ones.
"""

import dataclasses
import itertools
import math
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from efficientnet_tf.models import costs, registry, variants
from efficientnet_tf.utils import configs, documents, untrusted

# An index for each decision of a space.
Genotype = tuple[int, ...]

# Of a stage in a file, beside its own fields: added to the base's repeats, and
# multiplied with its filters.
REPEATS_CHANGE, FILTERS_FACTOR = "repeats_change", "filters_factor"
MAX_VALUES = 100  # Of one decision.

_STAGE_FIELDS = tuple(f.name for f in dataclasses.fields(variants.Stage))
_CHOICES = (*_STAGE_FIELDS, REPEATS_CHANGE, FILTERS_FACTOR)
# Pixels of the image that one of the stem's output covers along a side.
_STEM_STRIDES = {"conv": 2, "conv_pool": 4, "patches": 16}


@dataclasses.dataclass(frozen=True)
class Decision:
    """What one field of a stage, counted from 0, may be."""

    stage: int
    field: str
    values: tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Space:
    """A network, and the decisions that make others of it.

    Raises:
      ValueError: it has no legal network, or nothing to decide.
    """

    template: variants.Variant
    decisions: tuple[Decision, ...]

    def __post_init__(self):
        if not self.decisions:
            raise ValueError("the space has nothing to decide.")
        self._check_values()
        if not self.count():
            raise ValueError(
                "the space has no legal network: with any choice a stage "
                f"strides below one pixel of {self.template.resolution}."
            )

    def _check_values(self):
        """Raises ValueError for a value that no network may have.

        Fields limit one another only by the sum of the blocks, so each value
        is tried alone, and the most blocks together.
        """
        first = (0,) * len(self.decisions)
        for other in neighbors(first, self.sizes):
            self.decode(other)
        self.decode(
            tuple(
                decision.values.index(max(decision.values))
                if decision.field == "repeats"
                else 0
                for decision in self.decisions
            )
        )

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of values of each decision."""
        return tuple(len(decision.values) for decision in self.decisions)

    def count(self) -> int:
        """Returns how many legal choices there are, exactly."""
        sides = {_start(self.template): 1}
        for number, stage in enumerate(self.template.stages):
            own = [d for d in self.decisions if d.stage == number]
            ways = math.prod(len(d.values) for d in own if d.field != "strides")
            strides = next(
                (d.values for d in own if d.field == "strides"),
                (stage.strides,),
            )
            after: dict[int, int] = {}
            for (side, paths), stride in itertools.product(
                sides.items(), strides
            ):
                if stride == 1 or side > 1:
                    end = costs.strided(side, stride)
                    after[end] = after.get(end, 0) + paths * ways
            sides = after
        return sum(sides.values())

    def is_legal(self, genotype: Genotype) -> bool:
        """Whether no stage strides below one pixel."""
        return find_overrun(self.decode(genotype)) is None

    def decode(self, genotype: Genotype) -> variants.Variant:
        """Returns the network of a genotype.

        Raises:
          ValueError: it is not one of this space.
        """
        _check_genotype(genotype, self.sizes)
        changes: list[dict] = [{} for _ in self.template.stages]
        for decision, index in zip(self.decisions, genotype, strict=True):
            changes[decision.stage][decision.field] = decision.values[index]
        stages = tuple(
            dataclasses.replace(stage, **change) if change else stage
            for stage, change in zip(self.template.stages, changes, strict=True)
        )
        return dataclasses.replace(self.template, stages=stages)

    def has(self, variant: variants.Variant) -> bool:
        """Whether a network is one of the space's."""
        try:
            self.encode(variant)
        except ValueError:
            return False
        return True

    def encode(self, variant: variants.Variant) -> Genotype:
        """Returns the genotype of one of the space's networks.

        Raises:
          ValueError: it is none of them; names the field.
        """
        found = []
        if len(variant.stages) != len(self.template.stages):
            raise ValueError(
                f"the network has {len(variant.stages)} stages, the space "
                f"{len(self.template.stages)}."
            )
        for decision in self.decisions:
            value = getattr(variant.stages[decision.stage], decision.field)
            if value not in decision.values:
                raise ValueError(
                    f"stage {decision.stage + 1}: {decision.field}={value!r} "
                    f"is not in the space; it has {decision.values}."
                )
            found.append(decision.values.index(value))
        if self.decode(tuple(found)) != variant:
            raise ValueError(
                "the network differs from the space's in a field that the "
                "space does not decide."
            )
        return tuple(found)


def get_space(name: str, **changes: Any) -> Space:
    """Returns a space by its name or file.

    Args:
      name: one of `SPACES`, or the path of a JSON file.
      **changes: replace fields of the template.

    Raises:
      OSError: there is no such file.
      ValueError: an unknown name, or an invalid file.
    """
    if name in SPACES:
        return from_fields(SPACES[name], changes)
    if not registry.is_file(name):
        raise ValueError(
            configs.unknown(
                "space",
                name,
                SPACES,
                otherwise=f"a {registry.FILE_SUFFIX} file",
            )
        )
    fields = documents.read_object(pathlib.Path(name).expanduser(), {})
    try:
        return from_fields(fields, changes)
    except ValueError as error:
        raise untrusted.DamagedError(
            f"{name}: {untrusted.shorten(error)}"
        ) from None


def from_fields(
    fields: Mapping[str, Any], changes: Mapping[str, Any] | None = None
) -> Space:
    """Returns the space of a file's JSON object.

    Args:
      fields: those of a variant file, where each field of a stage may be a
        list of values, and "every_stage" with such fields for all stages.
      changes: replace fields of the template.

    Raises:
      ValueError: a field is unknown or mistyped, or no network is legal.
    """
    _check_names(fields, ("every_stage", "base", *_variant_fields()))
    common = fields.get("every_stage", {})
    own = fields.get("stages")
    plain = {
        name: value
        for name, value in fields.items()
        if name not in ("every_stage", "stages")
    }
    if "base" not in plain:
        raise ValueError(
            '"base", the name of the network to start from, lacks.'
        )
    template = registry.from_fields(plain)
    if own is None:
        own = [{} for _ in template.stages]
    if not isinstance(own, list) or len(own) != len(template.stages):
        raise ValueError(
            f"stages must be a list of {len(template.stages)} objects, one for "
            "each stage of the base; {} leaves one as it is."
        )
    decisions: list[Decision] = []
    stages = []
    for number, (stage, extra) in enumerate(
        zip(template.stages, own, strict=True)
    ):
        try:
            values = _stage_values(stage, common, extra)
        except ValueError as error:
            raise ValueError(f"stage {number + 1}: {error}") from None
        # What the base has, where that may be.
        fixed = {
            name: getattr(stage, name)
            if getattr(stage, name) in found
            else found[0]
            for name, found in values.items()
        }
        stages.append(dataclasses.replace(stage, **fixed))
        decisions += [
            Decision(number, name, found)
            for name, found in values.items()
            if len(found) > 1
        ]
    template = dataclasses.replace(
        template, stages=tuple(stages), **(changes or {})
    )
    return Space(template, tuple(decisions))


def sample(sizes: tuple[int, ...], rng: np.random.Generator) -> Genotype:
    """Returns a genotype, each as likely."""
    return tuple(int(i) for i in rng.integers(sizes))


def mutate(
    genotype: Genotype, sizes: tuple[int, ...], rng: np.random.Generator
) -> Genotype:
    """Returns a genotype with one decision changed to another value."""
    place = int(rng.integers(len(sizes)))
    shift = int(rng.integers(1, sizes[place]))
    changed = list(genotype)
    changed[place] = (changed[place] + shift) % sizes[place]
    return tuple(changed)


def neighbors(genotype: Genotype, sizes: tuple[int, ...]) -> Iterator[Genotype]:
    """Yields all genotypes that differ in one decision."""
    for place, size in enumerate(sizes):
        for value in range(size):
            if value != genotype[place]:
                yield (*genotype[:place], value, *genotype[place + 1 :])


def find_overrun(variant: variants.Variant) -> int | None:
    """Returns the first stage, from 1, that strides below one pixel."""
    side = _start(variant)
    for number, stage in enumerate(variant.stages, start=1):
        if stage.strides > 1 and side == 1:
            return number
        side = costs.strided(side, stage.strides)
    return None


def _start(variant):
    return costs.strided(variant.resolution, _STEM_STRIDES[variant.stem])


def _check_genotype(genotype, sizes):
    if len(genotype) != len(sizes) or not all(
        0 <= index < size for index, size in zip(genotype, sizes, strict=False)
    ):
        raise ValueError(
            f"genotype {configs.show(genotype)} must be {len(sizes)} indices "
            f"below {configs.show(sizes)}."
        )


def _variant_fields():
    return configs.field_names(variants.Variant)


def _check_names(fields, choices):
    for name in fields:
        if name not in choices:
            message = configs.unknown("field", name, choices)
            raise ValueError(message[0].lower() + message[1:])


def _stage_values(stage, common, extra):
    """Returns {field: values} of a stage, each value checked."""
    if not isinstance(common, dict) or not isinstance(extra, dict):
        raise ValueError("it must be an object with fields of a stage.")
    listed = {**common, **extra}
    _check_names(listed, _CHOICES)
    values: dict[str, tuple] = {}
    for name, found in listed.items():
        items = found if isinstance(found, list) else [found]
        if not 0 < len(items) <= MAX_VALUES:
            raise ValueError(f"{name} must have 1 to {MAX_VALUES} values.")
        field, items = _relative(stage, name, items)
        if field in values:
            raise ValueError(f"{name} and {field} both say what {field} is.")
        for item in items:  # Says what is wrong with it.
            dataclasses.replace(stage, **{field: item})
        values[field] = tuple(dict.fromkeys(items))
    return values


def _relative(stage, name, items):
    """Returns (the stage's own field, its values) of a relative one."""
    if name not in (REPEATS_CHANGE, FILTERS_FACTOR):
        return name, items
    kind = int if name == REPEATS_CHANGE else (int, float)
    for item in items:
        if not isinstance(item, kind) or isinstance(item, bool):
            raise ValueError(f"{name}={configs.show(item)} must be a number.")
    if name == REPEATS_CHANGE:
        # As in MnasNet's: one block less than one is one.
        return "repeats", [max(1, stage.repeats + item) for item in items]
    return "filters", [int(stage.filters * item) for item in items]


_SEARCHED = {
    "block": ["mbconv", "fused_mbconv"],
    "kernel_size": [3, 5],
    "se_ratio": [0.0, 0.25],
    REPEATS_CHANGE: [-1, 0, 1],
    FILTERS_FACTOR: [0.75, 1, 1.25],
}

# Whose networks share the weights of a supernet.
_SLICED = {
    "kernel_size": [3, 5],
    REPEATS_CHANGE: [-1, 0, 1],
    FILTERS_FACTOR: [0.75, 1, 1.25],
}
_EXPANDED = {"expand_ratio": [3, 4, 6]}

SPACES: dict[str, dict[str, Any]] = {
    # Section 4.1 and Figure 4 of https://arxiv.org/abs/1807.11626, around
    # MobileNetV2. Its plain convolution is a "fused_mbconv" of expansion 1, its
    # separable one an "mbconv" of expansion 1; pooling instead of a shortcut
    # and no shortcut are left out, as in https://arxiv.org/abs/2104.00298.
    "mnasnet": {
        "base": "mobilenet_v2",
        "activation": "silu",
        "drop_path": 0.2,
        "dropout": 0.2,
        "every_stage": {**_SEARCHED, "expand_ratio": [1, 3, 4, 6]},
    },
    # Section 3.3 of https://arxiv.org/abs/2104.00298, with the filters that
    # its released space has, around V2-B0.
    "efficientnet_v2": {
        "base": "efficientnet_v2_b0",
        "every_stage": {**_SEARCHED, "expand_ratio": [1, 2, 4, 6]},
    },
    # Around B0: what BigNAS decides, https://arxiv.org/abs/2003.11142, with
    # values that are ours.
    "elastic": {
        "base": "efficientnet_b0",
        "every_stage": _SLICED,
        "stages": [{}, *[_EXPANDED] * 6],
    },
}
