"""The folder of a shared run: what others need, and nothing of this machine."""

import dataclasses
import os
import pathlib
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from efficientnet_tf.data.sets import split_list
from efficientnet_tf.deploy import (
    card as card_lib,
    card_data,
    formats,
    layouts,
    plan as plan_lib,
    scorecard,
    table as table_lib,
)
from efficientnet_tf.inference import classifier as classifier_lib, unknown
from efficientnet_tf.utils import (
    data_names,
    documents,
    files,
    run_folder,
    untrusted,
    words,
)
from efficientnet_tf.weights import hub

REPORT = "report.html"
EXPORTS = "exports"  # The folder of exported files.
OWN_FILES = (
    run_folder.MODEL_FILE,
    run_folder.SETTINGS_FILE,
    run_folder.UNKNOWN_FILE,
    card_lib.FILE,
    layouts.LABELS_FILE,
    REPORT,
)
# Names of images are looked for in texts alone: "1.jpg" may stand in any bytes.
_TEXTS = (".html", ".json", ".md", ".txt", ".pbtxt")


@dataclasses.dataclass(frozen=True)
class Choice:
    """What else is shared.

    `exports` is a folder of `efficientnet export`, or None. `report` says
    whether the run's report is; None: if it names no image and no path.
    `lists` is the folder with the run's list of images, if not the run's own.
    """

    exports: pathlib.Path | None = None
    report: bool | None = None
    lists: pathlib.Path | None = None


def check_output(folder: pathlib.Path) -> None:
    """Raises OSError unless a folder is new, empty or one of `write`."""
    files.check_folder(folder)
    found = {path.name for path in folder.iterdir()} if folder.exists() else ()
    others = sorted(set(found) - {*OWN_FILES, EXPORTS})
    if others:
        raise FileExistsError(
            f"{folder} holds {others[0]}; choose another folder."
        )


def write(
    folder: pathlib.Path,
    workdir: pathlib.Path,
    about: card_lib.About,
    choice: Choice = Choice(),
) -> str:
    """Writes all that is shared of a run into a folder, at once.

    Args:
      folder: see `check_output`.
      workdir: a finished run, or a folder of `Classifier.save`.
      about: what the card says.
      choice: what else is shared.

    Returns:
      Why the report is not there; "": it is, or nobody has made one.

    Raises:
      OSError: the run is not finished, or something cannot be read or written.
      ValueError: the exported files are of another network; or a file is
        damaged.
      RuntimeError: a file has a path of this machine in it.
    """
    check_output(folder)
    classifier = classifier_lib.from_run(workdir)
    table = _read_table(choice.exports, classifier)
    with files.atomic(folder) as temporary:
        temporary.mkdir()
        shutil.copyfile(
            workdir / run_folder.MODEL_FILE, temporary / run_folder.MODEL_FILE
        )
        if classifier.unknown is not None:  # Class means: no image's own.
            unknown.write(
                temporary / run_folder.UNKNOWN_FILE, classifier.unknown
            )
        settings = dataclasses.asdict(classifier.settings)
        files.write_json(temporary / run_folder.SETTINGS_FILE, settings)
        layouts.write_labels(
            temporary / layouts.LABELS_FILE, classifier.class_names
        )
        _copy_exports(choice.exports, temporary / EXPORTS, table)
        text = card_lib.make(
            classifier.settings, about, table, f"{EXPORTS}/" if table else ""
        )
        files.write_text(temporary / card_lib.FILE, text)
        traces = find_traces(workdir, about.config, choice.lists or workdir)
        for path in sorted(temporary.rglob("*")):
            found = traces.find(path)
            if found:
                raise RuntimeError(
                    f"{path.name} would hold {found!r}, which is of this "
                    "machine; nothing is shared."
                )
        return copy_report(workdir, temporary, choice.report, traces)


