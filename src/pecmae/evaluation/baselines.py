"""What a prototype head is measured against: a free classifier on the same embeddings, and the simplest one.

Shapes: N segments, D width, C classes.
"""

import copy
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch

from pecmae.data.tracks import EmbeddedTracks
from pecmae.evaluation.tracks import Evaluation

# Segments that vote on the class of another.
NEIGHBOURS = 10
MLP_HIDDEN = 256
MLP_EPOCHS, MLP_PATIENCE = 60, 8
MLP_DECAYS = (1e-4, 1e-1)


class Classifier(Protocol):
    """Anything that scores embeddings."""

    def scores(self, z: np.ndarray) -> np.ndarray:
        """Scores [shape=(N, C)] of embeddings [shape=(N, D)]; they are averaged over a track."""
        ...


def evaluate_classifier(classifier: Classifier, tracks: EmbeddedTracks, labels: Sequence[str]) -> Evaluation:
    """Give each track the class of the highest score, averaged over its segments.

    Parameters
    ----------
    classifier : Classifier
    tracks : EmbeddedTracks
    labels : sequence of str
        Names of the classes.
    """
    averaged = tracks.average(torch.from_numpy(classifier.scores(tracks.z.numpy()))).numpy()  # (tracks, C)
    names = tracks.names or tuple(map(str, range(len(averaged))))
    predicted = averaged.argmax(1)
    return Evaluation(tuple(labels), names, tracks.track_labels.numpy(), predicted, averaged.max(1), {})


class Standardised:
    """Embeddings with mean 0 and standard deviation 1 in every dimension of the training data.

    Parameters
    ----------
    z : np.ndarray [shape=(N, D)]
    """

    def __init__(self, z: np.ndarray) -> None:
        self.mean, self.std = z.mean(0), np.maximum(z.std(0), 1e-6)

    def __call__(self, z: np.ndarray) -> np.ndarray:
        """Standardise `z` [shape=(N, D)]."""
        return (z - self.mean) / self.std


class NearestCentroid:
    """The class whose mean of standardised embeddings is the closest.

    Parameters
    ----------
    data : EmbeddedTracks
        Training segments; every class needs one.
    num_classes : int
        C.
    """

    def __init__(self, data: EmbeddedTracks, num_classes: int) -> None:
        self.standardised = Standardised(data.z.numpy())
        z, labels = self.standardised(data.z.numpy()), data.labels.numpy()
        self.centroids = np.stack([z[labels == label].mean(0) for label in range(num_classes)])  # (C, D)

    def scores(self, z: np.ndarray) -> np.ndarray:
        """Minus the squared distance to each centroid."""
        differences = self.standardised(z)[:, None] - self.centroids  # (N, C, D)
        return -np.square(differences).sum(-1)


class NearestNeighbours:
    """The classes of the nearest training segments, by standardised embeddings.

    Parameters
    ----------
    data : EmbeddedTracks
        Training segments.
    num_classes : int
        C.
    count : int
        Neighbours that are asked.
    """

    def __init__(self, data: EmbeddedTracks, num_classes: int, count: int = NEIGHBOURS) -> None:
        from sklearn.neighbors import KNeighborsClassifier

        self.standardised, self.num_classes = Standardised(data.z.numpy()), num_classes
        self.classifier = KNeighborsClassifier(min(count, len(data.z)))
        self.classifier.fit(self.standardised(data.z.numpy()), data.labels.numpy())

    def scores(self, z: np.ndarray) -> np.ndarray:
        """Share of the neighbours that are of each class."""
        found = np.zeros((len(z), self.num_classes), np.float32)
        found[:, self.classifier.classes_] = self.classifier.predict_proba(self.standardised(z))
        return found


class MLPBaseline:
    """A multi-layer perceptron: about what can be told of the classes from these embeddings.

    Parameters
    ----------
    data, validation : EmbeddedTracks
        Training segments; tracks that choose the epoch, the weight decay and the seed.
    num_classes : int
        C.
    seeds : sequence of int
        Of the initial weights and of the order of the data.
    hidden : int
        Width of the hidden layer.
    """

    def __init__(
        self,
        data: EmbeddedTracks,
        validation: EmbeddedTracks,
        num_classes: int,
        seeds: Sequence[int] = (0, 1),
        hidden: int = MLP_HIDDEN,
    ) -> None:
        self.hidden = hidden
        self.standardised = Standardised(data.z.numpy())
        self.num_classes = num_classes
        tries = [self._fit(data, validation, decay, seed) for decay in MLP_DECAYS for seed in seeds]
        self.validation_accuracy, self.network = max(tries, key=lambda found: found[0])

    @property
    def num_parameters(self) -> int:
        """Weights and biases of both layers."""
        return int(sum(values.size for values in (*self.network.coefs_, *self.network.intercepts_)))

    def _fit(self, data: EmbeddedTracks, validation: EmbeddedTracks, decay: float, seed: int) -> tuple[float, Any]:
        """The network of the best epoch, and its accuracy on the validation tracks."""
        # Imported here: scikit-learn costs a second that only fitting needs.
        from sklearn.neural_network import MLPClassifier

        network = MLPClassifier((self.hidden,), alpha=decay, random_state=seed)
        z, labels = self.standardised(data.z.numpy()), data.labels.numpy()
        names = tuple(map(str, range(self.num_classes)))
        best, kept, best_epoch = -1.0, None, 0
        for epoch in range(MLP_EPOCHS):
            network.partial_fit(z, labels, classes=np.arange(self.num_classes))
            self.network = network
            accuracy = evaluate_classifier(self, validation, names).mean_recall
            if accuracy > best:
                best, kept, best_epoch = accuracy, copy.deepcopy(network), epoch
            if epoch - best_epoch >= MLP_PATIENCE:
                break
        return best, kept

    def scores(self, z: np.ndarray) -> np.ndarray:
        """Probability of each class."""
        return np.asarray(self.network.predict_proba(self.standardised(z)), np.float32)
