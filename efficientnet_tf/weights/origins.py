"""Where weights come from and what may be done with them, for model cards."""

import dataclasses
import os
import re

from efficientnet_tf.models import published, registry
from efficientnet_tf.weights import catalog, hub

# Of all published rows: the checkpoints of tensorflow/tpu and google/automl, or
# the same weights converted. Both repositories have this license.
TPU_LICENSE = "apache-2.0"
_TPU_PAGE = (
    "https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet"
)
# By how the weights are named.
_MORE_DATA = {
    "noisy-student": "300 million unlabelled images (JFT)",
    "in21k": "ImageNet-21k, 21,843 classes",
}
# timm's conversions and own trainings of this family; its repositories on the
# hub state this license. Other networks of timm have others.
_TIMM_FAMILY = re.compile(r"hf://timm/(tf_)?efficientnet")


@dataclasses.dataclass(frozen=True)
class Origin:
    """What a card says of the weights that a network has or starts from.

    Attributes:
      text: what they are, without any path of this machine.
      page: where they are from; None: not known.
      license: an identifier of the hub; None: not known.
      base_model: their repository on the hub, if they are from there.
      on_imagenet: whether they are known to be trained on ImageNet.
      more_data: what they are known to be trained on besides.
    """

    text: str
    page: str | None = None
    license: str | None = None
    base_model: str | None = None
    on_imagenet: bool = False
    more_data: str = ""


RANDOM = Origin("random weights")
UNKNOWN = Origin("weights of an origin that is not known")


def describe(
    model: registry.Model, weights: str | os.PathLike | None
) -> Origin:
    """Returns what is known of weights by their name.

    Args:
      model: a name, a variant file or a `Variant`.
      weights: as in `loading.build`; None: random ones.
    """
    weights = catalog.parse(weights)
    if weights is None:
        return RANDOM
    name = os.fspath(weights)
    if hub.is_name(name):
        repository = name.removeprefix(hub.PREFIX).partition("@")[0]
        known = _TIMM_FAMILY.match(name)
        return Origin(
            f"{repository} on the Hugging Face hub",
            f"{hub.ENDPOINT}/{repository}",
            TPU_LICENSE if known else None,
            base_model=repository,
        )
    if isinstance(model, str) and name in catalog.names(model):
        row = catalog.WEIGHTS[model, name]
        trained = "" if row.recipe == "not stated" else f" ({row.recipe})"
        scored = ""
        if row.top1 is not None:
            scored = f", ImageNet top-1 {row.top1} % as published"
        v2 = "_v2_" in model
        return Origin(
            f"{model}, {name}{trained}{scored}",
            published.V2_README if v2 else _TPU_PAGE,
            TPU_LICENSE,
            on_imagenet=True,
            more_data=next(
                (v for k, v in _MORE_DATA.items() if name.startswith(k)), ""
            ),
        )
    if os.path.isdir(os.path.expanduser(name)):
        return Origin("the network of another run")
    return UNKNOWN
