"""The plan of a grid: its tasks, models and recipes, and what it searches."""

import dataclasses
import itertools
import re
from collections.abc import Mapping
from typing import Annotated, Any

from efficientnet_tf.models import registry, variants
from efficientnet_tf.utils import configs, files, folder_options
from efficientnet_tf.weights import catalog, families
from transfer.config import protocols, recipes, tasks

SAMPLERS = ("grid", "tpe")
PRUNERS = ("none", "asha", "median")


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to run: each model on each task by each recipe.

    `search` are fields and the values to choose from, "field=value,value";
    without them a recipe's own grid counts, which only "kornblith" has.
    `settings` are "field=value" for all runs. `trials` limits a search by TPE.
    `source_family` and `normalization` are those of `loading.build`.
    """

    tasks: tuple[str, ...]
    models: tuple[str, ...]
    recipes: tuple[str, ...]
    weights: str | None = "imagenet"
    seeds: Annotated[int, configs.AtLeast(1, configs.MAX_RUNS)] = 1
    sampler: Annotated[str, configs.OneOf(*SAMPLERS)] = "grid"
    trials: Annotated[int, configs.AtLeast(1, configs.MAX_RUNS)] = 20
    pruner: Annotated[str, configs.OneOf(*PRUNERS)] = "none"
    search: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    # How folders of images are read, see `folder_options.Options`.
    group_by: str | None = None
    skip_bad: bool = False
    source_family: Annotated[str | None, configs.OneOf(*families.FAMILIES)] = (
        None
    )
    normalization: Annotated[
        str | None, configs.OneOf(*variants.NORMALIZATIONS)
    ] = None

    def __post_init__(self):
        configs.check(self)
        folder_options.check_group_by(self.group_by)
        for field in ("tasks", "models", "recipes"):
            names = getattr(self, field)
            if not names or len(set(names)) != len(names):
                raise ValueError(f"{field}={names} must be different names.")
        for task in self.tasks:
            tasks.get_task(task)
        for model in self.models:
            registry.get_variant(model)
            if self.weights is not None:
                catalog.check_name(model, self.weights)
        if len({cell.slug for cell in self.cells}) < len(self.cells):
            raise ValueError(
                f"tasks={self.tasks}: some would share a folder; run them in "
                "separate grids."
            )
        fields = {choice.partition("=")[0] for choice in self.search}
        fields |= {text.partition("=")[0] for text in self.settings} & {"seed"}
        decided = sorted(fields & {"seed", "train_on", "evaluate_on"})
        if decided:
            raise ValueError(
                f"{decided[0]} is set by the grid, which chooses on validation "
                "images and numbers the seeds."
            )
        for cell in self.cells:  # All configs are checked before any work.
            for point in points(self, cell.recipe):
                config = make_config(self, cell, point)
                if config.quantization != "none":
                    raise ValueError(
                        f"recipe={cell.recipe} starts from one finished run; "
                        "use efficientnet finetune for it."
                    )
        for recipe in self.recipes:
            if self.sampler == "tpe":
                self._check_ranges(points(self, recipe))

    def _check_ranges(self, choices):
        for name in choices[0]:
            values = {str(point[name]) for point in choices}
            if not all(map(_is_number, values)) or not any(map(float, values)):
                raise ValueError(
                    f"{name}={','.join(sorted(values))} cannot be searched by "
                    "TPE, which needs numbers above 0; use sampler='grid'."
                )

    @property
    def folder(self) -> folder_options.Options:
        """How folders of images are read."""
        return folder_options.Options(self.group_by, self.skip_bad)

    @property
    def needs_optuna(self) -> bool:
        """Whether there is a search, and more than a plain grid."""
        plain = self.sampler == "grid" and self.pruner == "none"
        return not plain and any(search_size(self, cell) for cell in self.cells)

    @property
    def cells(self) -> list["Cell"]:
        """All `Cell`s, those of one task together."""
        return [
            Cell(*names)
            for names in itertools.product(
                self.tasks, self.models, self.recipes
            )
        ]


@dataclasses.dataclass(frozen=True)
class Cell:
    """One task, one model, one recipe."""

    task: str
    model: str
    recipe: str

    @property
    def slug(self) -> str:
        """A name for folders, locks and the study."""
        return to_file_name("__".join((self.task, self.model, self.recipe)))


def to_file_name(name: str) -> str:
    """Returns a name without what may not stand in a file's name."""
    return files.shorten_name(re.sub(r"[^\w.-]+", "_", name))


def points(plan: Plan, recipe: str) -> list[dict]:
    """Returns the overrides that a search by grid chooses from."""
    if plan.search:
        names, values = [], []
        for choice in plan.search:
            name, separator, several = choice.partition("=")
            if not separator or not several:
                raise ValueError(
                    f"Expected field=value,value,... to search, got {choice!r}."
                )
            names.append(name)
            values.append(several.split(","))
        for row in (names, *values):
            if len(set(row)) < len(row):
                # Two processes would write to one folder at a time.
                raise ValueError(
                    f"search={plan.search} has a field or a value twice."
                )
        return [
            dict(zip(names, row, strict=True))
            for row in itertools.product(*values)
        ]
    if recipe == "kornblith":
        return [
            {"learning_rate": rate, "weight_decay": decay}
            for rate, decay in protocols.kornblith_grid()
        ]
    return [{}]


def make_config(
    plan: Plan, cell: Cell, point: Mapping[str, Any], **fields: Any
) -> recipes.FinetuneConfig:
    """Returns the `FinetuneConfig` of a run.

    Args:
      plan: whose settings hold for all runs.
      cell: whose recipe is changed.
      point: overrides, see `points`.
      **fields: of the config, changed last.

    Raises:
      ValueError: an unknown recipe or field, or a bad value.
    """
    settings = [f"{name}={value}" for name, value in point.items()]
    config = recipes.get_recipe(
        cell.recipe,
        [*plan.settings, *settings],
        cell.task,
        pretrained=plan.weights is not None,
    )
    return dataclasses.replace(config, **fields)


def seeds(plan: Plan, cell: Cell) -> range:
    """Returns the seeds of the final runs: one where nothing is random."""
    config = make_config(plan, cell, points(plan, cell.recipe)[0])
    return range(plan.seeds if config.trains else 1)


def search_size(plan: Plan, cell: Cell) -> int:
    """Returns how many runs a search has; 0 if there is no choice to make."""
    size = len(points(plan, cell.recipe))
    if size == 1:
        return 0
    return size if plan.sampler == "grid" else plan.trials


def _is_number(text):
    try:
        return float(text) >= 0
    except ValueError:
        return False
