"""The Pareto front."""

from efficientnet_tf.measure import pareto


def test_on_the_front_is_who_nobody_beats_in_everything():
    points = [(0.9, -5), (0.8, -1), (0.7, -2), (0.9, -6), (0.95, -9)]
    assert pareto.pareto_front(points) == [0, 1, 4]
