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
# As torchvision/models/efficientnet.py builds them.
_TORCHVISION_TF_EPSILON = (
    "efficientnet_b5",
    "efficientnet_b6",
    "efficientnet_b7",
)

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

# timm's architectures, as in its files' names and in ids on the hub:
# efficientnet_b0_ra-3dd342df.pth, tf_efficientnet_b0.ns_jft_in1k.
_ARCHITECTURE = re.compile(
    r"(?<![a-z0-9])(tf_)?efficientnet(v2)?_(b\d|lite\d|l2|[a-z]{1,2})(?![a-z0-9])"
    r"(?P<tag>[._](?P<word>[a-z0-9]+))?"
)
_ADVPROP_TAGS = {"ap", "ra4"}
_PLAIN_TAGS = {"aa", "ft", "in1k", "ns", "ra", "ra2", "sw"}

# Other names that tell how images were normalized: folders of tensorflow/tpu
# and files of EfficientNet-PyTorch and qubvel/efficientnet.
_ADVPROP = re.compile(r"adv[-_]?prop|^adv-efficientnet")
_PLAIN = re.compile(
    r"noisy[-_]?student|^ckptsaug$|rand-?aug|auto-?augment|rwightman"
    r"|efficientnet-lite|efficientnet[-_](b\d|l2)(_lukemelas)?-[0-9a-f]{8}\."
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
    found = dict(_list_evidence(path, architecture, config))
    if len(set(found.values())) == 1:
        evidence, family = next(iter(found.items()))
        return Origin(family, f"by {evidence}", stated)
    seen = " and ".join(f"{k} says {v}" for k, v in found.items())
    raise ValueError(
        f"{path} has timm's names, and "
        f"{seen or 'neither its name nor a config.json says which network'}: "
        "efficientnet_* (timm) and tf_efficientnet_* (timm_tf) differ in "
        "padding and epsilon. Say which by --source_family (source_family=): "
        "timm or timm_tf."
    )


def epsilon(family: str, variant: variants.Variant) -> float:
    """Returns batch normalization's epsilon of a family's network."""
    scales = {
        (row.width, row.depth)
        for row in (variants.VARIANTS[name] for name in _TORCHVISION_TF_EPSILON)
    }
    if family == "torchvision" and (variant.width, variant.depth) in scales:
        return _TF_EPSILON
    return FAMILIES[family].epsilon


def normalization_by_name(path: str | os.PathLike) -> str | None:
    """Returns what the names of a file and its folders say of normalization.

    Returns:
      "advprop" for pixels in [-1, 1], "plain" for the usual normalization of
      the family, or None: they do not say.
    """
    # A published archive has a folder within a folder that tells.
    for part in reversed(pathlib.Path(os.path.abspath(path)).parts[-4:]):
        part = part.lower()
        match = _ARCHITECTURE.search(part)
        word = match and match["word"]
        if _ADVPROP.search(part) or word in _ADVPROP_TAGS:
            return "advprop"
        if _PLAIN.search(part) or word in _PLAIN_TAGS:
            return "plain"
        # timm's first files have a hash in place of a tag.
        if match and re.search(r"-[0-9a-f]{8}\.", part):
            return "plain"
    return None


def _list_evidence(path, architecture, config):
    """Yields (what tells, family)."""
    if config is not None:
        yield "config.json", _family_of(config["architecture"])
    if architecture is not None and _ARCHITECTURE.search(architecture):
        yield "the network's name in the file", _family_of(architecture)
    file, *folders = reversed(pathlib.Path(os.path.abspath(path)).parts[-4:])
    match = _ARCHITECTURE.search(file.lower())
    if match:
        yield "the file's name", _family_of(match[0])
        return
    for folder in folders:
        match = _ARCHITECTURE.search(folder.lower())
        # Only an id of the hub, with its tag: people name folders as they like.
        if match and match["tag"] and match["tag"].startswith("."):
            yield "the folder's name", _family_of(match[0])
            return


def _family_of(architecture):
    return "timm_tf" if architecture.startswith("tf_") else "timm"


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
