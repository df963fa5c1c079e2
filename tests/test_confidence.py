"""What probabilities are worth: figures that can be worked out by hand."""

import numpy as np
import pytest

from pecmae.evaluation.confidence import Confidence, confidence_report
from pecmae.prototypes.calibration import calibrate
from test_calibration import tracks_around


def two_classes(confidence: list[float], right: list[bool]) -> Confidence:
    """Labels of the first class with these probabilities."""
    first = np.array(confidence)
    return Confidence(np.stack([first, 1 - first], 1), np.where(right, 0, 1))


def test_bins_hold_as_many_tracks_each():
    rng = np.random.default_rng(0)
    found = two_classes(list(rng.beta(8, 1, 1000) / 2 + 0.5), [True] * 1000)
    assert [part["tracks"] for part in found.bins] == [100] * 10
    confidences = [part["confidence"] for part in found.bins]
    assert confidences == sorted(confidences)


def test_the_error_is_the_mean_gap_weighed_by_tracks():
    # Ten bins of two tracks: in the first five the confidence is 0.6 and half are right, in the others 0.9 and all are.
    found = two_classes([0.6] * 10 + [0.9] * 10, [True, False] * 5 + [True] * 10)
    assert found.calibration_error == pytest.approx(0.5 * 0.1 + 0.5 * 0.1)
    assert two_classes([0.75] * 40, ([True] * 3 + [False]) * 10).calibration_error == pytest.approx(0)


def test_proper_scores_by_hand():
    found = two_classes([0.8, 0.6], [True, False])
    assert found.brier == pytest.approx((2 * 0.2**2 + 2 * 0.6**2) / 2)
    assert found.negative_log_likelihood == pytest.approx(-(np.log(0.8) + np.log(0.4)) / 2)


def test_risk_is_that_of_the_most_confident_tracks():
    found = two_classes([0.6, 0.9, 0.8, 0.7], [False, True, False, True])
    assert found.risks.tolist() == pytest.approx([0, 1 / 2, 1 / 3, 2 / 4])
    assert found.area_under_risk == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)


def test_a_model_without_calibration_has_scores_alone(tiny_model):
    assert set(confidence_report(tiny_model.head, None, tracks_around(tiny_model.head, 30))) == {"scores"}


def test_what_a_calibration_promises_is_measured(tiny_model):
    held_out, training, test = (
        tracks_around(tiny_model.head, count, seed=seed) for count, seed in ((200, 1), (90, 2), (400, 3))
    )
    found = confidence_report(tiny_model.head, calibrate(tiny_model.head, held_out, training), test)
    assert found["probabilities"]["calibration_error"] < found["scores"]["calibration_error"]
    assert found["probabilities"]["negative_log_likelihood"] < found["scores"]["negative_log_likelihood"]
    assert found["probabilities"]["calibration_error"] < 0.08
    assert found["sets"]["coverage"] == pytest.approx(0.9, abs=0.05)
    assert 0.8 < found["sets"]["size"] < 3
    assert found["refused"] == pytest.approx(0.05, abs=0.04)
    assert found["given"]["wrong"] is None or found["given"]["wrong"] <= 0.05


def test_a_picture_shows_both_curves(tiny_model):
    pytest.importorskip("matplotlib")
    from pecmae.evaluation.plots import plot_reliability

    tracks = tracks_around(tiny_model.head, 60)
    report = confidence_report(tiny_model.head, calibrate(tiny_model.head, tracks, tracks), tracks)
    (axes,) = plot_reliability(report).axes
    lines = [line for line in axes.get_lines() if not line.get_label().startswith("_")]
    assert [line.get_label().split(",")[0] for line in lines] == ["scores", "calibrated probabilities"]
    np.testing.assert_allclose(lines[1].get_ydata(), [part["right"] for part in report["probabilities"]["bins"]])
