"""Explanations whose numbers can be followed by hand."""

import dataclasses

import numpy as np
import pytest

from pecmae import Explanation, Prediction

LABELS = ("calm", "lively", "odd")
# Two prototypes a class, class-major; two segments.
SIMILARITIES = np.array([[0.9, 0.1, 0.5, 0.3, 0.2, 0.4], [0.7, 0.3, 0.7, 0.1, 0.6, 0.2]])
WEIGHT = np.array(
    [
        [2.0, 1.0, 0.0, 0.0, -1.0, 0.0],
        [0.0, 0.0, 3.0, 1.0, 0.0, -0.5],
        [0.0, -1.0, 0.0, 0.5, 1.0, 1.0],
    ]
)
BIAS = np.array([0.25, -0.5, 1.0])
MEAN = SIMILARITIES.mean(0)  # 0.8, 0.2, 0.6, 0.2, 0.4, 0.3


@pytest.fixture
def explanation() -> Explanation:
    return Explanation(
        labels=LABELS,
        prototype_labels=np.array([0, 0, 1, 1, 2, 2]),
        segment_similarities=SIMILARITIES,
        weight=WEIGHT,
        bias=BIAS,
        logits=WEIGHT @ MEAN + BIAS,
    )


def test_prototypes_are_named_in_the_order_of_the_classes(explanation):
    assert explanation.names == (("calm", 0), ("calm", 1), ("lively", 0), ("lively", 1), ("odd", 0), ("odd", 1))
    assert explanation.to_dict()["prototype_labels"] == ["calm", "calm", "lively", "lively", "odd", "odd"]


def test_the_label_and_the_runner_up_have_the_largest_logits(explanation):
    # calm: 1.6 + 0.2 - 0.4 + 0.25 = 1.65, lively: 1.8 + 0.2 - 0.15 - 0.5 = 1.35, odd: -0.2 + 0.1 + 0.4 + 0.3 + 1 = 1.6.
    assert explanation.logits == pytest.approx([1.65, 1.35, 1.6])
    assert (explanation.label, explanation.runner_up) == ("calm", "odd")
    assert explanation.winners.tolist() == [0, 0]


def test_contributions_are_weights_times_mean_similarities(explanation):
    assert explanation.contributions[0] == pytest.approx([1.6, 0.2, 0, 0, -0.4, 0])
    assert explanation.segment_contributions[1, 1] == pytest.approx([0, 0, 2.1, 0.1, 0, -0.1])
    assert explanation.top("odd", count=3) == [
        ("odd", 0, pytest.approx(0.4)),
        ("odd", 1, pytest.approx(0.3)),
        ("lively", 1, pytest.approx(0.1)),
    ]
    assert explanation.top(count=1) == [("calm", 0, pytest.approx(1.6))]


def test_a_contrast_is_prototypes_and_bias_and_its_segments_are_its_parts(explanation):
    contrast = explanation.contrast("calm", "lively")
    assert contrast.bias == 0.75
    assert contrast.total == pytest.approx(0.3)
    assert contrast.prototypes.sum() + contrast.bias == pytest.approx(contrast.total)
    assert contrast.segments.mean() == pytest.approx(contrast.total)
    # First segment: 1.8 + 0.1 - 0.2 + 0.25 of calm, 1.5 + 0.3 - 0.2 - 0.5 of lively.
    assert contrast.segments == pytest.approx([1.95 - 1.1, 1.35 - 1.6])
    assert contrast.top(2) == [("calm", 0, pytest.approx(1.6)), ("calm", 1, pytest.approx(0.2))]
    assert contrast.top_segments() == [(0, pytest.approx(0.85)), (1, pytest.approx(-0.25))]
    assert contrast.names == explanation.names
    assert contrast.to_dict() == {
        "label": "calm",
        "against": "lively",
        "prototypes": pytest.approx([1.6, 0.2, -1.8, -0.2, -0.4, 0.15]),
        "bias": 0.75,
        "segments": pytest.approx([0.85, -0.25]),
        "total": pytest.approx(0.3),
    }


def test_a_contrast_turned_round_is_its_negative(explanation):
    one, other = explanation.contrast("calm", "odd"), explanation.contrast("odd", "calm")
    assert one.prototypes == pytest.approx(-other.prototypes)
    assert (one.bias, one.total) == (-other.bias, pytest.approx(-other.total))


def test_the_parts_are_written_whole(explanation):
    written = explanation.to_dict()
    assert (written["label"], written["runner_up"], written["labels"]) == ("calm", "odd", list(LABELS))
    for name in ("logits", "bias", "weight", "contributions", "segment_similarities"):
        assert written[name] == getattr(explanation, name).tolist()


def test_one_class_has_no_runner_up():
    alone = Explanation(
        labels=("calm",),
        prototype_labels=np.zeros(2, int),
        segment_similarities=np.ones((1, 2)),
        weight=np.ones((1, 2)),
        bias=np.zeros(1),
        logits=np.full(1, 2.0),
    )
    assert alone.runner_up is None


def test_equal_prototypes_are_named_in_their_order_five_of_them():
    alike = Explanation(
        labels=("a", "b"),
        prototype_labels=np.repeat([0, 1], 20),
        segment_similarities=np.full((1, 40), 0.5),
        weight=np.repeat([[1.0], [-1.0]], 40, axis=1),
        bias=np.zeros(2),
        logits=np.array([20.0, -20.0]),
    )
    assert [(label, number) for label, number, _ in alike.top()] == [("a", number) for number in range(5)]
    contrast = alike.contrast("a", "b")
    assert [(label, number) for label, number, _ in contrast.top()] == [("a", number) for number in range(5)]
    many = dataclasses.replace(contrast, segments=np.zeros(40))
    assert [number for number, _ in many.top_segments()] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("logit", "error", "accepted"), [(100, 9e-4, True), (100, 1.2e-3, False), (0.1, 1.2e-5, False)])
def test_parts_may_miss_the_logits_by_rounding_alone(logit, error, accepted):
    def explain() -> Explanation:
        return Explanation(
            labels=("a",),
            prototype_labels=np.zeros(1, int),
            segment_similarities=np.ones((1, 1)),
            weight=np.full((1, 1), logit),
            bias=np.zeros(1),
            logits=np.full(1, logit + error),
        )

    if accepted:
        assert explain().label == "a"
        return
    with pytest.raises(ValueError, match="they belong to different models"):
        explain()


def test_an_unknown_class_is_answered_with_the_known_ones(explanation):
    with pytest.raises(ValueError, match="'polka' is not a class of this model; choose from calm, lively, odd"):
        explanation.top("polka")


@pytest.mark.parametrize(("duration", "written"), [(2.5, 2.5), (float("nan"), None)])
def test_a_prediction_is_written_under_its_names(duration, written):
    prediction = Prediction(
        label="b",
        score=0.75,
        scores={"b": 0.75, "a": 0.25},
        logits=np.array([0.0, 1.0]),
        segment_logits=np.zeros((3, 2)),
        segment_similarities=np.ones((3, 2)),
        duration=duration,
    )
    assert prediction.to_dict() == {
        "label": "b",
        "score": 0.75,
        "scores": {"b": 0.75, "a": 0.25},
        "duration": written,
        "audible_duration": None,
        "num_segments": 3,
        "notes": [],
    }
