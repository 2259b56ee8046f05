"""The train step under `fit`: loss terms, gradient accumulation, averages."""

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import keras

from efficientnet_tf.training import losses, replicas

# Hidden in evaluation, which does not update them.
TRAINING_METRICS = ("l2", "distillation", "gradient_norm")


class Trainer(replicas.Model):
    """A functional model whose `fit` trains as the paper and its code do.

    It shares the layers and weights of the network whose inputs and outputs it
    takes, and is saved as that network. Besides those of `compile`, its
    metrics are `loss` (the sum of all terms), `cross_entropy` (whatever loss
    was compiled), `l2`, `distillation` with a teacher, and `gradient_norm`
    (over all replicas; under TensorFlow only). Evaluation has only the compiled
    loss, weighted by the sample weights if there are any.

    On several replicas, the moving statistics of batch normalization are
    averaged after each step, and XLA compiles each replica's forward and
    backward pass, see `replicas.Model`.

    Args:
      inputs: the network's.
      outputs: the network's: probabilities [N, classes].
      name: of the model.
      weight_decay: adds `losses.l2_penalty` to the loss, once over all
        replicas.
      decayed: a key of `losses.UNDECAYED`.
      ema: an object whose `update(step)` is called after each optimizer step,
        in each replica, with the number of steps so far (1 the first time);
        `ema.ExponentialMovingAverage` is one.
      teacher: a model, or another function `teacher(images, training=False)`,
        that returns probabilities [N, classes] for the same images.
      distill_temperature: see `losses.distillation_loss`.
      distill_weight: w in w * distillation + (1 - w) * cross_entropy.
      accumulation_steps: each replica splits its batch into so many equal
        parts, runs them one by one and averages their gradients, which saves
        memory. Batch normalization sees one part at a time.
    """

    def __init__(
        self,
        inputs: keras.KerasTensor | list[keras.KerasTensor],
        outputs: keras.KerasTensor | list[keras.KerasTensor],
        *,
        name: str | None = None,
        weight_decay: float = 0.0,
        decayed: str = "all",
        ema: Any | None = None,
        teacher: Callable[..., Any] | None = None,
        distill_temperature: float = 1.0,
        distill_weight: float = 0.5,
        accumulation_steps: int = 1,
    ):
        super().__init__(inputs=inputs, outputs=outputs, name=name)
        _check(distill_temperature, distill_weight, accumulation_steps)
        on_tensorflow = keras.backend.backend() == "tensorflow"
        if not on_tensorflow and (ema is not None or accumulation_steps > 1):
            raise ValueError(
                "ema and accumulation_steps need KERAS_BACKEND=tensorflow."
            )
        names = ["cross_entropy", "l2"]
        names += ["distillation"] * (teacher is not None)
        names += ["gradient_norm"] * on_tensorflow
        self._evaluating = False
        # In an object, so that Keras does not save them with the weights.
        self._parts = _Parts(
            weight_decay=weight_decay,
            decayed=decayed,
            ema=ema,
            teacher=teacher,
            temperature=distill_temperature,
            distill_weight=distill_weight,
            accumulation_steps=accumulation_steps,
            metrics={name: keras.metrics.Mean(name) for name in names},
        )

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The compiled metrics, then the terms of the loss."""
        return [*super().metrics, *self._parts.metrics.values()]

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluates as `keras.Model` does, without the training metrics."""
        self._evaluating = True
        try:
            return super().evaluate(*args, **kwargs)
        finally:
            self._evaluating = False

    def get_metrics_result(self) -> dict[str, Any]:
        hidden = TRAINING_METRICS if self._evaluating else ()
        result = super().get_metrics_result()
        return {k: v for k, v in result.items() if k not in hidden}

    def save(self, filepath: str | os.PathLike, overwrite: bool = True) -> None:
        """Saves the plain network without its optimizer, see `keras.Model`."""
        network = keras.Model(self.inputs, self.outputs, name=self.name)
        network.save(filepath, overwrite=overwrite)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Returns the scalar loss: of all terms in training, else compiled."""
        parts = self._parts
        count = _count(y_pred, sample_weight)
        loss = super().compute_loss(
            x, y, y_pred, sample_weight, training=training
        )
        self._record("cross_entropy", loss, count)
        if not training:
            return loss
        if parts.teacher is not None:
            distance = losses.distillation_loss(
                parts.teacher(x, training=False),
                y_pred,
                temperature=parts.temperature,
                sample_weight=sample_weight,
            )
            self._record("distillation", distance, count)
            share = parts.distill_weight
            loss = share * distance + (1.0 - share) * loss
        if parts.weight_decay:
            penalty = losses.l2_penalty(
                self.trainable_variables, parts.weight_decay, parts.decayed
            )
            # Gradients are summed over replicas, so each adds its share.
            penalty = penalty / self.num_replicas
            self._record("l2", penalty, count)
            loss = loss + penalty
        return loss

    def differentiate(
        self, x: Any, y: Any, sample_weight: Any
    ) -> tuple[list, Any, Any]:
        """Returns a replica's gradients, loss and predictions for a batch."""
        import tensorflow as tf

        with tf.GradientTape() as tape:
            y_pred = self(x, training=True)
            loss = self.compute_loss(x, y, y_pred, sample_weight)
            scaled = self.optimizer.scale_loss(loss)
        return tape.gradient(scaled, self.trainable_variables), loss, y_pred

    def train_step(self, *args: Any) -> Any:
        if keras.backend.backend() == "tensorflow":
            return self._train_step(*args)
        return super().train_step(*args)

    def test_step(self, *args: Any) -> Any:
        if keras.backend.backend() == "tensorflow":
            return self._test_step(*args)
        return super().test_step(*args)

    def make_train_function(self, force: bool = False) -> Any:
        if keras.backend.backend() == "tensorflow":
            self._prepare_optimizer()
        return super().make_train_function(force)

    def _prepare_optimizer(self):
        optimizer = self.optimizer
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        if inner.gradient_accumulation_steps:
            raise ValueError(
                "Pass accumulation_steps to the Trainer instead of "
                "gradient_accumulation_steps to the optimizer."
            )
        self.take_over_reduction()

    def _train_step(self, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        gradients, loss, y_pred = self._differentiate_in_parts(
            x, y, sample_weight
        )
        gradients = self.reduce_gradients(gradients)
        self._record_norm(gradients)
        self.optimizer.apply(gradients, self.trainable_variables)
        if self._parts.ema is not None:
            self._parts.ema.update(self.optimizer.iterations)
        self._loss_tracker.update_state(
            loss * self.num_replicas, _count(y_pred, sample_weight)
        )
        return self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def _test_step(self, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        y_pred = self(x, training=False)
        loss = self.compute_loss(x, y, y_pred, sample_weight, training=False)
        self._loss_tracker.update_state(
            loss * self.num_replicas, _count(y_pred, sample_weight)
        )
        return self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def _differentiate_in_parts(self, x, y, sample_weight):
        """Returns mean gradients and loss, and all predictions."""
        import tensorflow as tf

        differentiate = self.compile_in_replica(self.differentiate)
        steps = self._parts.accumulation_steps
        if steps == 1:
            return differentiate(x, y, sample_weight)
        sums, predictions = None, []
        for part in range(steps):
            # In sequence: parts that run in parallel would save no memory.
            with tf.control_dependencies(tf.nest.flatten(sums) if sums else []):
                batch = tf.nest.map_structure(
                    lambda v, i=part: _take_part(v, i, steps),
                    (x, y, sample_weight),
                )
            gradients, loss, y_pred = differentiate(*batch)
            predictions.append(y_pred)
            found = [*gradients, loss]
            sums = found if sums is None else _add(sums, found)
        *gradients, loss = [total / steps for total in sums]
        return gradients, loss, tf.concat(predictions, axis=0)

    def _record_norm(self, gradients):
        import tensorflow as tf

        norm = tf.linalg.global_norm(gradients)
        norm = norm / self.optimizer.scale_loss(tf.ones(()))
        weight = None
        if isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):
            # With loss scaling, an infinite norm only means a skipped step.
            finite = tf.math.is_finite(norm)
            weight = tf.cast(finite, norm.dtype)
            norm = tf.where(finite, norm, 0.0)
        self._parts.metrics["gradient_norm"].update_state(norm, weight)

    def _record(self, name, part, count):
        value = keras.ops.stop_gradient(part) * self.num_replicas
        self._parts.metrics[name].update_state(value, count)


@dataclasses.dataclass(frozen=True)
class _Parts:
    weight_decay: float
    decayed: str
    ema: Any
    teacher: Any
    temperature: float
    distill_weight: float
    accumulation_steps: int
    metrics: dict


def _check(temperature, weight, accumulation_steps):
    if temperature <= 0:
        raise ValueError(f"distill_temperature={temperature} must be above 0.")
    if not 0 <= weight <= 1:
        raise ValueError(f"distill_weight={weight} must be in [0, 1].")
    if accumulation_steps < 1:
        raise ValueError(
            f"accumulation_steps={accumulation_steps} must be 1 or more."
        )


def _count(y_pred, sample_weight):
    """Returns the weight of a batch in the mean over batches."""
    if sample_weight is None:
        return keras.ops.shape(y_pred)[0]
    return keras.ops.sum(sample_weight)


def _take_part(values, part, parts):
    if values is None:
        return None
    size = values.shape[0]
    if size is None:
        size = keras.ops.shape(values)[0]
    elif size % parts:
        raise ValueError(
            f"A replica's batch of {size} images is not divisible by "
            f"accumulation_steps={parts}."
        )
    size = size // parts
    return values[part * size : (part + 1) * size]


def _add(left, right):
    return [a + b for a, b in zip(left, right, strict=True)]
