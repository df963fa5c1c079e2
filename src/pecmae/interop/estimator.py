"""The prototype head as an estimator of scikit-learn.

Shapes: N samples, D features, C classes, M prototypes.
"""

import copy
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from pecmae.data.tracks import EmbeddedTracks
from pecmae.interop.embeddings import EMBEDDING_SETTINGS
from pecmae.prototypes.config import PrototypeHeadConfig
from pecmae.prototypes.fitting import CLASS_LOSS_WEIGHT, fit_head


class PrototypeClassifier(ClassifierMixin, BaseEstimator):
    """Classify samples by their similarity to a few learned points of each class.

    Features on very different scales are best standardised before, as for any method of distances
    (``make_pipeline(StandardScaler(), PrototypeClassifier())``).

    Parameters
    ----------
    prototypes_per_class : int
        K; a class with fewer samples gets as many as it has.
    adaptor : bool
        Whether prototypes pass through a small network of their own (PECMAE) or are used as they are (PECMAE-NA, the default
        here). The network's normalisation over the features suits wide embeddings; a table of a few features it squeezes flat.
    kernel_scale : float
        s of the similarity exp(-s · distance), where the distance is the mean of the squared differences.
    temperature : float
        What the loss divides logits by.
    class_loss_weight : float
        λ, the share of the classification loss, 0 to 1; the rest draws prototypes and samples together.
    steps, batch_size, learning_rate
        Of training.
    random_state : int
        Of k-means and training.

    Attributes
    ----------
    classes_ : np.ndarray [shape=(C,)]
    head_ : pecmae.PrototypeHead
    prototypes_ : np.ndarray [shape=(M, D)]
        In the space of the samples.
    prototype_classes_ : np.ndarray [shape=(M,)]
        The class that each speaks for.
    n_features_in_ : int
    """

    def __init__(
        self,
        prototypes_per_class: int = 10,
        *,
        adaptor: bool = False,
        kernel_scale: float = 1.0,
        temperature: float = 0.1,
        class_loss_weight: float = CLASS_LOSS_WEIGHT,
        steps: int = EMBEDDING_SETTINGS.steps,
        batch_size: int = EMBEDDING_SETTINGS.batch_size,
        learning_rate: float = EMBEDDING_SETTINGS.learning_rate,
        random_state: int = 0,
    ) -> None:
        self.prototypes_per_class = prototypes_per_class
        self.adaptor = adaptor
        self.kernel_scale = kernel_scale
        self.temperature = temperature
        self.class_loss_weight = class_loss_weight
        self.steps = steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> Self:  # scikit-learn's own name
        """Learn prototypes from samples [shape=(N, D)] and their classes [shape=(N,)].

        Raises
        ------
        ValueError
            There are fewer than two classes or two features, or an option is out of range.
        """
        X, y = validate_data(self, X, y, dtype=np.float64, ensure_min_features=2, ensure_min_samples=2)
        check_classification_targets(y)
        self.classes_, numbers = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y holds one class alone ({self.classes_[0]!r}); a classifier needs at least two.")
        samples = torch.tensor(X, dtype=torch.float32)
        data = EmbeddedTracks(samples, torch.arange(len(samples)), torch.from_numpy(numbers.astype(np.int64)))
        counts = tuple(min(self.prototypes_per_class, int(count)) for count in np.bincount(numbers))
        config = PrototypeHeadConfig(
            embedding_dim=X.shape[1],
            num_classes=len(self.classes_),
            prototypes_per_class=counts,
            adaptor=self.adaptor,
            kernel_scale=self.kernel_scale,
            temperature=self.temperature,
        )
        settings = replace(
            EMBEDDING_SETTINGS,
            steps=self.steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            seed=self.random_state,
        )
        self.head_, _ = fit_head(data, config, settings, class_loss_weight=self.class_loss_weight)
        # Answers in double precision do not depend on which samples they are asked for together.
        self._exact = copy.deepcopy(self.head_).double()
        self.prototypes_ = self.head_.projected_prototypes().detach().numpy()
        self.prototype_classes_ = self.classes_[self.head_.prototype_labels.numpy()]
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Logits of each class [shape=(N, C)]; of two classes, by how much the second exceeds the first [shape=(N,)]."""
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def predict_proba(self, X: Any) -> np.ndarray:
        """Scores of each class, which sum to 1 [shape=(N, C)]; no calibrated probabilities."""
        logits = self._logits(X)
        return self.head_.scores(torch.from_numpy(logits)).numpy()

    def predict(self, X: Any) -> np.ndarray:
        """The class of each sample [shape=(N,)]."""
        best = self._logits(X).argmax(1)
        return np.asarray(self.classes_[best])

    def similarities(self, X: Any) -> np.ndarray:
        """Of each sample to each prototype [shape=(N, M)], in (0, 1]."""
        samples = self._samples(X)
        with torch.no_grad():
            return self._exact.similarities(samples).numpy()

    def _samples(self, X: Any) -> torch.Tensor:
        check_is_fitted(self)
        return torch.tensor(validate_data(self, X, dtype=np.float64, reset=False))

    def _logits(self, X: Any) -> np.ndarray:
        samples = self._samples(X)
        with torch.no_grad():
            return self._exact(samples).numpy()
