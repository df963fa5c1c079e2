"""A model that is called as transformers' audio-classification pipelines are."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np

from pecmae.errors import PecmaeError
from pecmae.hub.download import DownloadOptions
from pecmae.model import PECMAE
from pecmae.prototypes.outputs import Prediction

Answer = list[dict[str, Any]]  # [{"score": 0.9, "label": "jazz"}, …], the best first
TOP_K = 5


class AudioClassificationPipeline:
    """Answers as `transformers.pipeline("audio-classification")` does, in the same shapes.

    Parameters
    ----------
    model : PECMAE
    top_k : int
        How many classes an answer names; all of a model that has fewer.
    """

    task = "audio-classification"

    def __init__(self, model: PECMAE, *, top_k: int = TOP_K) -> None:
        self.model, self.top_k = model, _checked(top_k)

    def __call__(self, inputs: Any, *, top_k: int | None = None) -> Answer | list[Answer]:
        """Classify one track, or each of several.

        Parameters
        ----------
        inputs : path, np.ndarray, mapping, or an iterable of them
            Samples [shape=(samples,) or (channels, samples)] alone are at the model's `sampling_rate`, as in transformers; a
            mapping holds `raw` or `array` and `sampling_rate` (Hz), or a `path`, as a row of a Hugging Face data set does.
        top_k : int, optional
            As for the class.

        Returns
        -------
        list of dict, or a list of such lists for several tracks
            `score` and `label`, the best first.

        Raises
        ------
        FileNotFoundError, AudioError
            There is no such file; or it holds no usable audio.
        ValueError
            A mapping has none of these entries.
        """
        count = self.top_k if top_k is None else _checked(top_k)
        if isinstance(inputs, str | os.PathLike | np.ndarray | Mapping):
            return next(self._answers([inputs], count))
        return list(self._answers(inputs, count))

    def _answers(self, tracks: Iterable[Any], count: int) -> Iterator[Answer]:
        for source, rate in map(self._source, tracks):
            yield _answer(self.model.predict(source, sampling_rate=rate), count)

    def _source(self, track: Any) -> tuple[Any, int | None]:
        if not isinstance(track, Mapping):
            return track, None if isinstance(track, str | os.PathLike) else self.model.sampling_rate
        samples = track.get("raw", track.get("array"))
        if samples is not None:
            if "sampling_rate" not in track:
                raise ValueError("a mapping with samples needs their 'sampling_rate' too, in Hz.")
            return np.asarray(samples), track["sampling_rate"]
        if track.get("path"):
            return Path(track["path"]), None
        raise ValueError(
            f"a track needs 'raw' or 'array' with 'sampling_rate', or a 'path'; got {', '.join(map(repr, track))}."
        )


def pipeline(
    task: Literal["audio-classification"] = "audio-classification",
    model: "str | os.PathLike[str] | PECMAE | None" = None,
    *,
    top_k: int = TOP_K,
    device: str | None = None,
    dtype: str = "auto",
    **options: Unpack[DownloadOptions],
) -> AudioClassificationPipeline:
    """Return a pipeline as `transformers.pipeline` does.

    Parameters
    ----------
    task : "audio-classification"
    model : PECMAE, str or path, optional
        A model, or what `PECMAE.from_pretrained` takes; the embedded one by default.
    top_k : int
        How many classes an answer names.
    device, dtype, **options
        As for `PECMAE.from_pretrained`.

    Raises
    ------
    ValueError
        Another task.
    """
    if task != AudioClassificationPipeline.task:
        raise ValueError(f"task={task!r} is not one of this package; it has {AudioClassificationPipeline.task!r} alone.")
    loaded = model if isinstance(model, PECMAE) else PECMAE.from_pretrained(model, device=device, dtype=dtype, **options)
    return AudioClassificationPipeline(loaded, top_k=top_k)


def _answer(prediction: Prediction | PecmaeError | OSError, count: int) -> Answer:
    if isinstance(prediction, Exception):
        raise prediction
    return [{"score": score, "label": label} for label, score in list(prediction.scores.items())[:count]]


def _checked(top_k: int) -> int:
    if top_k < 1:
        raise ValueError(f"top_k={top_k} must be at least 1.")
    return top_k