def copy_report(
    workdir: pathlib.Path,
    folder: pathlib.Path,
    wanted: bool | None,
    traces: "Traces",
) -> str:
    """Copies a run's report, see `Choice`; returns why it did not, or "".

    Raises:
      FileNotFoundError: it is wanted, and not there.
    """
    source = workdir / REPORT
    if wanted is False or not source.exists():
        if wanted:
            raise FileNotFoundError(f"{workdir} has no {REPORT}.")
        return ""
    found = traces.find(source)
    if found and wanted is None:
        return f"{REPORT} is left out, as it names {found}"
    shutil.copyfile(source, folder / REPORT)
    return ""


def _read_table(exports, classifier):
    """Returns the table of exported files; {} without any."""
    if exports is None:
        return {}
    path = exports / f"{plan_lib.TABLE}.json"
    if not path.exists():
        raise FileNotFoundError(
            f"{exports} is no folder of `efficientnet export`: {path.name} is "
            "missing."
        )
    table = documents.read_object(path, table_lib.KINDS)
    if table.get("network_sha256") != table_lib.hash_network(classifier):
        raise ValueError(
            f"{exports} holds files of another network than the run's; export "
            "this run."
        )
    with untrusted.reading(path):
        scorecard.to_markdown(table["rows"])
        kinds = {row["format"] for row in table["rows"]}
        others = kinds - {*formats.FORMATS, scorecard.REFERENCE}
    if others:
        raise untrusted.DamagedError(
            f"{path} has a format that is not known: {min(map(str, others))}."
        )
    return table


def _copy_exports(exports, folder, table):
    for row in table.get("rows", ()):
        name = pathlib.PurePath(str(row["file"])).name
        if name == scorecard.REFERENCE:
            continue
        source = exports / name
        if not source.exists():
            raise FileNotFoundError(
                f"{exports} has no {name}, which its table names."
            )
        folder.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, folder / name)
            continue
        row_format = formats.FORMATS[row["format"]]
        for suffix in (source.suffix, *row_format.companions):
            beside = source.with_suffix(suffix)
            shutil.copyfile(beside, folder / beside.name)


@dataclasses.dataclass(frozen=True)
class Traces:
    """Texts that nobody else should see: paths, and names of images."""

    paths: tuple[str, ...]
    images: tuple[str, ...]

    def find(self, path: pathlib.Path) -> str:
        """Returns the first that a file holds; "": none."""
        if not path.is_file():
            return ""
        looked = [*self.paths]
        if path.suffix in _TEXTS:
            looked += self.images
        for data in _read_parts(path):
            for text in looked:
                if os.fsencode(text) in data:
                    return text
        return ""


def find_traces(
    workdir: pathlib.Path, config: Mapping[str, Any], lists: pathlib.Path
) -> Traces:
    """Returns the traces of a run's folder, its data and this user."""
    home, temporary = pathlib.Path.home(), tempfile.gettempdir()
    places = [f"{home}{os.sep}", f"{temporary}{os.sep}"]
    places.append(str(workdir.absolute()))
    for field in ("task", "dataset"):
        name = config.get(field)
        if isinstance(name, str) and card_data.is_path(name):
            rest = data_names.parse(name)[1]
            # A folder "x" of the data is no trace: any word may hold it.
            places += [name, rest] if os.sep in rest else [name]
    for field in ("weights", "model", "teacher"):
        value = config.get(field)
        if isinstance(value, str) and os.sep in value:
            places += [] if hub.is_name(value) else [value]
    names = {
        pathlib.PurePath(row.path).name for row in split_list.read(lists) or ()
    }
    return Traces(
        tuple(dict.fromkeys(place for place in places if len(place) > 2)),
        tuple(sorted(names)),
    )


def _read_parts(path) -> Iterator[bytes]:
    yield path.read_bytes()
    if zipfile.is_zipfile(path):  # What is compressed hides its texts.
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith(".json"):
                    yield archive.read(name)


def list_files(folder: pathlib.Path) -> list[tuple[str, int]]:
    """Returns (path below the folder, bytes) of all files."""
    return [
        (path.relative_to(folder).as_posix(), path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]


def show_files(listed: Iterable[tuple[str, int]]) -> str:
    """Returns "3 files, 1.2 MB"."""
    sizes = [size for _, size in listed]
    return f"{words.count(len(sizes), 'file')}, {sum(sizes) / 1e6:.1f} MB"
