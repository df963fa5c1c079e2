"""The head as an estimator of scikit-learn, by scikit-learn's own checks."""

import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.utils.estimator_checks import check_estimator

from pecmae.interop import PrototypeClassifier

QUICK = {"steps": 60, "batch_size": 64, "learning_rate": 3e-2}


def test_it_passes_the_checks_of_scikit_learn():
    results = check_estimator(PrototypeClassifier(**QUICK), on_fail=None)
    assert len(results) > 40
    assert [result["check_name"] for result in results if result["status"] not in ("passed", "skipped")] == []


def test_its_prototypes_lie_in_the_classes_they_speak_for():
    places = np.array([[0.0, 0, 0], [6, 0, 0], [0, 6, 0]])
    samples, numbers = make_blobs([50, 50, 50], 3, centers=places, cluster_std=0.5, random_state=0)
    names = np.array(["a", "b", "c"])[numbers]
    found = PrototypeClassifier(2, **QUICK).fit(samples, names)
    assert found.score(samples, names) == 1
    assert found.prototype_classes_.tolist() == ["a", "a", "b", "b", "c", "c"]
    assert np.abs(found.prototypes_ - places.repeat(2, 0)).max() < 1.5
    similar = found.similarities(samples)
    assert similar.shape == (150, 6)
    assert (found.prototype_classes_[similar.argmax(1)] == names).all()
    assert found.predict_proba(samples).sum(1) == pytest.approx(1)
    assert (found.decision_function(samples).argmax(1) == numbers).all()


def test_a_small_class_gets_as_many_prototypes_as_it_has_samples():
    samples, numbers = make_blobs([30, 3], 4, random_state=1)
    found = PrototypeClassifier(5, **QUICK).fit(samples, numbers)
    assert np.bincount(found.prototype_classes_).tolist() == [5, 3]
