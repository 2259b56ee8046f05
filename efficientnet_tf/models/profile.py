"""What a network costs: parameters and multiply-adds, layer by layer."""

import contextlib
import dataclasses
import inspect
import math
import re

import keras
from absl import logging

from efficientnet_tf.models import builder, macs, registry


@dataclasses.dataclass(frozen=True)
class Cost:
    """The cost of a part of a network for one image.

    `params` counts trainable weights, `statistics` the others (batch norm's
    moving averages, frozen weights). `activations` counts the output elements
    of layers that multiply, as in https://arxiv.org/abs/2003.13678, `outputs`
    those of all layers.
    """

    name: str
    params: int = 0
    statistics: int = 0
    multiply_adds: int = 0
    activations: int = 0
    outputs: int = 0


# The counts of every part and of the whole.
COUNTS = tuple(f.name for f in dataclasses.fields(Cost))[1:]


@dataclasses.dataclass(frozen=True)
class LayerCost(Cost):
    """One layer's cost over all its calls, inner layers included.

    A layer of a nested model is named "inner_model/layer".
    """

    kind: str = ""
    output_shape: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Profile:
    """A network's cost for one image; the totals are sums over its layers.

    `uncounted` names layers that hold matrices but have no rule in
    `macs.RULES`: their multiply-adds are missing.
    """

    layers: tuple[LayerCost, ...]
    uncounted: tuple[str, ...] = ()

    @property
    def params(self) -> int:
        return self._sum("params")

    @property
    def statistics(self) -> int:
        return self._sum("statistics")

    @property
    def multiply_adds(self) -> int:
        return self._sum("multiply_adds")

    @property
    def activations(self) -> int:
        return self._sum("activations")

    @property
    def outputs(self) -> int:
        return self._sum("outputs")

    @property
    def stages(self) -> tuple[Cost, ...]:
        """A `Cost` for each group of layers whose names begin alike.

        "block3b_expand_conv" belongs to stage "block3". Layers without weights
        and multiply-adds belong to the stage before them.
        """
        groups: dict[str | None, list[LayerCost]] = {}
        for layer in self.layers:
            stage = next(reversed(groups), None)
            if stage is None or _has_cost(layer):
                stage = _stage_name(layer.name)
            groups.setdefault(stage, []).append(layer)
        groups = _merge_free_start(groups)
        return tuple(_sum_rows(name, rows) for name, rows in groups.items())

    def _sum(self, field):
        return sum(getattr(layer, field) for layer in self.layers)


def profile(
    model: registry.Model | keras.Model, resolution: int | None = None
) -> Profile:
    """Counts a network's parameters, multiply-adds and activations.

    A multiply-add counts as one. Two-dimensional convolutions, dense layers,
    einsums and multi-head attention are counted, squeeze-and-excitation and the
    head included; elementwise layers, biases, normalization and pooling are
    not. For any other layer that multiplies, add a rule to `macs.RULES`.
    The network runs once on symbolic inputs, so nested layers, nested models
    and layers called several times count as often as they run.

    Args:
      model: a name, a variant file, a `variants.Variant`, or any `keras.Model`.
      resolution: pixels a side; by default the variant's own. For a
        `keras.Model`, only where its input leaves the size open.

    Returns:
      A `Profile`.

    Raises:
      ValueError: the input size is not known, or given twice.
    """
    if not isinstance(model, keras.Model):
        shape = None if resolution is None else (resolution, resolution, 3)
        model = builder.build(model, input_shape=shape)
        resolution = None
    recorder = _Recorder(model)
    inputs = _symbols(model, resolution)
    with _listening(recorder):
        _Forward(model).compute_output_spec(inputs)
    if recorder.uncounted:
        logging.warning(
            "No rule counts the multiply-adds of %s; add one to macs.RULES.",
            ", ".join(recorder.uncounted),
        )
    return Profile(recorder.rows(), tuple(recorder.uncounted))


class _Forward(keras.Operation):
    """A model's call, which Keras runs on symbolic tensors on any backend."""

    def __init__(self, model):
        super().__init__(name="forward")
        self.model = model

    def call(self, inputs):
        return self.model(inputs, training=False)


