r"""Puts a run on the Hugging Face hub, with a model card.

efficientnet share --workdir=RUN --repo=USER/NAME --license=apache-2.0 \
    --dry_run --output=FOLDER

Without --dry_run it is uploaded, and load_classifier("hf://USER/NAME") opens
it. The token is that of `hf auth login`, or of $HF_TOKEN. Nothing of this
machine goes with it: no path, no list of images.
"""

import pathlib
import tempfile

from absl import flags

from efficientnet_tf.commands import described, program, summary, trained_on
from efficientnet_tf.deploy import licenses
from efficientnet_tf.utils import files, run_folder
from efficientnet_tf.weights import hub

WORKDIR = flags.DEFINE_string("workdir", None, "A finished run.")
REPO = flags.DEFINE_string("repo", None, "USER/NAME of the repository.")
LICENSE = flags.DEFINE_string(
    "license",
    None,
    "Your choice for this model, by the hub's identifiers, e.g. apache-2.0.",
)
PRIVATE = flags.DEFINE_bool(
    "private", False, "Make a new repository that only you can see."
)
FILES = flags.DEFINE_string(
    "files", None, "A folder of `efficientnet export` of this run, to add."
)
REPORT = flags.DEFINE_bool(
    "report",
    None,
    "Whether report.html goes with it, which shows images; by default if it "
    "names no image and no path.",
)
DRY_RUN = flags.DEFINE_bool(
    "dry_run", False, "Write what would be uploaded to --output, no more."
)
OUTPUT = flags.DEFINE_string("output", None, "The folder of --dry_run.")
flags.mark_flags_as_required(["workdir", "repo"])


def main(_: list[str]) -> None:
    hub.check_repository(REPO.value)
    licenses.require(LICENSE.value)
    if DRY_RUN.value != bool(OUTPUT.value):
        raise ValueError("--dry_run and --output go together.")
    files.check_exists(WORKDIR.value)
    run_folder.check_one_network(WORKDIR.value)
    if FILES.value:
        files.check_exists(FILES.value)
    if DRY_RUN.value:
        _write(pathlib.Path(OUTPUT.value))
        return
    from efficientnet_tf.deploy import uploading

    token = uploading.check(REPO.value)
    with tempfile.TemporaryDirectory() as place:
        _write(pathlib.Path(place) / REPO.value.rpartition("/")[2], token)


def _write(folder, token=None):
    """Writes the folder, and uploads it if there is a token."""
    from efficientnet_tf.deploy import repository

    workdir = pathlib.Path(WORKDIR.value)
    about = described.of_run(WORKDIR.value, LICENSE.value, REPO.value)
    choice = repository.Choice(
        FILES.value and pathlib.Path(FILES.value),
        REPORT.value,
        trained_on.find_list(workdir, about.config),
    )
    note = repository.write(folder, workdir, about, choice)
    listed = repository.list_files(folder)
    facts = {
        "license": LICENSE.value,
        "files": repository.show_files(listed),
        **{f"  {name}": f"{size:,} bytes" for name, size in listed},
        "not there": note or None,
    }
    result = {
        "repo": REPO.value,
        "license": LICENSE.value,
        "files": len(listed),
        "bytes": sum(size for _, size in listed),
    }
    if token is None:
        _print_dry_run(folder, facts, result)
        return
    _upload(folder, token, facts, result)


def _print_dry_run(folder, facts, result):
    summary.print_summary(
        f"Wrote what would be uploaded to {REPO.value}; look at its README.md.",
        {"in": str(folder), **facts},
    )
    program.print_result({**result, "output": str(folder), "url": None})


def _upload(folder, token, facts, result):
    from efficientnet_tf.deploy import uploading

    program.advise(
        "what was to be seen on the hub has not changed; run the same command "
        "again."
    )
    shared = uploading.upload(folder, REPO.value, token, private=PRIVATE.value)
    summary.print_summary(
        f"Shared {WORKDIR.value} as {REPO.value}.",
        {
            "page": shared.url,
            "seen by": "you alone" if shared.private else "everybody",
            "commit": shared.commit,
            **facts,
        },
        [
            [
                "efficientnet",
                "predict",
                f"--classifier={hub.PREFIX}{REPO.value}",
                "IMAGE.jpg",
            ]
        ],
    )
    program.print_result(
        {
            **result,
            "output": None,
            "url": shared.url,
            "commit": shared.commit,
            "private": shared.private,
        }
    )


if __name__ == "__main__":
    program.run(main)
