"""How plain the reasons for a decision are, in numbers that can be computed by hand."""

import numpy as np
import pytest
import torch

from pecmae import PrototypeHead, PrototypeHeadConfig
from pecmae.data.tracks import EmbeddedTracks
from pecmae.prototypes.measures import reasons_of, track_reasons

OWN = np.array([0, 0, 1, 1])
WEIGHT = np.array([[1.0, 1, 0, 0], [0, 0, 1, 1]])


def test_reasons_against_the_runner_up_are_counted_and_what_it_takes_back():
    found = reasons_of(np.array([[0.5, 0.3, 0.2, 0.0], [0.1, 0.5, 0.05, 0.4]]), WEIGHT, np.zeros(2), OWN)
    # Of 0.8, one prototype makes 62 %; of 0.6, one makes 83 %.
    assert found.prototypes_needed.tolist() == [2, 2]
    assert found.cancelled.tolist() == pytest.approx([0.2 / 0.8, 0.45 / 0.6])
    assert found.agrees.tolist() == [True, True]


def test_one_prototype_with_nine_tenths_is_enough_exactly():
    assert reasons_of(np.array([[0.9, 0.1, 0.0, 0.0]]), WEIGHT, np.zeros(2), OWN).prototypes_needed.tolist() == [1]
    assert reasons_of(np.array([[0.89, 0.11, 0.0, 0.0]]), WEIGHT, np.zeros(2), OWN).prototypes_needed.tolist() == [2]


def test_the_strongest_prototype_may_be_of_a_class_that_is_not_given():
    found = reasons_of(np.array([[0.4, 0.4, 0.6, 0.0]]), WEIGHT, np.zeros(2), OWN)
    assert found.agrees.tolist() == [False]
    assert found.to_dict()["agreement"] == 0


def test_a_bias_counts_for_the_side_that_it_speaks_for():
    similarities = np.array([[0.5, 0.5, 0.2, 0.0]])
    assert reasons_of(similarities, WEIGHT, np.array([1.0, 0.0]), OWN).cancelled.tolist() == pytest.approx([0.1])
    assert reasons_of(similarities, WEIGHT, np.array([0.0, 0.3]), OWN).cancelled.tolist() == pytest.approx([0.5])
    assert reasons_of(np.zeros((1, 4)), WEIGHT, np.zeros(2), OWN).to_dict() == {
        "agreement": 1.0,
        "compactness": 0.0,
        "cancellation": 0.0,
    }


def test_a_crisper_kernel_cancels_less():
    draws = torch.Generator().manual_seed(0)
    z = torch.randn(60, 8, generator=draws)
    z[:, 0] += torch.arange(60) % 3
    tracks = EmbeddedTracks(z, torch.arange(60), torch.arange(60) % 3)
    cancelled = []
    for scale in (1.0, 10.0):
        config = PrototypeHeadConfig(embedding_dim=8, num_classes=3, prototypes_per_class=4, adaptor=False, kernel_scale=scale)
        head = PrototypeHead(config)
        with torch.no_grad():
            head.prototypes.copy_(
                z[torch.arange(60).argsort(stable=True)][torch.argsort(torch.arange(60) % 3, stable=True)][:12]
            )
        cancelled.append(track_reasons(head, tracks).to_dict()["cancellation"])
    assert cancelled[1] < cancelled[0] - 0.1
