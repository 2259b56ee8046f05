"""The class token and the position embeddings of a vision transformer."""

import math
from typing import Any

import keras
import numpy as np


@keras.saving.register_keras_serializable(package="efficientnet_tf")
class ClassToken(keras.layers.Layer):
    """Prepends a learned token, then adds learned position embeddings.

    Maps [N, H, W, C] to [N, H * W + 1, C]. The positions keep rows and columns:
    those of 4 x 9 patches would fit 6 x 6, if they were one list.
    """

    def build(self, input_shape: tuple[int, ...]) -> None:
        *grid, filters = input_shape[1:]
        noise = keras.initializers.RandomNormal(stddev=0.02)
        self.token = self.add_weight(
            shape=(filters,), initializer="zeros", name="token"
        )
        self.token_position = self.add_weight(
            shape=(filters,), initializer=noise, name="token_position"
        )
        # Models of earlier versions have one list of patches, [N, T, C].
        self.positions = self.add_weight(
            shape=(*grid, filters), initializer=noise, name="positions"
        )

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        filters = inputs.shape[-1]
        x = inputs + keras.ops.cast(self.positions, inputs.dtype)
        x = keras.ops.reshape(x, (-1, self._count_patches(), filters))
        token = keras.ops.broadcast_to(
            self.token + self.token_position,
            (keras.ops.shape(inputs)[0], 1, filters),
        )
        return keras.ops.concatenate(
            [keras.ops.cast(token, x.dtype), x], axis=1
        )

    def compute_output_shape(
        self, input_shape: tuple[int, ...]
    ) -> tuple[int, ...]:
        batch, *grid, filters = input_shape
        return (batch, math.prod(grid) + 1, filters)

    def load_own_variables(self, store: Any) -> None:
        if len(store.keys()) != 2:
            super().load_own_variables(store)
            return
        # Of an earlier version.
        self.token.assign(store["0"])
        parts = split_positions(store["1"], self.positions.shape)
        for variable, value in zip(
            (self.token_position, self.positions), parts, strict=True
        ):
            variable.assign(value)

    def _count_patches(self):
        return math.prod(self.positions.shape[:-1])


def split_positions(
    listed: Any, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the token's position and the patches', of one list of both.

    Args:
      listed: [T + 1, C], the token's first, as earlier versions wrote them.
      shape: of a `ClassToken`'s positions.

    Raises:
      ValueError: there are not as many, or it is not known which patches are
        in one row.
    """
    listed, grid = np.asarray(listed), shape[:-1]
    if listed.shape != (math.prod(grid) + 1, shape[-1]) or len(set(grid)) > 1:
        raise ValueError(
            f"The file has a list of {len(listed) - 1} patches, as earlier "
            "versions wrote it, without rows and columns: it fits a square of "
            f"as many only, and this network has {' x '.join(map(str, grid))}."
        )
    return listed[0], listed[1:].reshape(shape)