class _Recorder:
    """Records the calls of a run; each outermost layer becomes a row."""

    def __init__(self, model):
        self._model = model
        self._stack = []  # The calls under way, outermost first.
        self._parents = set()  # Calls on the stack that called something.
        self._called = set()  # The ids of what has been called.
        self._layers = {}  # Row name -> the layer.
        self._shapes = {}
        self._sums = {}  # Row name -> [multiply-adds, activations, outputs].
        self.uncounted = []

    def enter(self, operation):
        self._parents.add(len(self._stack) - 1)
        self._stack.append(operation)
        self._parents.discard(len(self._stack) - 1)

    def leave(self, operation, inputs, outputs):
        is_leaf = len(self._stack) - 1 not in self._parents
        name = self._row_name()
        self._stack.pop()
        self._called.add(id(operation))
        if name is None:
            return
        shapes = [tuple(x.shape) for x in keras.tree.flatten(outputs)]
        count = macs.count_macs(operation, inputs, shapes[0])
        if count is None:
            self._check(operation, name)
        sums = self._sums.setdefault(name, [0, 0, 0])
        sums[0] += count or 0
        if is_leaf:
            elements = sum(map(math.prod, shapes))
            sums[1] += elements if count else 0
            sums[2] += elements
        self._shapes[name] = shapes[0]

    def rows(self):
        """Returns the rows; a shared weight counts in its first row only."""
        seen: set[int] = set()
        rows = []
        for name, layer in self._layers.items():
            multiply_adds, activations, outputs = self._sums[name]
            rows.append(
                LayerCost(
                    name,
                    _count_new(layer, "trainable_weights", seen),
                    _count_new(layer, "non_trainable_weights", seen),
                    multiply_adds,
                    activations,
                    outputs,
                    kind=type(layer).__name__,
                    output_shape=self._shapes[name][1:],
                )
            )
        # The model's own weights, and those of layers that did not run.
        rest = LayerCost(
            self._model.name,
            _count_new(self._model, "trainable_weights", seen),
            _count_new(self._model, "non_trainable_weights", seen),
            kind=type(self._model).__name__,
        )
        return tuple(rows + ([rest] if _has_cost(rest) else []))

    def _row_name(self):
        path = []
        for operation in self._stack:
            path.append(operation.name)
            # The first one is the model itself.
            if len(path) > 1 and not isinstance(operation, keras.Model):
                name = "/".join(path[1:])
                self._layers.setdefault(name, operation)
                return name
        return None

    def _check(self, operation, name):
        # A layer may use an inner layer's weights without calling it.
        called = {
            id(weight)
            for layer in getattr(operation, "_layers", ())
            if id(layer) in self._called
            for weight in layer.weights
        }
        weights = getattr(operation, "weights", ())
        own = [weight for weight in weights if id(weight) not in called]
        if name not in self.uncounted and macs.needs_rule(operation, own):
            self.uncounted.append(name)


@contextlib.contextmanager
def _listening(recorder):
    """Reports every call of a Keras layer or operation to `recorder`."""
    original = keras.Operation.__call__

    def call(operation, *args, **kwargs):
        recorder.enter(operation)
        outputs = original(operation, *args, **kwargs)
        recorder.leave(operation, _shapes(operation, args, kwargs), outputs)
        return outputs

    keras.Operation.__call__ = call
    try:
        yield
    finally:
        keras.Operation.__call__ = original


def _shapes(operation, args, kwargs):
    """Returns the shapes of a call's tensors, in the order of its signature."""
    named = inspect.signature(operation.call).bind(*args, **kwargs).arguments
    tensors = {k: v for k, v in named.items() if not k.endswith("mask")}
    return [
        tuple(x.shape)
        for x in keras.tree.flatten(tensors)
        if hasattr(x, "shape") and hasattr(x, "dtype")
    ]


def _symbols(model, resolution):
    """Returns symbolic inputs for one image."""
    if getattr(model, "inputs", None) is None:
        if resolution is None:
            raise ValueError(
                f"Model {model.name!r} has no known input shape; pass "
                "resolution=, or build it with a keras.Input."
            )
        return keras.KerasTensor((1, resolution, resolution, 3), "float32")
    open_sides = [None in tensor.shape[1:] for tensor in model.inputs]
    if resolution is not None and not any(open_sides):
        raise ValueError(
            f"resolution={resolution!r} is for a name or an open input; "
            f"{model.name!r} has its own input shape "
            f"{model.inputs[0].shape[1:]}."
        )
    inputs = []
    for tensor in model.inputs:
        shape = [size or resolution for size in tensor.shape[1:]]
        if None in shape:
            raise ValueError(
                f"Input {tensor.name!r} has the open shape {tensor.shape}; "
                "pass resolution=, or build the model with a fixed "
                "input_shape."
            )
        inputs.append(keras.KerasTensor((1, *shape), tensor.dtype))
    return inputs if len(inputs) > 1 else inputs[0]


def _count_new(layer, kind, seen):
    """Counts the elements of weights not yet in `seen`, and adds these."""
    new = {id(w): w for w in getattr(layer, kind, ()) if id(w) not in seen}
    seen |= set(new)
    return sum(math.prod(w.shape) for w in new.values())


def _has_cost(row):
    return bool(row.params or row.statistics or row.multiply_adds)


def _stage_name(layer_name):
    match = re.match(r"[A-Za-z]+_?\d+|[A-Za-z]+", layer_name)
    return match.group() if match else layer_name


def _merge_free_start(groups):
    """Merges the rows before the first weights into the stage with those."""
    names = list(groups)
    if len(names) > 1 and not any(map(_has_cost, groups[names[0]])):
        groups[names[1]] = groups.pop(names[0]) + groups[names[1]]
    return groups


def _sum_rows(name, rows):
    sums = {c: sum(getattr(row, c) for row in rows) for c in COUNTS}
    return Cost(name, **sums)
