import numpy as np
import pytest
import torch

from pecmae.data.tracks import EmbeddedTracks
from pecmae.evaluation.baselines import MLPBaseline, NearestCentroid, evaluate_classifier


def tracks_at(points, tracks, labels) -> EmbeddedTracks:
    return EmbeddedTracks(torch.tensor(points), torch.tensor(tracks), torch.tensor(labels))


def blobs(seed: int, count: int = 40) -> EmbeddedTracks:
    """Three classes around the corners of a triangle, two segments a track."""
    draws = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    corners = np.array([[0, 0, 0], [6, 0, 0], [0, 6, 0]])
    z = np.repeat(corners[labels], 2, axis=0) + draws.normal(0, 0.5, (2 * count, 3))
    return EmbeddedTracks(torch.from_numpy(z).float(), torch.arange(count).repeat_interleave(2), torch.from_numpy(labels))


def test_the_nearest_centroid_by_hand():
    # Both dimensions have a standard deviation; class means are (1, 10) and (5, 30).
    data = tracks_at([[0.0, 0.0], [2.0, 20.0], [4.0, 20.0], [6.0, 40.0]], [0, 1, 2, 3], [0, 0, 1, 1])
    centroid = NearestCentroid(data, 2)
    std = np.array([np.std([0, 2, 4, 6]), np.std([0, 20, 20, 40])])
    expected = -np.square((np.array([1.0, 12.0]) - np.array([[1.0, 10.0], [5.0, 30.0]])) / std).sum(1)
    assert centroid.scores(np.array([[1.0, 12.0]]))[0] == pytest.approx(expected)
    # One of the second track's segments is nearer to class 1, by less than the other is to class 0.
    test = tracks_at([[1.0, 10.0], [5.0, 30.0], [3.2, 21.0], [0.0, 0.0]], [0, 1, 2, 2], [0, 1, 0])
    assert evaluate_classifier(centroid, test, ("a", "b")).accuracy == 1.0


def test_the_ceiling_of_separable_blobs_is_1():
    ceiling = MLPBaseline(blobs(0), blobs(1), 3, seeds=[0])
    assert ceiling.validation_accuracy == 1.0
    result = evaluate_classifier(ceiling, blobs(2), ("a", "b", "c"))
    assert result.accuracy == 1.0
    assert ceiling.scores(np.zeros((1, 3))).sum() == pytest.approx(1)


def test_the_ceiling_keeps_the_epoch_that_validation_chose():
    data, validation = blobs(0), blobs(1)
    shuffled = EmbeddedTracks(validation.z, validation.tracks, validation.track_labels.roll(1))
    ceiling = MLPBaseline(data, shuffled, 3, seeds=[0])
    again = evaluate_classifier(ceiling, shuffled, ("a", "b", "c")).accuracy
    assert again == pytest.approx(ceiling.validation_accuracy)
