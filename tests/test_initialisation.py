"""Where prototypes begin."""

import pytest
import torch

from pecmae import ConfigError
from pecmae.prototypes.initialisation import initial_prototypes, kmeans_prototypes

LABELS = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
# Two far places in each class, so that centres are known.
Z = torch.tensor([[0.0], [0.2], [10.0], [10.2], [100.0], [100.2], [110.0], [110.2]])


def test_kmeans_is_the_default():
    assert torch.equal(initial_prototypes(Z, LABELS, (2, 2)), kmeans_prototypes(Z, LABELS, (2, 2)))


def test_the_published_order_puts_the_second_class_among_the_first_ones_prototypes():
    found, right = initial_prototypes(Z, LABELS, (2, 2), kind="interleaved"), kmeans_prototypes(Z, LABELS, (2, 2))
    assert torch.equal(found, right[[0, 2, 1, 3]])


def test_samples_are_of_the_class_and_none_twice():
    found = initial_prototypes(Z, LABELS, (4, 3), kind="samples", seed=1)[:, 0].tolist()
    assert sorted(found[:4]) == Z[:4, 0].tolist()
    assert len(set(found[4:])) == 3
    assert set(found[4:]) < set(Z[4:, 0].tolist())


def test_random_points_follow_the_seed_and_no_data():
    found = [initial_prototypes(Z, LABELS, (500, 500), kind="random", seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert float(found[0].std()) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("kind", ["kmeans", "samples"])
def test_a_class_with_too_few_samples_is_named(kind):
    with pytest.raises(ValueError, match="Class 1 has 4 training segments, fewer than prototypes_per_class=5"):
        initial_prototypes(Z, LABELS, (2, 5), kind=kind)


def test_what_cannot_be_interleaved_and_unknown_kinds_are_refused():
    for counts, kind in (((2, 1), "interleaved"), ((2, 2), "k-means")):
        with pytest.raises(ConfigError, match="initialisation"):
            initial_prototypes(Z, LABELS, counts, kind=kind)
