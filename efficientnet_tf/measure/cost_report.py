"""What networks cost, as files: tables as CSV, and plots."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence

from efficientnet_tf.measure import cost_charts, cost_table, jobs
from efficientnet_tf.utils import figures, files, tables


def write_networks(
    folder: str | os.PathLike, rows: Sequence[dict], *, measured: bool
) -> None:
    """Writes a row for each network, and the plots.

    Args:
      folder: where `costs.csv` and the plots go.
      rows: of `cost_table.count_costs` or `measure_costs`.
      measured: whether the rows have times and memory to plot.
    """
    folder = pathlib.Path(folder)
    text = tables.to_csv(cost_table.COLUMNS, rows)
    files.write_text(folder / "costs.csv", text)
    points = cost_charts.accuracy_points()
    images = {"accuracy": cost_charts.accuracy_image(points)}
    if measured:
        images["measured"] = cost_charts.measured_image(rows)
    for name, image in images.items():
        figures.write_png(folder / f"{name}.png", image)


def write_parts(folder: str | os.PathLike, job: jobs.Job) -> None:
    """Writes what each layer and each stage of a network costs."""
    from efficientnet_tf.models import builder, profile as profile_lib

    profile = profile_lib.profile(builder.build(job.variant))
    for name in ("layers", "stages"):
        rows = [dataclasses.asdict(part) for part in getattr(profile, name)]
        path = pathlib.Path(folder) / f"{name}.csv"
        files.write_text(path, tables.to_csv(rows[0], rows))
