"""Learning-rate schedules, optimizers, weight decay, averaged weights."""

import keras

# Decay pulls these towards zero for no gain.
UNDECAYED = ["bias", "gamma", "beta"]
# The variables of batch norm that are trained.
BATCH_NORM = ("gamma", "beta")
MOMENTUM = 0.9


@keras.saving.register_keras_serializable(package="efficientnet_tf")
class WarmupStairs(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly from 0, then falls by a factor at regular steps.

    As in the official code the stairs are counted from step 0, so that the
    rise ends below `learning_rate` where it is longer than a stair. Both
    lengths are in optimizer steps, `decay_steps` not necessarily whole.
    """

    def __init__(
        self, learning_rate, *, decay_steps, decay_rate, warmup_steps=0
    ):
        super().__init__()
        self.learning_rate = learning_rate
        self.decay_steps = decay_steps
        self.decay_rate = decay_rate
        self.warmup_steps = warmup_steps

    def __call__(self, step):
        ops = keras.ops
        step = ops.cast(step, "float32")
        stair = ops.floor(step / self.decay_steps)
        rate = self.learning_rate * ops.power(self.decay_rate, stair)
        if not self.warmup_steps:
            return rate
        rising = self.learning_rate * step / self.warmup_steps
        return ops.where(step < self.warmup_steps, rising, rate)

    def get_config(self):
        return {
            "learning_rate": self.learning_rate,
            "decay_steps": self.decay_steps,
            "decay_rate": self.decay_rate,
            "warmup_steps": self.warmup_steps,
        }


@keras.saving.register_keras_serializable(package="efficientnet_tf")
class WarmupTenths(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly from 0, then falls to a tenth after each boundary.

    As in BiT's code step `boundary` itself still has the higher rate. All are
    optimizer steps.
    """

    def __init__(self, learning_rate, *, boundaries, warmup_steps=0):
        super().__init__()
        self.learning_rate = learning_rate
        self.boundaries = list(boundaries)
        self.warmup_steps = warmup_steps

    def __call__(self, step):
        ops = keras.ops
        step = ops.cast(step, "float32")
        rate = ops.full((), self.learning_rate, "float32")
        if self.warmup_steps:
            rate = rate * ops.minimum(step / self.warmup_steps, 1.0)
        for boundary in self.boundaries:
            rate = ops.where(step > boundary, rate / 10, rate)
        return rate

    def get_config(self):
        return {
            "learning_rate": self.learning_rate,
            "boundaries": self.boundaries,
            "warmup_steps": self.warmup_steps,
        }


@keras.saving.register_keras_serializable(package="efficientnet_tf")
class RMSprop(keras.optimizers.Optimizer):
    """RMSProp as TensorFlow 1 had it, which the paper's numbers come from.

    The mean square starts at one, so that the first steps are not the largest;
    epsilon stands inside the root; momentum gathers steps that the learning
    rate has scaled already. Keras's own starts the mean square at zero.

    Args:
      learning_rate: a number or a schedule.
      rho: decay of the mean square.
      momentum: decay of the gathered steps.
      epsilon: added to the mean square.
      name: the optimizer's name.
      **kwargs: those of every Keras optimizer.
    """

    def __init__(
        self,
        learning_rate,
        *,
        rho=0.9,
        momentum=MOMENTUM,
        epsilon=1e-3,
        name="rmsprop",
        **kwargs,
    ):
        super().__init__(learning_rate, name=name, **kwargs)
        self.rho = rho
        self.momentum = momentum
        self.epsilon = epsilon

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self._mean_squares, self._momentums = self.add_optimizer_variables(
            variables, ["mean_square", "momentum"], ["ones", "zeros"]
        )

    def update_step(self, gradient, variable, learning_rate):
        ops = keras.ops
        index = self._get_variable_index(variable)
        mean_square = self._mean_squares[index]
        momentum = self._momentums[index]
        gradient = ops.cast(gradient, variable.dtype)
        learning_rate = ops.cast(learning_rate, variable.dtype)
        if keras.backend.backend() == "tensorflow":
            self._fused(
                variable, mean_square, momentum, learning_rate, gradient
            )
            return
        self.assign(
            mean_square,
            self.rho * mean_square + (1 - self.rho) * ops.square(gradient),
        )
        step = gradient * ops.rsqrt(mean_square + self.epsilon)
        self.assign(momentum, self.momentum * momentum + learning_rate * step)
        self.assign_sub(variable, momentum)

    def _fused(self, variable, mean_square, momentum, learning_rate, gradient):
        """One kernel a variable: a third of the time of separate operations."""
        import tensorflow as tf  # Only ever reached on this backend.

        tf.raw_ops.ResourceApplyRMSProp(
            var=variable.handle,
            ms=mean_square.handle,
            mom=momentum.handle,
            lr=learning_rate,
            rho=self.rho,
            momentum=self.momentum,
            epsilon=self.epsilon,
            grad=gradient,
        )

    def get_config(self):
        return super().get_config() | {
            "rho": self.rho,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
        }


class ExponentialMovingAverage:
    """Averages of a model's variables, batch norm's statistics among them.

    As in TensorFlow 1 the decay of update n is the smaller of `decay` and
    (1 + n) / (10 + n), so that early values are soon forgotten.

    Under a strategy it must be made in its scope, after the model. `update`
    may be called in a replica or outside; each replica then averages its own
    copies, which needs no communication.

    Args:
      variables: of floats, e.g. `model.weights`.
      decay: in [0, 1).
    """

    def __init__(self, variables, decay):
        self.decay = decay
        self.swapped = False
        self._variables = list(variables)
        _check_scope(self._variables)
        self._averages = [
            keras.Variable(
                variable, dtype="float32", trainable=False, name="average"
            )
            for variable in self._variables
        ]
        self._step = keras.Variable(
            0, dtype="int", trainable=False, name="step"
        )

    def update(self, step):
        """Moves the averages towards the variables.

        Args:
          step: finished optimizer steps, e.g. `optimizer.iterations` after
            the update of the weights. If it has not grown since the last call
            (a step was skipped because its gradients overflowed, or they are
            still being accumulated), nothing changes.
        """
        ops = keras.ops
        step = ops.cast(step, self._step.dtype)
        count = ops.cast(step, "float32")
        decay = ops.minimum(self.decay, (1 + count) / (10 + count))
        # Without a branch, which replicas could not take in a graph.
        rate = ops.where(step > self._step, 1 - decay, 0.0)
        self._step.assign(step)
        for average, variable in self._pairs():
            average.assign(average + rate * (variable - average))

    def swap(self):
        """Exchanges the variables and their averages, or back.

        To evaluate the averages: swap, evaluate, swap.
        """
        for average, variable in self._pairs():
            # Not a tensor that follows the variable.
            value = keras.ops.copy(variable)
            variable.assign(average)
            average.assign(value)
        self.swapped = not self.swapped

    @property
    def variables(self):
        """What a checkpoint of the averages holds.

        Raises:
          RuntimeError: the averages are swapped in.
        """
        if self.swapped:
            raise RuntimeError("Swap back before saving the averages.")
        return [*self._averages, self._step]

    def _pairs(self):
        return zip(self._averages, self._variables, strict=True)


def warmup_cosine(learning_rate, total_steps, warmup_steps):
    """Rises linearly from 0 for `warmup_steps`, then falls to 0 on a cosine."""
    if warmup_steps >= total_steps:
        raise ValueError(
            f"warm-up of {warmup_steps} steps must be shorter than the run of "
            f"{total_steps} steps."
        )
    if warmup_steps == 0:
        return keras.optimizers.schedules.CosineDecay(
            learning_rate, total_steps
        )
    return keras.optimizers.schedules.CosineDecay(
        0.0,
        total_steps - warmup_steps,
        warmup_target=learning_rate,
        warmup_steps=warmup_steps,
    )


def make_schedule(config, steps_per_epoch):
    """Returns the rate of each optimizer step of a `recipes.TrainConfig`.

    Args:
      config: a `recipes.TrainConfig`.
      steps_per_epoch: optimizer steps, not necessarily whole.

    Raises:
      ValueError: there are no steps.
    """
    if not steps_per_epoch > 0:
        raise ValueError(
            f"steps_per_epoch={steps_per_epoch} must be above 0: are there "
            f"fewer images than batch_size={config.batch_size}?"
        )
    # The official code rounds down.
    warmup_steps = int(config.warmup_epochs * steps_per_epoch)
    if config.schedule == "cosine":
        total_steps = round(config.epochs * steps_per_epoch)
        return warmup_cosine(config.learning_rate, total_steps, warmup_steps)
    return WarmupStairs(
        config.learning_rate,
        decay_steps=config.decay_epochs * steps_per_epoch,
        decay_rate=config.decay_rate,
        warmup_steps=warmup_steps,
    )


def make_optimizer(config, steps_per_epoch):
    """Returns the optimizer of a `recipes.TrainConfig`.

    Its gradients are those of a whole step: micro-batches are summed before,
    by the trainer, because Keras's own way of accumulating counts each of them
    as a step of the schedule, and fails on several replicas. Weight decay is
    in the loss, see `l2_penalty`.

    Args:
      config: a `recipes.TrainConfig`.
      steps_per_epoch: optimizer steps, not necessarily whole.

    Raises:
      ValueError: there are no steps.
    """
    schedule = make_schedule(config, steps_per_epoch)
    if config.optimizer == "sgd":
        return make_sgd(schedule)
    return RMSprop(schedule)


def make_sgd(learning_rate, *, nesterov=True):
    """SGD with momentum, by default Nesterov's."""
    return keras.optimizers.SGD(
        learning_rate, momentum=MOMENTUM, nesterov=nesterov
    )


def l2_penalty(variables, weight_decay):
    """Returns `weight_decay` times half the sum of squares, a scalar.

    Every variable counts, biases too, except those of batch norm, as in the
    official code. It belongs to the loss of a whole step: where the gradients
    of replicas are summed, each adds its share.

    Args:
      variables: e.g. `model.trainable_variables`.
      weight_decay: 0: none.
    """
    ops = keras.ops
    decayed = [v for v in variables if v.name not in BATCH_NORM]
    if not weight_decay or not decayed:
        return ops.zeros(())
    squares = [ops.sum(ops.square(variable)) for variable in decayed]
    return 0.5 * weight_decay * ops.sum(ops.stack(squares))


def make_adamw(learning_rate, *, weight_decay):
    """AdamW that decays kernels only.

    Args:
      learning_rate: a number or a schedule.
      weight_decay: decoupled, multiplied by the learning rate each step.
    """
    optimizer = keras.optimizers.AdamW(learning_rate, weight_decay=weight_decay)
    optimizer.exclude_from_weight_decay(var_names=UNDECAYED)
    return optimizer


def _check_scope(variables):
    """Raises ValueError if new variables would not be of the same strategy."""
    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf

    scope = (
        tf.distribute.get_strategy() if tf.distribute.has_strategy() else None
    )
    for variable in variables:
        # Of an unmirrored average, all replicas would write the one copy.
        if getattr(variable.value, "distribute_strategy", None) is not scope:
            raise ValueError(
                "The averages must be made in the scope of the strategy that "
                f"{variable.path} was made in."
            )
