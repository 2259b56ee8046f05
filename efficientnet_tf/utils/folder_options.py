"""What a user says about a folder of images, next to where it is."""

import dataclasses
import os
import re


@dataclasses.dataclass(frozen=True)
class Options:
    """How the images of "folder:PATH" are divided, and what is left out.

    `group_by` is a regular expression on the path below PATH, whose first
    group (or whole match) names what must stay in one split, such as a patient
    or a scene; or a file "*.csv" with the columns path and group. `workdir` is
    the run's folder, which keeps the lists of images; `resumes` is whether the
    run has begun, so that its list holds.
    """

    group_by: str | None = None
    skip_bad: bool = False
    bad_share: float = 0.0  # Unreadable images up to this share are left out.
    workdir: str | os.PathLike | None = None
    resumes: bool = False
    # Columns of a table: of 0 and 1, one a label; or of numbers to predict.
    labels: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()

    def __post_init__(self):
        check_group_by(self.group_by)
        if self.labels and self.targets:
            raise ValueError(
                "--labels and --targets exclude each other: an image has "
                "labels or numbers."
            )
        for flag, names in (("labels", self.labels), ("targets", self.targets)):
            if len(set(names)) < len(names) or not all(names):
                raise ValueError(
                    f"--{flag}={','.join(names)} must name different columns."
                )

    @property
    def reads_csv(self) -> bool:
        """Whether the groups are in a file."""
        return _is_csv(self.group_by)

    def describe(self) -> dict:
        """Returns the part of a run's config that these options decide."""
        # None, not False: a config of an earlier version has neither field.
        return {
            "group_by": self.group_by,
            "skip_bad": self.skip_bad or None,
            # Lists, as JSON has them.
            "labels": list(self.labels) or None,
            "targets": list(self.targets) or None,
        }

    def begin(self, workdir: str | os.PathLike, resumes: bool) -> "Options":
        """Returns these options for a run; a grid's folder goes before it."""
        if self.workdir is not None:
            return self
        return dataclasses.replace(self, workdir=workdir, resumes=resumes)


def check_group_by(text: str | None) -> None:
    """Raises ValueError if it is neither a regular expression nor a .csv."""
    if text is None or _is_csv(text):
        return
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(
            f"--group_by={text} is neither a regular expression ({error}) nor "
            "a .csv file."
        ) from None


def _is_csv(text):
    return (text or "").lower().endswith(".csv")


# Of data that need none, and a function's default.
DEFAULT = Options()
