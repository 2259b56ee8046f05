"""Labels that may be wrong, by confident learning."""

import logging
import warnings

import numpy as np

from efficientnet_tf.utils import untrusted
from transfer.scores import predictions


def find(found: predictions.Predictions, classes: int) -> np.ndarray | None:
    """Returns the places of images whose labels may be wrong, worst first.

    Northcutt et al., 2021, https://arxiv.org/abs/1911.00068: images that are
    likelier of another class than that class's images are on average.

    Args:
      found: of images that the network was not trained on.
      classes: how many there are.

    Returns:
      int [M]; None: not all probabilities are kept.

    Raises:
      untrusted.DamagedError: cleanlab cannot do it with these.
    """
    matrix = found.to_matrix(classes)
    if matrix is None:
        return None
    # Of classes without images it knows no threshold.
    present = np.unique(found.labels)
    if len(present) < 2:
        return np.zeros(0, int)
    with warnings.catch_warnings(), untrusted.reading("The predictions"):
        warnings.simplefilter("ignore")
        # Packages that it imports say what else they have found.
        logging.disable(logging.INFO)
        try:
            from cleanlab import filter as cleanlab_filter
        finally:
            logging.disable(logging.NOTSET)

        shares = matrix[:, present].astype("float64") + 1e-12
        return cleanlab_filter.find_label_issues(
            np.searchsorted(present, found.labels),
            shares / shares.sum(axis=1, keepdims=True),
            return_indices_ranked_by="self_confidence",
            filter_by="confident_learning",
            n_jobs=1,  # Processes take longer to start than the work takes.
        )
