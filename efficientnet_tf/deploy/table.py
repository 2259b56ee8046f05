"""The table beside exported files, and whose files they are."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping
from typing import Any

from absl import logging

from efficientnet_tf.deploy import layouts, plan as plan_lib, scorecard
from efficientnet_tf.inference import (
    classifier as classifier_lib,
    settings as settings_lib,
)
from efficientnet_tf.utils import (
    configs,
    documents,
    files,
    processor,
    run_folder,
)

# What is read of a table; the rest is for people.
KINDS = {"network_sha256": str, "rows": list}
# Rows of an earlier export stand beside new ones if these are equal.
_CONDITIONS = ("dataset", "split", "processor")


def check_same(
    classifier: classifier_lib.Classifier, plan: plan_lib.Plan
) -> None:
    """Checks that a folder's other files are of the same classifier.

    They share its description and the table.

    Raises:
      FileExistsError: they are of another one.
      untrusted.DamagedError: what describes them is damaged.
    """
    if plan.folder is None:
        return
    path = plan.folder / run_folder.SETTINGS_FILE
    if path.exists():
        found = documents.read_object(path, {})
        # Of an earlier version it lacks later fields.
        names = configs.field_names(settings_lib.Settings)
        fields = {name: found[name] for name in names if name in found}
        settings = documents.build(settings_lib.Settings, fields, path)
        if settings != classifier.settings:
            raise FileExistsError(
                f"{path} is of another classifier, and would be of none of the "
                "files there; choose another folder."
            )
    own = hash_network(classifier)
    if _read_table(plan).get("network_sha256", own) != own:
        raise FileExistsError(
            f"{plan.folder} holds files of another network with the same "
            "classes; choose another folder."
        )


def write(
    plan: plan_lib.Plan,
    folder: pathlib.Path,
    classifier: classifier_lib.Classifier,
    rows: list[dict],
    facts: Mapping[str, Any],
) -> dict[pathlib.Path, pathlib.Path]:
    """Writes the table into a folder, and what else describes the files.

    Args:
      plan: where it belongs.
      folder: where it is written for now.
      classifier: of the files.
      rows: of the files.
      facts: what the table's JSON says of the images and the network.

    Returns:
      {path: where it belongs}.
    """
    table = {
        **facts,
        "network_sha256": hash_network(classifier),
        "processor": processor.describe(),
    }
    table["rows"] = [*rows, *_keep_rows(plan, table, rows)]
    json_table, text_table = plan.table(".json"), plan.table(".md")
    files.write_json(folder / json_table.name, table)
    files.write_text(
        folder / text_table.name, scorecard.to_markdown(table["rows"]) + "\n"
    )
    belong = [json_table, text_table]
    if plan.folder is not None:
        settings = plan.folder / run_folder.SETTINGS_FILE
        labels = plan.folder / layouts.LABELS_FILE
        files.write_json(
            folder / settings.name, dataclasses.asdict(classifier.settings)
        )
        layouts.write_labels(folder / labels.name, classifier.class_names)
        belong += [settings, labels]
    return {folder / path.name: path for path in belong}


def _keep_rows(plan, table, rows):
    """Returns the rows of earlier exports whose files are still there."""
    if plan.folder is None:
        return []
    earlier = _read_table(plan)
    written = {row["file"] for row in rows}
    left = [
        row
        for row in earlier.get("rows", [])
        if isinstance(row, dict)
        and row.keys() == rows[-1].keys()
        and row["file"] not in written
        and (plan.folder / pathlib.PurePath(str(row["file"])).name).exists()
    ]
    if all(earlier.get(name) == table.get(name) for name in _CONDITIONS):
        return left
    if left:
        logging.warning(
            "The table no longer has %s: measured on other images, or another "
            "machine, by an earlier export.",
            ", ".join(row["file"] for row in left),
        )
    return []


def _read_table(plan):
    path = plan.table(".json")
    return documents.read_object(path, KINDS) if path.exists() else {}


def hash_network(classifier: classifier_lib.Classifier) -> str:
    """Returns what tells a network's weights from others'."""
    digest = hashlib.sha256()
    for value in classifier.model.get_weights():
        digest.update(value.tobytes())
    return digest.hexdigest()
