"""Whose PyTorch weights a file holds, and the network they were trained in.

The tensors' names and shapes do not tell. timm's `efficientnet_*` and
torchvision's networks pad symmetrically and have another batch-norm epsilon
than TensorFlow's; timm's `tf_efficientnet_*` and lukemelas's are TensorFlow's
in PyTorch. Weights in the other network give wrong predictions, silently.
"""

import dataclasses
import os
import pathlib
import re

from efficientnet_tf.models import variants
from efficientnet_tf.utils import configs, documents, untrusted


@dataclasses.dataclass(frozen=True)
class Family:
    """The network behind the weights of a library.

    `layout` is whose names the tensors have, `epsilon` batch normalization's,
    and `normalization` what images usually get; None: the variant's own.
    """

    layout: str
    padding: str
    epsilon: float
    normalization: str | None


_TF_EPSILON, _TORCH_EPSILON = 1e-3, 1e-5
FAMILIES = {
    "timm": Family("timm", "symmetric", _TORCH_EPSILON, "imagenet"),
    "timm_tf": Family("timm", "same", _TF_EPSILON, None),
    "torchvision": Family(
        "torchvision", "symmetric", _TORCH_EPSILON, "imagenet"
    ),
    "lukemelas": Family("lukemelas", "same", _TF_EPSILON, None),
}
# As torchvision/models/efficientnet.py builds them, and what images get there.
_TORCHVISION_TF_EPSILON = (
    "efficientnet_b5",
    "efficientnet_b6",
    "efficientnet_b7",
    "efficientnet_v2_s",
    "efficientnet_v2_m",
    "efficientnet_v2_l",
)
_TORCHVISION_ADVPROP = ("efficientnet_v2_l",)

# Arguments in timm's config.json that do not change the graph of inference;
# "global_pool" is looked at.
_CONFIG_KINDS = {"pretrained_cfg": dict | None, "model_args": dict | None}
_HARMLESS_ARGS = {
    "num_classes",
    "drop_rate",
    "drop_path_rate",
    "img_size",
    "in_chans",
    "global_pool",
}

# timm's names, of the networks that we have.
_SIZE = r"efficientnet(_(b\d|lite\d|l2)|v2_(b\d|s|m|l|xl))"
_TAG = r"_(aa|ap|ns|ra2?|(in)?21(k|ft1k))(_\d+)?"
_HUB = r"([\w-]+:)?(timm/|models--timm--)?"
# As files call their network: timm/tf_efficientnet_b0.ns_jft_in1k; before the
# hub, tf_efficientnet_b0_ns and efficientnet_b3a.
_ARCHITECTURE = re.compile(rf"{_HUB}(tf_)?{_SIZE}a?({_TAG})?(\.\w+)?")
# As timm calls its files and folders. No other name tells: people's files are
# efficientnet_b0_best.pth, whichever of the two networks is in them, and some
# end in a date or a commit. So a hash without a tag tells only in TensorFlow's,
# which nobody calls so by chance, and in the one such file that timm has.
_HASH = r"-(?!(19|20)\d{6})[0-9a-f]{8}"
_PUBLISHED = re.compile(
    # tf_efficientnet_b0.ns_jft_in1k, efficientnet_b0.ra4_e3600_r224_in1k
    rf"({_HUB}(tf_)?{_SIZE}"
    r"\.((aa|ap|ft|ns_jft|ra\d?|sw)(_[er]\d+)*_)?in\d+k(_ft_in\d+k)?(_\d+)?"
    # tf_efficientnet_b0_ns-c0e6a31c.pth, efficientnet_b0_ra-3dd342df.pth
    rf"|tf_{_SIZE}({_TAG})?{_HASH}|{_SIZE}{_TAG}{_HASH}"
    r"|efficientnet_b1-533bc792)(\.(pth|pt|bin|safetensors|tar))*"
)
# Of V2-B0 to B3, those trained on ImageNet-21k got pixels in [-1, 1].
_V2_B_21K = re.compile(rf"{_HUB}(tf_)?efficientnetv2[-_]b\d[-._](in)?21k")
# What its tags say of the normalization, in names of anybody's.
_TAGGED = re.compile(rf"{_HUB}(tf_)?{_SIZE}[._](?P<tag>[a-z0-9]+)")
_ADVPROP_TAGS = {"ap", "ra4"}
_PLAIN_TAGS = {"aa", "ft", "in1k", "ns", "ra", "ra2", "sw"}

# Other names that tell how images were normalized: folders of tensorflow/tpu
# and files of EfficientNet-PyTorch and qubvel/efficientnet.
_ADVPROP = re.compile(r"adv[-_]?prop|^adv-efficientnet")
_PLAIN = re.compile(
    r"noisy[-_]?student|^ckptsaug$|rand-?aug|auto-?augment|rwightman"
    r"|efficientnet-lite|efficientnet[-_](b\d|l2)(_lukemelas)?-[0-9a-f]{8}\."
)


_NOTHING_TELLS = (
    "neither its name nor a config.json says which network (a name does as "
    "timm gives it, such as tf_efficientnet_b0_ns-c0e6a31c.pth)"
)


@dataclasses.dataclass(frozen=True)
class Origin:
    """A file's family, what told it, and the normalization it states."""

    family: str
    evidence: str
    normalization: variants.Normalization | None = None


def check(source_family: str | None) -> None:
    """Raises ValueError for an unknown family; None passes."""
    if source_family is not None and source_family not in FAMILIES:
        raise ValueError(
            configs.unknown("source_family", source_family, FAMILIES)
        )


