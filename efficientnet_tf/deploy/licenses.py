"""The hub's identifiers of licenses that somebody may give a model."""

from efficientnet_tf.utils import configs

UNKNOWN = "unknown"

# docs/hub/repositories-licenses.md of huggingface/hub-docs, but for "unknown"
# and "other", which name none, and families of licenses, which leave open
# which one holds.
IDENTIFIERS = (
    "apache-2.0",
    "mit",
    "afl-3.0",
    "agpl-3.0",
    "artistic-2.0",
    "bigcode-openrail-m",
    "bigscience-bloom-rail-1.0",
    "bigscience-openrail-m",
    "bsd-2-clause",
    "bsd-3-clause",
    "bsd-3-clause-clear",
    "bsl-1.0",
    "c-uda",
    "cc-by-2.0",
    "cc-by-2.5",
    "cc-by-3.0",
    "cc-by-4.0",
    "cc-by-nc-2.0",
    "cc-by-nc-3.0",
    "cc-by-nc-4.0",
    "cc-by-nc-nd-3.0",
    "cc-by-nc-nd-4.0",
    "cc-by-nc-sa-2.0",
    "cc-by-nc-sa-3.0",
    "cc-by-nc-sa-4.0",
    "cc-by-nd-4.0",
    "cc-by-sa-3.0",
    "cc-by-sa-4.0",
    "cc0-1.0",
    "cdla-permissive-1.0",
    "cdla-permissive-2.0",
    "cdla-sharing-1.0",
    "creativeml-openrail-m",
    "deepfloyd-if-license",
    "ecl-2.0",
    "epl-1.0",
    "epl-2.0",
    "etalab-2.0",
    "eupl-1.1",
    "gemma",
    "gpl-2.0",
    "gpl-3.0",
    "isc",
    "lgpl-2.1",
    "lgpl-3.0",
    "lgpl-lr",
    "llama2",
    "lppl-1.3c",
    "mpl-2.0",
    "ms-pl",
    "ncsa",
    "odbl",
    "odc-by",
    "ofl-1.1",
    "openrail",
    "openrail++",
    "osl-3.0",
    "pddl",
    "postgresql",
    "unlicense",
    "wtfpl",
    "zlib",
)


def check(name: str | None) -> None:
    """Raises ValueError unless a license is one of `IDENTIFIERS`, or None."""
    if name is not None and name not in IDENTIFIERS:
        raise ValueError(configs.unknown("license", name, IDENTIFIERS))


def require(name: str | None) -> None:
    """Raises ValueError unless a license is chosen and known."""
    if name is None:
        raise ValueError(
            "--license is needed: the model has none until you choose one, "
            f"such as {', '.join(IDENTIFIERS[:2])} or cc-by-4.0; the card says "
            "what its weights and data allow."
        )
    check(name)
