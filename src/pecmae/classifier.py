"""What every model of this package answers with: an encoder of segments, and a prototype head over what it makes of them.

Shapes: S segments, D width, C classes, K prototypes per class, M prototypes.
"""

import html
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor, nn

from pecmae.audio.preparation import PREPARED, Preparation
from pecmae.audio.segments import AudioSource
from pecmae.autoencoder.embedding import SegmentEncoder, TrackEmbedding, embed_track, embed_tracks
from pecmae.errors import ConfigError, PecmaeError
from pecmae.prototypes.calibration import Calibration
from pecmae.prototypes.example_sounds import ExampleSounds
from pecmae.prototypes.explanations import Explanation, explanation_of
from pecmae.prototypes.head import PrototypeHead
from pecmae.prototypes.outputs import Prediction, prediction_of


class TrackClassifier(nn.Module):
    """An encoder of segments and a prototype head; `PECMAE` adds a decoder, by which prototypes become sound.

    Parameters
    ----------
    head : PrototypeHead
    labels : sequence of str
        Names of the classes, in the head's order.
    preparation : Preparation
        How sound is prepared: as it was when the head was fitted.
    calibration : Calibration, optional
        What is known of its answers; without it they have no probability.

    Raises
    ------
    ConfigError
        The labels do not fit the head.
    """

    def __init__(
        self,
        head: PrototypeHead,
        labels: Sequence[str],
        preparation: Preparation = PREPARED,
        calibration: Calibration | None = None,
    ) -> None:
        super().__init__()
        if len(labels) != head.config.num_classes or len(set(labels)) != len(labels):
            raise ConfigError(
                f"{len(labels)} labels ({len(set(labels))} different) for {head.config.num_classes} classes; "
                "give each class one name of its own."
            )
        self.head = head
        self.labels = tuple(labels)
        self.preparation = preparation
        self.calibration = calibration
        # What was done to its prototypes by hand, see `pecmae.editing`; None for a head as it was fitted.
        self.edit_log: Mapping[str, Any] | None = None
        # Recordings that stand for the prototypes of a model without a decoder to make them heard; None: it has one.
        self.example_sounds: ExampleSounds | None = None
        # Where it was loaded from.
        self._directory: Path | None = None

    @property
    def encoder(self) -> SegmentEncoder:
        """What makes z of segments."""
        raise NotImplementedError

    @property
    def directory(self) -> Path | None:
        """Where it was loaded from; None for a model that was made here."""
        return self._directory

    @property
    def sampling_rate(self) -> int:
        """Of the sound that it takes and makes, in Hz."""
        return self.encoder.sampling_rate

    @property
    def segment_seconds(self) -> float:
        """Length of the segments that it tells apart."""
        return self.encoder.segment_samples / self.encoder.sampling_rate

    @overload
    def predict(
        self,
        source: list[AudioSource] | tuple[AudioSource, ...],
        *,
        sampling_rate: int | None = None,
        batch_size: int | None = None,
    ) -> list[Prediction]: ...

    @overload
    def predict(
        self, source: AudioSource, *, sampling_rate: int | None = None, batch_size: int | None = None
    ) -> Prediction: ...

    def predict(
        self, source: Any, *, sampling_rate: int | None = None, batch_size: int | None = None
    ) -> Prediction | list[Prediction]:
        """Classify a track, or each of a list of them.

        Parameters
        ----------
        source : path, array [shape=(samples,) or (channels, samples)], or a list of either
        sampling_rate : int, optional
            Of arrays, in Hz: needed with them.
        batch_size : int, optional
            Segments that are encoded together: what suits the device by default, halved when memory runs out.

        Returns
        -------
        Prediction, or list of Prediction for a list

        Raises
        ------
        FileNotFoundError, AudioError
            There is no such file; or it holds no usable audio.
        """
        if isinstance(source, list | tuple):
            found = self.predict_many(source, sampling_rate=sampling_rate, batch_size=batch_size)
            return [_unless_error(prediction) for prediction in found]
        return self._predict(source, sampling_rate, batch_size)

    def predict_many(
        self, sources: Iterable[AudioSource], *, sampling_rate: int | None = None, batch_size: int | None = None
    ) -> Iterator[Prediction | PecmaeError | OSError]:
        """Classify many tracks as they come: segments of different tracks share batches, and the next ones are read meanwhile.

        Parameters are those of `predict`, for each track; sources may be without end.

        Yields
        ------
        Prediction, or the exception that says what is wrong with a track
            One for each source, in order, as soon as it is known.
        """
        for track in self.embed_many(sources, sampling_rate=sampling_rate, batch_size=batch_size):
            yield track if isinstance(track, Exception) else self.classify(track)

    def embed_many(
        self, sources: Iterable[AudioSource], *, sampling_rate: int | None = None, batch_size: int | None = None
    ) -> Iterator[TrackEmbedding | PecmaeError | OSError]:
        """`embed_track` of many tracks as they come; parameters and errors as for `predict_many`."""
        return embed_tracks(
            self.encoder, sources, sampling_rate=sampling_rate, batch_size=batch_size, preparation=self.preparation
        )

    def embed(self, source: AudioSource, *, sampling_rate: int | None = None, batch_size: int | None = None) -> np.ndarray:
        """z of every segment of a track [shape=(S, D)]; parameters and errors as for `predict`, one track only."""
        return self.embed_track(source, sampling_rate=sampling_rate, batch_size=batch_size).z.numpy()

    def embed_track(
        self, source: AudioSource, *, sampling_rate: int | None = None, batch_size: int | None = None
    ) -> TrackEmbedding:
        """`embed`, together with where each segment lies in the track."""
        return self._embed(source, sampling_rate, batch_size)

    def prototype_indices(self, labels: str | Sequence[str] | None = None, prototype: int | None = None) -> list[int]:
        """Rows of the named classes' prototypes among all M; parameters and errors as for `sonify`."""
        names = self.labels if labels is None else (labels,) if isinstance(labels, str) else labels
        if not names:
            raise ValueError("labels is empty; name a class, or leave it out for all.")
        if unknown := [name for name in names if name not in self.labels]:
            raise ValueError(f"{unknown[0]!r} is not a class of this model; choose from {', '.join(self.labels)}.")
        chosen = [self.head.config.rows_of(self.labels.index(name)) for name in names]
        if prototype is None:
            return [row for rows in chosen for row in rows]
        fewest = min(map(len, chosen))
        if not 0 <= prototype < fewest:
            raise ValueError(f"prototype={prototype} does not exist; each class has {fewest}, numbered from 0.")
        return [rows[prototype] for rows in chosen]

    def prototype_name(self, row: int) -> str:
        """Class of a prototype (a row among all M) and its number within it, such as "jazz 3"."""
        label = int(self.head.prototype_labels[row])
        return f"{self.labels[label]} {row - self.head.config.rows_of(label).start}"

    def explain(self, source: AudioSource, *, sampling_rate: int | None = None, batch_size: int | None = None) -> Explanation:
        """Tell what each prototype gave to each class's logit; parameters and errors as for `predict`, one track only."""
        return explanation_of(self.head, self.labels, self._predict(source, sampling_rate, batch_size))

    def _embed(self, source: AudioSource, sampling_rate: int | None, batch_size: int | None) -> TrackEmbedding:
        options: dict[str, Any] = {"sampling_rate": sampling_rate, "batch_size": batch_size}
        return embed_track(self.encoder, source, preparation=self.preparation, **options)

    def _predict(self, source: AudioSource, sampling_rate: int | None, batch_size: int | None) -> Prediction:
        return self.classify(self._embed(source, sampling_rate, batch_size))

    def classify(self, track: "TrackEmbedding | Tensor | np.ndarray", *, duration: float = float("nan")) -> Prediction:
        """Classify a track from the embeddings of its segments: logits are averaged over segments by their weights.

        Parameters
        ----------
        track : TrackEmbedding, or Tensor or np.ndarray [shape=(S, D)]
            What `embed_track` or `embed` returns; segments of z alone are worth the same.
        duration : float
            Of the track in seconds, where z alone is given.

        Raises
        ------
        ValueError
            z has another shape, or holds NaN or infinity.
        """
        if isinstance(track, TrackEmbedding):
            return prediction_of(self.head, self.labels, track, self.calibration)
        z = torch.as_tensor(track).float()
        count = z.shape[0] if z.ndim else 0
        samples, rate = self._segment
        alike = TrackEmbedding(
            z,
            offsets=samples * np.arange(count),
            num_samples=samples * count,
            sampling_rate=rate,
            weights=np.ones(count, np.float32),
            audible_duration=duration,
        )
        return replace(prediction_of(self.head, self.labels, alike, self.calibration), duration=duration)

    @property
    def _segment(self) -> tuple[int, int]:
        """Samples of a segment, and their rate."""
        return self.encoder.segment_samples, self.encoder.sampling_rate

    def __repr__(self) -> str:
        where = f", from {self.directory}" if self.directory else ""
        per_class = self.head.config.prototypes_per_class
        count = f"{per_class} prototypes each" if isinstance(per_class, int) else f"{sum(per_class)} prototypes"
        return f"{type(self).__name__}: {len(self.labels)} classes, {count}{where}\n  {', '.join(self.labels)}"

    def _repr_html_(self) -> str:
        name, _, rest = repr(self).partition(": ")
        return f"<b>{name}</b>, " + html.escape(rest.replace("\n", ": "))


def _unless_error(prediction: Prediction | PecmaeError | OSError) -> Prediction:
    if isinstance(prediction, Exception):
        raise prediction
    return prediction
