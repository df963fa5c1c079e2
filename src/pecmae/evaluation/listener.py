"""An independent listener: a classifier of log-mel statistics that knows nothing of the autoencoder or its z.

What it says of a sonified prototype is about the sound, not about how the model reads it.

Shapes: B batch, N samples, S segments, F statistics, C classes.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pecmae.audio.segments import iter_segments
from pecmae.autoencoder.model import Autoencoder
from pecmae.core.arrays import AppendableArray
from pecmae.core.progress import progress_bar
from pecmae.data.collection import LabelledFile
from pecmae.data.tracks import EmbeddedTracks, short_names
from pecmae.data.waveforms import files_key
from pecmae.evaluation.baselines import Standardised, evaluate_classifier
from pecmae.training.spectral_loss import SpectralLoss

SEGMENT_SECONDS = 4.0
# A remainder shorter than this is not heard.
SHORTEST_SECONDS = 1.0
WINDOW = 1024  # one of SpectralLoss's
# The level is set to this, so that a listener goes by timbre and movement alone.
LEVEL_RMS = 0.1
# Mel amplitude below which nothing is told apart: about 50 dB below a tone of that level.
FLOOR = 2e-4
# Inverse strengths of the logistic regression's penalty that validation chooses from.
STRENGTHS = (0.001, 0.01, 0.1)
FORMAT_VERSION = 1


class LogMelStatistics:
    """Means and spreads of log-mel bands and of their changes, for whole waveforms.

    Parameters
    ----------
    sampling_rate : int
        Of the waveforms, in Hz.
    """

    def __init__(self, sampling_rate: int) -> None:
        self.sampling_rate = sampling_rate
        self._spectra = SpectralLoss(sampling_rate)

    @property
    def size(self) -> int:
        """Statistics of a sound, F."""
        return 4 * self._spectra.get_buffer(f"bank_{WINDOW}").shape[1]

    @torch.no_grad()
    def __call__(self, wav: Tensor) -> Tensor:
        """Statistics [shape=(B, F)] of `wav` [shape=(B, N)]: mean and deviation of bands, then of their absolute changes."""
        rms = wav.square().mean(1, keepdim=True).sqrt()
        bands = (self._spectra.mel(wav * (LEVEL_RMS / rms.clamp_min(1e-6)), WINDOW) + FLOOR).log()  # (B, frames, bands)
        changes = bands.diff(dim=1).abs()
        return torch.cat([value for part in (bands, changes) for value in (part.mean(1), part.std(1))], 1)


def track_statistics(
    files: Sequence[LabelledFile],
    labels: Sequence[str],
    folder: Path,
    sampling_rate: int,
    *,
    through: Callable[[Tensor], Tensor] | None = None,
    key: str = "",
    segments: int | None = None,
    progress: bool = False,
) -> EmbeddedTracks:
    """Statistics of the segments of labelled files, computed once.

    Parameters
    ----------
    files : sequence of LabelledFile
    labels : sequence of str
        Names of the classes, in the order of their numbers.
    folder : Path
        Cache; what was cut off continues.
    sampling_rate : int
        To listen at, in Hz.
    through : callable, optional
        What the waveforms (B, N) go through first, such as a codec.
    key : str
        A hash of all that `through` depends on.
    segments : int, optional
        Of each file, spread over it; all of them by default.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    EmbeddedTracks
        With the statistics in the place of z.
    """
    statistics = LogMelStatistics(sampling_rate)
    name = files_key(files, FORMAT_VERSION, sampling_rate, key, segments)
    array = AppendableArray(folder / f"log-mel-{name}", (statistics.size,), "float32")
    missing = files[len(array.counts) :]
    if missing:
        array.fill(_rows(statistics, progress_bar(missing, "listening", progress), through, segments))  # type: ignore[arg-type]
    return EmbeddedTracks(
        torch.from_numpy(np.array(array.rows())),
        torch.from_numpy(np.repeat(np.arange(len(files)), array.counts)),
        torch.tensor([labels.index(file.label) for file in files]),
        short_names([file.path for file in files]),
    )


def _rows(
    statistics: LogMelStatistics,
    files: Sequence[LabelledFile],
    through: Callable[[Tensor], Tensor] | None,
    segments: int | None,
) -> Iterator[np.ndarray]:
    """Statistics of each file [shape=(S, F)]."""
    for file in files:
        waves = file_segments(file.path, SEGMENT_SECONDS, statistics.sampling_rate)
        if segments is not None:
            waves = spread(waves, segments)
        heard = waves if through is None else [through(wave[None])[0] for wave in waves]
        yield torch.cat([statistics(wave[None]) for wave in heard]).numpy()


def spread(items: Sequence[Tensor], count: int) -> list[Tensor]:
    """`count` of the items, evenly spaced; all of them where there are fewer."""
    count = min(count, len(items))
    return [items[(2 * place + 1) * len(items) // (2 * count)] for place in range(count)]


def file_segments(path: Path, seconds: float, sampling_rate: int) -> list[Tensor]:
    """Segments of a file one after the other, the last one as long as it is; one that is very short is left out."""
    samples, shortest = round(seconds * sampling_rate), round(SHORTEST_SECONDS * sampling_rate)
    found = iter_segments(path, segment_samples=samples, target_rate=sampling_rate, minimum_samples=shortest)
    return [torch.from_numpy(segment.samples[: segment.length]) for segment in found]


class Listener:
    """A logistic regression on standardised log-mel statistics.

    Parameters
    ----------
    data, validation : EmbeddedTracks
        From `track_statistics`; the second chooses the strength of the penalty.
    labels : sequence of str
        Names of the classes.
    sampling_rate : int
        Of what it hears, in Hz.
    """

    def __init__(self, data: EmbeddedTracks, validation: EmbeddedTracks, labels: Sequence[str], sampling_rate: int) -> None:
        # Imported here: scikit-learn costs a second that only fitting needs.
        from sklearn.linear_model import LogisticRegression

        self.labels = tuple(labels)
        self.statistics = LogMelStatistics(sampling_rate)
        self.standardised = Standardised(data.z.numpy())
        z = self.standardised(data.z.numpy())
        best = -1.0
        for strength in STRENGTHS:
            self.regression = LogisticRegression(C=strength, max_iter=300).fit(z, data.labels.numpy())
            accuracy = evaluate_classifier(self, validation, labels).mean_recall
            if accuracy > best:
                best, kept = accuracy, self.regression
        self.regression = kept

    def scores(self, z: np.ndarray) -> np.ndarray:
        """Probability of each class [shape=(B, C)] for statistics [shape=(B, F)]."""
        return np.asarray(self.regression.predict_proba(self.standardised(z)), np.float32)

    def hear(self, waves: np.ndarray) -> np.ndarray:
        """Class number of each sound [shape=(B,)], from samples [shape=(B, N)]."""
        return self.scores(self.statistics(torch.from_numpy(waves)).numpy()).argmax(1)


def through_codec(autoencoder: Autoencoder) -> Callable[[Tensor], Tensor]:
    """What waveforms (B, N) sound like after the codec alone, without diffusion."""

    @torch.no_grad()
    def pass_through(wav: Tensor) -> Tensor:
        decoded = autoencoder.features_to_wav(autoencoder.extract_features(wav)).float().cpu()
        return decoded[:, : wav.shape[1]]

    return pass_through
