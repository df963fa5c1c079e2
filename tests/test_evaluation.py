import json

import numpy as np
import pytest

from pecmae import ConfigError
from pecmae.data.collection import LabelledFile
from pecmae.data.embedding_cache import EmbeddingCache
from pecmae.data.tracks import embed_files
from pecmae.evaluation.tracks import Evaluation, evaluate_embedded


def evaluation(true: list[int], predicted: list[int], scores: list[float] | None = None) -> Evaluation:
    return Evaluation(
        labels=("a", "b", "c"),
        names=tuple(map(str, range(len(true)))),
        true=np.array(true),
        predicted=np.array(predicted),
        scores=np.array(scores or [1.0] * len(true)),
        failed={},
    )


def test_accuracy_is_the_mean_of_the_recalls():
    # 4 of 4 of class a, 0 of 1 of class b, none of class c.
    result = evaluation([0, 0, 0, 0, 1], [0, 0, 0, 0, 2])
    assert repr(result.recalls) == "{'a': 1.0, 'b': 0.0}"
    assert result.accuracy == 0.5
    assert result.confusion.tolist() == [[4, 0, 0], [0, 0, 1], [0, 0, 0]]


def test_interval_holds_the_accuracy_and_narrows_with_data():
    few, many = evaluation([0, 0, 1, 1], [0, 1, 1, 0]), evaluation([0, 0, 1, 1] * 100, [0, 1, 1, 0] * 100)
    for result in (few, many):
        low, high = result.interval()
        assert low <= result.accuracy <= high
    assert np.diff(many.interval()) < 0.2 < np.diff(few.interval())
    assert evaluation([0, 1], [0, 1]).interval() == (1.0, 1.0)


@pytest.mark.parametrize(("level", "deviations"), [(0.95, 1.96), (0.5, 0.674)])
def test_interval_is_that_of_the_normal_limit(level, deviations):
    # The mean of two recalls, shares of 200 and of 800 independent tracks that are right: 0.5 and 0.9.
    result = evaluation([0] * 200 + [1] * 800, [0, 1] * 100 + [1] * 720 + [0] * 80)
    deviation = np.sqrt(0.5 * 0.5 / 200 + 0.9 * 0.1 / 800) / 2
    expected = 0.7 - deviations * deviation, 0.7 + deviations * deviation
    assert result.interval(level) == pytest.approx(expected, abs=0.003)
    assert result.to_dict()["interval_95"] == list(result.interval(0.95))


def test_what_was_measured_is_written_under_its_name():
    result = evaluation([0, 0, 1, 1], [0, 0, 1, 2], [1.0, 0.9, 0.8, 0.7])
    assert result.to_dict() == {
        "accuracy": 0.75,
        "interval_95": [0.5, 1.0],
        "recalls": {"a": 1.0, "b": 0.5},
        "not_measured": ["c"],
        "calibration_error": pytest.approx((0 + 0.1 + 0.2 + 0.7) / 4),
        "num_tracks": 4,
        "labels": ["a", "b", "c"],
        "confusion": [[2, 0, 0], [0, 1, 1], [0, 0, 0]],
        "failed": {},
    }
    accuracy, error = result.measurements("My Songs (2nd)", "test", "a command")
    assert (accuracy.metric_type, accuracy.value, error.metric_type, error.value) == ("accuracy", 0.75, "ece", 0.25)
    assert (accuracy.metric_name, error.dataset_type) == ("Class-normalised accuracy (2 of 3 classes)", "my-songs-2nd")
    assert (error.dataset_name, error.split, error.command) == ("My Songs (2nd)", "test", "a command")


def test_bins_weigh_as_much_as_they_hold():
    # Nine tracks of score 0.75 that are all right, one of score 0.25 that is wrong.
    assert evaluation([0] * 10, [0] * 9 + [1], [0.75] * 9 + [0.25]).calibration_error == pytest.approx(0.25)
    # Nine that are 0.15 too sure of themselves, one that is 0.55 too sure.
    scores, predicted = [0.95] * 10 + [0.55], [0] * 8 + [1] * 3
    assert evaluation([0] * 11, predicted, scores).calibration_error == pytest.approx((10 * 0.15 + 0.55) / 11)


def test_scores_of_different_bins_do_not_make_up_for_each_other():
    assert evaluation([0, 0], [0, 1], [0.55, 0.45]).calibration_error == pytest.approx(0.45)


def test_calibration_error_is_the_gap_between_score_and_hits():
    assert evaluation([0, 0], [0, 0], [1.0, 1.0]).calibration_error == 0
    assert evaluation([0, 0], [0, 1], [0.95, 0.95]).calibration_error == pytest.approx(0.45)


def test_files_are_classified_and_bad_ones_named(tiny_model, tone, tmp_path):
    import soundfile

    soundfile.write(tmp_path / "good.wav", tone, 24_000)
    (tmp_path / "bad.wav").write_text("no audio")
    files = [LabelledFile(tmp_path / name, "jazz") for name in ("good.wav", "bad.wav")]
    cache = EmbeddingCache(tmp_path / "cache", tiny_model.autoencoder)
    result = evaluate_embedded(tiny_model.head, tiny_model.labels, *embed_files(cache, files, tiny_model.labels, skip_bad=True))
    prediction = tiny_model.predict(tmp_path / "good.wav")
    assert result.names == ("good.wav",)
    assert tiny_model.labels[result.predicted[0]] == prediction.label
    assert result.scores[0] == pytest.approx(prediction.score)
    assert "bad.wav" in result.failed[str(tmp_path / "bad.wav")]
    json.dumps(result.to_dict())
    with pytest.raises(ConfigError, match="Class 'polka' is not among the classes"):
        embed_files(cache, [LabelledFile(tmp_path / "good.wav", "polka")], tiny_model.labels)
    with pytest.raises(ConfigError, match="None of the 1 files could be read"):
        embed_files(cache, files[1:], tiny_model.labels, skip_bad=True)


def test_classes_without_tracks_are_named_and_one_class_has_no_accuracy():
    two, one = evaluation([0, 0, 1], [0, 1, 1]), evaluation([0, 0], [0, 0])
    assert two.not_measured == ("c",)
    assert two.measurements("d", "test", "run")[0].metric_name == "Class-normalised accuracy (2 of 3 classes)"
    assert (one.accuracy, one.interval(), one.not_measured) == (None, None, ("b", "c"))
    assert one.mean_recall == 1.0
    assert [found.metric_type for found in one.measurements("d", "test", "run")] == ["ece"]
    assert json.loads(json.dumps(one.to_dict(), allow_nan=False))["interval_95"] is None


@pytest.mark.parametrize(("classes", "texts", "named"), [(3, 2, 3), (120, 0, 120), (900, 0, 300)])
def test_a_confusion_matrix_of_many_classes_stays_a_picture(classes, texts, named):
    labels = tuple(f"$species_{number}" for number in range(classes))
    both = np.arange(2)
    figure = Evaluation(labels, ("x", "y"), both, both, np.full(2, 0.5), {}).plot()
    axes = figure.axes[0]
    assert max(figure.get_size_inches()) < 24
    assert len(axes.texts) == texts
    assert len(axes.get_yticklabels()) == named
    assert f"{classes - 2} classes have no tracks" in axes.get_title()


def test_dollars_in_names_are_no_mathematics(tmp_path):
    both = np.arange(2)
    figure = Evaluation(("a$\\frac$b", "$^$"), ("x", "y"), both, both, np.full(2, 0.5), {}).plot(title="$_$ {")
    figure.savefig(tmp_path / "c.png", dpi=30)
    assert (tmp_path / "c.png").stat().st_size > 1000
