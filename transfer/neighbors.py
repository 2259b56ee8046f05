"""The training images most like an image, by the cosine of their features."""

import dataclasses
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from efficientnet_tf.data.images import decoding
from efficientnet_tf.inference import unknown
from transfer import finished


@dataclasses.dataclass(frozen=True)
class Neighbor:
    """A training image: its place among them, its name, class, similarity.

    The similarity is the cosine of the pooled features, at most 1.
    """

    place: int
    image: str
    class_name: str
    similarity: float

    def describe(self) -> dict[str, Any]:
        """Returns the neighbour as JSON takes it."""
        return {
            "image": self.image,
            "class": self.class_name,
            "similarity": self.similarity,
        }


class Index:
    """Looks for neighbours among the images that a run was trained on."""

    def __init__(self, trained: finished.Trained, class_names: Sequence[str]):
        self._trained, self._class_names = trained, class_names
        self._directions = unknown.normalize(trained.features)

    def find(self, features: np.ndarray, count: int) -> list[Neighbor]:
        """Returns the nearest images, the most similar first.

        Args:
          features: of one image, [C].
          count: how many, at most.
        """
        (direction,) = unknown.normalize(features[None])
        cosines = self._directions @ direction
        # Of equals the first, on any machine.
        nearest = np.argsort(-cosines, kind="stable")[:count]
        return [
            Neighbor(
                int(i),
                self._trained.names[i],
                self._class_names[self._trained.labels[i]],
                float(cosines[i]),
            )
            for i in nearest
        ]

    def read_pixels(
        self, places: Collection[int], deep_pixels: str
    ) -> dict[int, np.ndarray]:
        """Returns {place: uint8 [H, W, 3]} of training images."""
        wanted = np.unique(list(places))
        rows = self._trained.examples.pick(wanted)
        return {
            int(place): np.asarray(decoding.decode(image, deep_pixels))
            for place, (image, _) in zip(wanted, rows, strict=True)
        }


def vote(neighbors: Sequence[Neighbor]) -> tuple[str, int]:
    """Returns the most frequent class, and how many have it.

    Of classes that are equally frequent that of the nearest image.
    """
    counts: dict[str, int] = {}
    for neighbor in neighbors:
        counts[neighbor.class_name] = counts.get(neighbor.class_name, 0) + 1
    best = max(counts, key=lambda name: counts[name])  # The first of equals.
    return best, counts[best]
