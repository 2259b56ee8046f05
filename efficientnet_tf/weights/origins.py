"""Where weights come from and what may be done with them, for model cards."""

import dataclasses
import os
import re

from efficientnet_tf.models import registry
from efficientnet_tf.weights import catalog, hub

# Of all published rows: tensorflow/tpu's own checkpoints, or the same weights
# converted, whose repository has this license.
TPU_LICENSE = "apache-2.0"
_TPU_PAGE = (
    "https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet"
)
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
        return Origin(
            f"{model}, {name}{trained}, ImageNet top-1 {row.top1} % as "
            "published",
            _TPU_PAGE,
            TPU_LICENSE,
            on_imagenet=True,
            more_data=(
                "300 million unlabelled images (JFT)"
                if name.startswith("noisy-student")
                else ""
            ),
        )
    if os.path.isdir(os.path.expanduser(name)):
        return Origin("the network of another run")
    return UNKNOWN
