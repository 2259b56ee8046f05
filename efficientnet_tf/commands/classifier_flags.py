"""The flags by which a command is told its classifier."""

import os
import typing

from absl import flags

from efficientnet_tf.commands import shared
from efficientnet_tf.data.augment import policies
from efficientnet_tf.deploy import formats
from efficientnet_tf.utils import configs, files, run_folder
from efficientnet_tf.weights import catalog, hub

if typing.TYPE_CHECKING:
    from efficientnet_tf.inference import classifier as classifier_lib

EXPORTED_HELP = (
    "In place of --model: a run, or what `efficientnet export` wrote: a "
    "SavedModel, .keras, .tflite, .onnx or OpenVINO's .xml; or "
    "hf://USER/REPO, what `efficientnet share` put on the Hugging Face hub."
)
DEEP_PIXELS_HELP = (
    "With --model, how images of 16 bits a sample become 8: used, by the bits "
    "that each one uses, which is the default, or full, by all 16."
)

# Flags that are defined here belong to the command that asks for them.
flags.disclaim_key_flags()


class ClassifierFlags:
    """--model with --weights, or in their place --workdir or --classifier.

    Args:
      exported: the help of --classifier; None: the command has no such flag.
    """

    def __init__(self, exported: str | None = EXPORTED_HELP):
        self._model = flags.DEFINE_string("model", None, shared.MODEL_HELP)
        self._weights = flags.DEFINE_string(
            "weights", "imagenet", shared.WEIGHTS_HELP
        )
        self._workdir = flags.DEFINE_string(
            "workdir",
            None,
            "In place of --model: a training or fine-tuning run.",
        )
        self._exported = None
        if exported:
            self._exported = flags.DEFINE_string("classifier", None, exported)
        self._source_family, self._normalization = shared.define_weights_flags()
        self._deep_pixels = flags.DEFINE_string(
            "deep_pixels", None, DEEP_PIXELS_HELP
        )

    @property
    def model(self) -> str | None:
        """A network's name, or a variant file."""
        return self._model.value

    @property
    def weights(self) -> str | None:
        """Of --model: a name or a file; None: random ones."""
        return self._read(None)[0]

    @property
    def workdir(self) -> str | None:
        """A run, by --workdir."""
        return self._workdir.value

    @property
    def exported(self) -> str | None:
        """A run or an exported file, by --classifier."""
        return None if self._exported is None else self._exported.value

    @property
    def trained(self) -> str | None:
        """The run or file that stands in place of --model."""
        return self.workdir or self.exported

    @property
    def folds(self) -> list[str]:
        """The runs of the cross-validation that is named; []: it is none."""
        if not self.trained or hub.is_name(self.trained):
            return []
        folders = run_folder.list_folds(self.trained)
        return [os.fspath(folder) for folder in folders]

    @property
    def run(self) -> str | None:
        """The folder of a run, whichever flag names it.

        Of an exported file it is the run in whose folder it lies.
        """
        if self.folds:
            return self.trained
        if self.workdir or not self.exported or hub.is_name(self.exported):
            return self.workdir
        found = formats.find_run(formats.find(self.exported))
        return None if found is None else os.fspath(found)

    @property
    def name(self) -> str:
        """What names the classifier, as the user wrote it."""
        return self.trained or self.model or ""

    def check(
        self, resolution: int | None = None, *, several: bool = False
    ) -> None:
        """Checks what is named; does not import TensorFlow, which is slow.

        Args:
          resolution: --resolution, of a command that has it.
          several: whether it may be the folds of a cross-validation.

        Raises:
          IsADirectoryError: it is folds, and may not be.
          ValueError: none or several are named, an unknown one, or a flag of
            --model with another.
        """
        weights, reading = self._read(resolution)
        if sum(map(bool, (self.model, self.workdir, self.exported))) != 1:
            raise ValueError(
                "Pass either --model (and --weights) or --workdir."
                if self._exported is None
                else "Pass one of --model (and --weights), --workdir and "
                "--classifier."
            )
        if self.trained:
            given = {"weights": weights} if self._weights.present else {}
            _refuse(given | reading)
        if self.workdir:
            files.check_exists(self.workdir)
        if self.folds:
            if not several:
                run_folder.check_one_network(self.trained)
        elif self.workdir:
            return
        elif self.exported and hub.is_name(self.exported):
            hub.check_name(self.exported)
        elif self.exported:
            formats.find(self.exported)
        else:
            deep_pixels = reading["deep_pixels"]
            if deep_pixels not in (None, *policies.DEEP_PIXELS):
                raise ValueError(
                    configs.unknown(
                        "deep_pixels", deep_pixels, policies.DEEP_PIXELS
                    )
                )
            shared.check_weights(
                self._model.value,
                weights,
                source_family=reading["source_family"],
                normalization=reading["normalization"],
            )

    def load(
        self, resolution: int | None = None
    ) -> "classifier_lib.Classifier":
        """Returns the classifier; see `check`."""
        self.check(resolution)
        if self.exported:
            from efficientnet_tf.deploy import runtimes

            return runtimes.load_classifier(self.exported)
        from efficientnet_tf.inference import classifier

        if self.workdir:
            return classifier.from_run(self.workdir)
        weights, reading = self._read(resolution)
        return classifier.from_weights(self.model, weights, **reading)

    def check_unknown(self, classifier: "classifier_lib.Classifier") -> None:
        """Raises ValueError unless a classifier tells unknown images."""
        from efficientnet_tf.inference import unknown

        if classifier.unknown is None:
            raise ValueError(
                f"{self.name} {unknown.MISSING}; `efficientnet evaluate "
                "--unknown` adds it to a run of an earlier version."
            )

    def _read(self, resolution):
        """Returns the weights, and the flags that go with --model alone."""
        return catalog.parse(self._weights.value), {
            "source_family": self._source_family.value,
            "normalization": self._normalization.value,
            "resolution": resolution,
            "deep_pixels": self._deep_pixels.value,
        }


def _refuse(reading):
    for flag, value in reading.items():
        if value is not None:
            raise ValueError(
                f"--{flag}={value} goes with --model; what is trained has its "
                "own."
            )
