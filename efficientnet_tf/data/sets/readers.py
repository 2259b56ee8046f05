"""Reads what a data set of any kind holds, by its name."""

import os
from collections.abc import Callable

from efficientnet_tf.data.archives import hub_sets, record_sets, tfds
from efficientnet_tf.data.folders import class_folders, layouts
from efficientnet_tf.data.tables import csv_lists
from efficientnet_tf.utils import data_names, folder_options

_READERS: dict[str, Callable[[str], layouts.Layout]] = {
    data_names.FOLDER.prefix: class_folders.read,
    data_names.RECORDS.prefix: record_sets.read,
    data_names.HF.prefix: hub_sets.read,
}


def read(
    name: str,
    data_dir: str | os.PathLike | None = None,
    options: folder_options.Options = folder_options.DEFAULT,
) -> layouts.Layout:
    """Returns the splits, classes and files of a data set.

    Args:
      name: one of `data_names.FORMS`.
      data_dir: where TFDS keeps its sets; None: its default.
      options: which columns of a table, or features of TFDS, are labels or
        numbers.

    Raises:
      ValueError: it has no such form.
      OSError, RuntimeError: the data are missing, or not understood.
    """
    kind, rest = data_names.parse(name)
    if kind is data_names.TFDS:
        return tfds.read(rest, data_dir, options.targets)
    if kind is data_names.CSV:
        return csv_lists.read(rest, options)
    if kind is None:
        raise ValueError(
            f"Unknown data set {name!r}; write {data_names.FORMS}."
        )
    return _READERS[kind.prefix](rest)