def identify(
    path: str | os.PathLike,
    layout: str,
    architecture: str | None = None,
    source_family: str | None = None,
) -> Origin:
    """Tells the family of a PyTorch file.

    Args:
      path: the file; timm's `config.json` may stand beside it.
      layout: whose names its tensors have, see `torch_names.find_layout`.
      architecture: what the file itself calls its network.
      source_family: an item of `FAMILIES` that overrides any evidence.

    Raises:
      ValueError: nothing tells, what tells disagrees, the tensors' names are
        another library's, or timm's network was changed by its arguments.
    """
    check(source_family)
    config = _read_config(path) if layout == "timm" else None
    stated = None if config is None else _config_normalization(config, path)
    if source_family is not None:
        if FAMILIES[source_family].layout != layout:
            raise ValueError(
                f"source_family={source_family!r}: {path} has the names of "
                f"{layout}."
            )
        return Origin(source_family, "as source_family says", stated)
    if layout != "timm":
        return Origin(layout, "by the names of its tensors", stated)
    found = _find_evidence(path, architecture, config)
    if stated is None and _read_tag(architecture or "") == "advprop":
        stated = variants.NORMALIZATIONS["advprop"]
    told = set(found.values())
    if len(told) == 1 and told <= set(FAMILIES):
        evidence, family = next(iter(found.items()))
        return Origin(family, f"by {evidence}", stated)
    seen = " and ".join(f"{k} says {v}" for k, v in found.items())
    raise ValueError(
        f"{path} has timm's names, and {seen or _NOTHING_TELLS}: "
        "efficientnet_* (timm) and tf_efficientnet_* (timm_tf) differ in "
        "padding and epsilon. Say which by --source_family (source_family=): "
        "timm or timm_tf."
    )


def epsilon(family: str, variant: variants.Variant) -> float:
    """Returns batch normalization's epsilon of a family's network."""
    if family == "torchvision" and _is_among(variant, _TORCHVISION_TF_EPSILON):
        return _TF_EPSILON
    return FAMILIES[family].epsilon


def usual_normalization(family: str, variant: variants.Variant) -> str:
    """Returns the name of what images usually get before a family's network."""
    if family == "torchvision" and _is_among(variant, _TORCHVISION_ADVPROP):
        return "advprop"
    return FAMILIES[family].normalization or variant.normalization


def _is_among(variant, names):
    """Whether a variant has the blocks of one of the rows."""
    rows = (variants.VARIANTS[name] for name in names)
    return any(
        (variant.width, variant.depth, variant.stages)
        == (row.width, row.depth, row.stages)
        for row in rows
    )


def normalization_by_name(path: str | os.PathLike) -> str | None:
    """Returns what the names of a file and its folders say of normalization.

    Returns:
      "advprop" for pixels in [-1, 1], "plain" for the usual normalization of
      the family, or None: they do not say.
    """
    # A published archive has a folder within a folder that tells.
    for part in reversed(pathlib.Path(os.path.abspath(path)).parts[-4:]):
        part = part.lower()
        tagged = _read_tag(part)
        if tagged == "advprop" or _ADVPROP.search(part):
            return "advprop"
        if tagged or _PLAIN.search(part):
            return "plain"
    return None


def _read_tag(name):
    if _V2_B_21K.match(name):
        return "advprop"
    match = _TAGGED.match(name)
    tag = match and match["tag"]
    if tag in _ADVPROP_TAGS:
        return "advprop"
    # timm's first files have a hash in place of a tag.
    if tag in _PLAIN_TAGS or _PUBLISHED.fullmatch(name):
        return "plain"
    return None


def _find_evidence(path, architecture, config):
    """Returns {what tells: family, or the name of another network}."""
    found = {}
    if config is not None:
        found["config.json"] = _family_of(config["architecture"])
    if architecture is not None:
        found["the network's name in the file"] = _family_of(architecture)
    file, *folders = reversed(pathlib.Path(os.path.abspath(path)).parts[-4:])
    for what, names in (("file's", [file]), ("folder's", folders)):
        published = next(filter(_PUBLISHED.fullmatch, names), None)
        if published is not None:
            found[f"the {what} name"] = _family_of_published(published)
            break
    # By itself a name of the user's tells nothing, but it may contradict.
    if found and file.startswith("tf_efficientnet"):
        found["the file's name"] = "timm_tf"
    return found


def _family_of(architecture):
    if _ARCHITECTURE.fullmatch(architecture):
        return _family_of_published(architecture)
    return repr(architecture[:80])


def _family_of_published(name):
    return "timm_tf" if "tf_efficientnet" in name else "timm"


def _read_config(path):
    """Returns timm's config.json beside a file, or None."""
    beside = pathlib.Path(path).parent / "config.json"
    try:
        config = documents.read_object(beside, {})
    except (OSError, untrusted.DamagedError):
        return None
    if not isinstance(config.get("architecture"), str):
        return None  # Of something else.
    documents.check_object(config, _CONFIG_KINDS, beside)
    arguments = config.get("model_args") or {}
    changed = sorted(set(arguments) - _HARMLESS_ARGS)
    if arguments.get("global_pool", "avg") not in ("avg", ""):
        changed.append("global_pool")
    if changed:
        raise ValueError(
            f"{beside}: timm's network was built with {', '.join(changed)}, "
            "which gives another graph than ours."
        )
    return config


def _config_normalization(config, path):
    # Older files have these fields at the top.
    fields = config.get("pretrained_cfg") or config
    if "mean" not in fields or "std" not in fields:
        return None
    try:
        found = variants.Normalization(
            *(tuple(255 * float(v) for v in fields[k]) for k in ("mean", "std"))
        )
    except (TypeError, ValueError):
        found = None
    if found is None or len(found.mean) != 3 or len(found.std) != 3:
        raise ValueError(
            f"{pathlib.Path(path).parent / 'config.json'}: mean="
            f"{fields['mean']}, std={fields['std']} are not three numbers each."
        )
    return found
