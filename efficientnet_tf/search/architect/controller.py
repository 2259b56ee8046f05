"""The controller of https://arxiv.org/abs/1807.11626, and how it learns.

Factorized: every decision has its own categorical distribution, as in
https://arxiv.org/abs/2008.06120, where the paper has an LSTM.
"""

import dataclasses

import numpy as np

from efficientnet_tf.search.architect import spaces


@dataclasses.dataclass(frozen=True)
class Settings:
    """Of learning: `batch` candidates give `epochs` steps of Adam.

    `clip` and `epochs` are those of https://arxiv.org/abs/1707.06347; the
    others are ours.
    """

    batch: int = 10
    epochs: int = 4
    clip: float = 0.2
    learning_rate: float = 0.1
    entropy: float = 0.01
    baseline_decay: float = 0.9


class Controller:
    """Distributions over the values of each decision.

    Args:
      sizes: the number of values of each decision.
      settings: of learning.
    """

    def __init__(
        self, sizes: tuple[int, ...], settings: Settings | None = None
    ):
        self._sizes, self._settings = sizes, settings or Settings()
        # Those that a decision does not have are never drawn.
        values = np.arange(max(sizes))
        self._has = values < np.array(sizes)[:, None]
        self._logits = np.where(self._has, 0.0, -np.inf)
        self._moments = np.zeros((2, *self._logits.shape))
        self._steps = 0
        self._baseline: float | None = None
        self._batch: list[tuple] = []

    def sample(self, rng: np.random.Generator) -> tuple[spaces.Genotype, float]:
        """Returns a genotype and its logarithmic likelihood."""
        shares = _softmax(self._logits)
        drawn = rng.random((len(self._sizes), 1))
        chosen = (shares.cumsum(axis=1) < drawn).sum(axis=1)
        chosen = np.minimum(chosen, np.array(self._sizes) - 1)
        return tuple(map(int, chosen)), self._log_likelihood(shares, chosen)

    def learn(
        self, genotype: spaces.Genotype, reward: float, log_likelihood: float
    ) -> None:
        """Takes a candidate's reward; learns when a batch is full.

        Args:
          genotype: of the candidate.
          reward: of it.
          log_likelihood: when it was sampled.
        """
        self._batch.append((genotype, reward, log_likelihood))
        if len(self._batch) < self._settings.batch:
            return
        genotypes, rewards, before = map(
            np.array, zip(*self._batch, strict=True)
        )
        self._batch = []
        mean = float(rewards.mean())
        if self._baseline is None:
            self._baseline = mean
        advantages = rewards - self._baseline
        decay = self._settings.baseline_decay
        self._baseline = decay * self._baseline + (1 - decay) * mean
        # The steps do not depend on the rewards' unit.
        spread = rewards.std()
        if spread > 0:
            advantages = advantages / spread
        for _ in range(self._settings.epochs):
            self._step(genotypes, advantages, before)

    def _step(self, genotypes, advantages, before):
        shares = _softmax(self._logits)
        chosen = np.eye(shares.shape[1])[
            genotypes
        ]  # [batch, decisions, values]
        now = np.log((chosen * shares).sum(axis=2)).sum(axis=1)
        ratio = np.exp(np.clip(now - before, -20, 20))
        clip = self._settings.clip
        # Where the clipped term is the smaller one, it has no gradient.
        flat = np.where(advantages > 0, ratio > 1 + clip, ratio < 1 - clip)
        weights = np.where(flat, 0.0, ratio * advantages)
        gradient = (weights[:, None, None] * (chosen - shares)).mean(axis=0)
        logs = np.log(np.where(self._has, np.maximum(shares, 1e-12), 1.0))
        entropy = -(shares * logs).sum(axis=1, keepdims=True)
        gradient -= self._settings.entropy * shares * (logs + entropy)
        self._ascend(gradient)

    def _ascend(self, gradient):
        """Takes a step of Adam, with its paper's constants."""
        self._steps += 1
        for moment, decay, power in zip(
            self._moments, (0.9, 0.999), (1, 2), strict=True
        ):
            moment += (1 - decay) * (gradient**power - moment)
        first = self._moments[0] / (1 - 0.9**self._steps)
        second = self._moments[1] / (1 - 0.999**self._steps)
        step = self._settings.learning_rate * first / (second**0.5 + 1e-8)
        self._logits = np.where(self._has, self._logits + step, -np.inf)

    def _log_likelihood(self, shares, chosen):
        places = np.arange(len(chosen))
        return float(np.log(shares[places, chosen]).sum())


def _softmax(logits):
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)
