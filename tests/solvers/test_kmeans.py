"""k-means on the line, against all partitions."""

import itertools

import numpy as np
import pytest

from polytask.solvers import kmeans_line


def cost(points, labels):
    return sum(((part - part.mean()) ** 2).sum() for part in (points[labels == label] for label in np.unique(labels)))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7])
def test_no_partition_is_better(size):
    for seed in range(6):
        points = np.exp(np.random.default_rng([size, seed]).normal(0, 2, size))
        if seed == 5:
            points[: size // 2 + 1] = points[0]
        for groups in range(1, size + 1):
            labels = kmeans_line(points, groups)
            best = (
                min(
                    cost(points, np.array(other))
                    for other in itertools.product(range(groups), repeat=size)
                    if len(set(other)) == groups
                )
                if groups**size < 3_000
                else np.inf
            )
            assert set(labels) == set(range(groups))
            assert cost(points, labels) <= best + 1e-9 * points.var() * size


def test_far_from_zero_it_sees_the_same_groups():
    points = np.array([0.0, 1.0, 0.1, 5.0, 5.2, 1.1])
    for shift, scale in ((1e6, 1.0), (0.0, 1e-9), (-3.0, 1e9)):
        np.testing.assert_array_equal(kmeans_line(scale * (points + shift), 3), [0, 1, 0, 2, 2, 1])


def test_labels_ascend_with_the_groups_means_and_follow_the_points():
    points = np.random.default_rng(0).normal(size=40)
    labels, order = kmeans_line(points, 4), np.random.default_rng(1).permutation(40)
    np.testing.assert_array_equal(kmeans_line(points[order], 4), labels[order])
    means = [points[labels == label].mean() for label in range(4)]
    assert means == sorted(means)


@pytest.mark.parametrize("groups", [0, 4])
def test_a_number_of_groups_that_does_not_fit_is_refused(groups):
    with pytest.raises(ValueError, match="between 1 and 3 groups"):
        kmeans_line(np.arange(3.0), groups)
