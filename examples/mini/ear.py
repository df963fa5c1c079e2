"""Where sound loses its class, for an ear that is not the model's, and where it loses its pulse.

    python examples/mini/ear.py CLIPS [--musicnn MSD_musicnn.npz] [--model MODEL] [--num-inference-steps N] [--guidance-scale S]

A linear probe learns from segments of the songs in CLIPS/LABEL/… (six folds by song) and names the class of segments of other
songs: of each as it is, of its copy through the codec alone, and of what the diffusion decoder makes of its z. A probe of all
songs names the class of every prototype's sound. The features are MusiCNN's (see musicnn.py), and the log-mel statistics of the
package.

Pulse is the highest normalised autocorrelation of onset strength at 0.25 to 1.2 s, of white noise 0.13.

Shapes: S segments, N samples.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from musicnn import MusiCNN
from torch import Tensor
from torch.nn import functional as F

from pecmae import PECMAE
from pecmae.data.collection import LabelledFile
from pecmae.data.load import load_collection
from pecmae.errors import PecmaeError
from pecmae.evaluation.listener import LogMelStatistics, file_segments, spread, through_codec

FOLDS = 6
BATCH = 16
STAGES = ("clip", "codec", "decoded")
# Classes whose music is led by drums.
DRUM_LED = ("disco", "electronic", "hiphop", "metal", "pop", "reggae", "rock")
# Of onset strength, in seconds.
SHORTEST_BEAT, LONGEST_BEAT = 0.25, 1.2
ONSET_FFT, ONSET_HOP = 1024, 256

Features = Callable[[Tensor], np.ndarray]
"""Features (S, F) of sounds (S, N)."""


@dataclass(frozen=True)
class Segments:
    """Segments of labelled songs."""

    waves: Tensor  # (S, N)
    classes: np.ndarray  # (S,) numbers
    songs: np.ndarray  # (S,) numbers

    @classmethod
    def of(cls, files: Sequence[LabelledFile], labels: Sequence[str], per_song: int, model: PECMAE) -> "Segments":
        """Segments spread over each song; one that is shorter than a segment ends in silence."""
        config = model.autoencoder.config
        waves, classes, songs = [], [], []
        for song, file in enumerate(files):
            found = file_segments(file.path, config.segment_seconds, config.sampling_rate)
            whole = [wave for wave in found if len(wave) == config.segment_samples] or found[:1]
            for wave in spread(whole, per_song):
                waves.append(F.pad(wave, (0, config.segment_samples - len(wave))))
                classes.append(labels.index(file.label))
                songs.append(song)
        return cls(torch.stack(waves), np.array(classes), np.array(songs))


def log_mel_features(sampling_rate: int) -> Features:
    """The statistics that the package's own listener goes by."""
    statistics = LogMelStatistics(sampling_rate)
    return lambda waves: np.concatenate([statistics(part).numpy() for part in waves.split(BATCH)])


def musicnn_features(weights: Path, sampling_rate: int) -> Features:
    """MusiCNN's, which learned from real music."""
    network = MusiCNN(weights)
    return lambda waves: np.stack([network.features(wave, sampling_rate) for wave in waves.numpy()])


@torch.inference_mode()
def stages_of(model: PECMAE, waves: Tensor, **options: Any) -> dict[str, Tensor]:
    """The segments as they are, through the codec, and decoded from their z; by `STAGES`, each (S, N)."""
    codec, decoded = [], []
    generator, through = torch.Generator().manual_seed(0), through_codec(model.autoencoder)
    for part in waves.split(BATCH):
        codec.append(through(part))
        sound = model.autoencoder.decode(model.autoencoder.encode(part), generator=generator, **options)
        decoded.append(sound.float().cpu()[:, : waves.shape[1]])
    return dict(zip(STAGES, (waves, torch.cat(codec), torch.cat(decoded)), strict=True))


def heard(features: Features, stages: dict[str, Tensor], segments: Segments, sounds: Tensor) -> dict[str, Any]:
    """Share of sounds that a probe on features names right at each stage, and of the sounds of prototypes, class-major."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def probe(rows: np.ndarray) -> Any:
        fitted = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=3000))
        return fitted.fit(found["clip"][rows], segments.classes[rows])

    found = {name: features(waves) for name, waves in stages.items()}
    right = {name: np.zeros(len(segments.classes), bool) for name in stages}
    for train, test in GroupKFold(FOLDS).split(segments.classes, segments.classes, segments.songs):
        listener = probe(train)
        for name in stages:
            right[name][test] = listener.predict(found[name][test]) == segments.classes[test]
    classes = np.unique(segments.classes)
    own = classes.repeat(len(sounds) // len(classes))
    shares = {name: float(hits.mean()) for name, hits in right.items()}
    everything = probe(np.arange(len(segments.classes)))
    return shares | {"prototypes": float((everything.predict(features(sounds)) == own).mean())}


def pulse(waves: Tensor, sampling_rate: int) -> np.ndarray:
    """Highest normalised autocorrelation of onset strength at 0.25 to 1.2 s of each sound [shape=(S,)]."""
    window = torch.hann_window(ONSET_FFT)
    spectra = torch.stft(waves, ONSET_FFT, ONSET_HOP, window=window, return_complex=True).abs()  # (S, bins, frames)
    onsets = (100 * spectra).log1p().diff(dim=2).clamp_min(0).sum(1)
    onsets = (onsets - onsets.mean(1, keepdim=True)).numpy()
    beats = slice(int(SHORTEST_BEAT * sampling_rate / ONSET_HOP), int(LONGEST_BEAT * sampling_rate / ONSET_HOP))
    correlations = [np.correlate(row, row, "full")[len(row) - 1 :] for row in onsets]
    return np.array([row[beats].max() / (row[0] + 1e-9) for row in correlations])


def measure(
    model: PECMAE,
    files: Sequence[LabelledFile],
    features: dict[str, Features],
    *,
    per_song: int,
    sounds: Tensor,
    **options: Any,
) -> dict[str, Any]:
    """All that this file measures, as plain values.

    Parameters
    ----------
    model : PECMAE
    files : sequence of LabelledFile
        Songs of every class of the model.
    features : dict
        By the name of the ear.
    per_song : int
        Segments of each song.
    sounds : Tensor [shape=(M, N)]
        Of the prototypes, class-major.
    **options
        Of `Autoencoder.decode`.
    """
    segments = Segments.of(files, model.labels, per_song, model)
    stages = stages_of(model, segments.waves, **options)
    drums = np.isin(segments.classes, [index for index, label in enumerate(model.labels) if label in DRUM_LED])
    own = np.arange(len(model.labels)).repeat(len(sounds) // len(model.labels))
    drum_sounds = np.isin(own, np.unique(segments.classes[drums]))
    pulses = {name: pulse(waves, model.sampling_rate)[drums] for name, waves in stages.items()}
    pulses["prototypes"] = pulse(sounds, model.sampling_rate)[drum_sounds]
    return {
        "num_segments": len(segments.classes),
        "num_songs": len(np.unique(segments.songs)),
        "chance": 1 / len(model.labels),
        "heard": {name: heard(each, stages, segments, sounds) for name, each in features.items()},
        "pulse": {name: float(values.mean()) for name, values in pulses.items()} if drums.any() else None,
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, help="folder with one folder of songs for each class of the model")
    parser.add_argument("--musicnn", type=Path, metavar="NPZ", help="weights of MusiCNN (default: log-mel statistics alone)")
    parser.add_argument("--model", help="model directory, name or Hub id (default: the embedded pecmae-mini)")
    parser.add_argument("--per-song", type=int, default=2, help="segments of each song (default: 2)")
    parser.add_argument("--num-inference-steps", type=int, help="of decoding (default: the model's)")
    parser.add_argument("--guidance-scale", type=float, help="of decoding (default: the model's)")
    args = parser.parse_args(argv)
    given = {"num_inference_steps": args.num_inference_steps, "guidance_scale": args.guidance_scale}
    options = {name: value for name, value in given.items() if value is not None}
    try:
        model = PECMAE.from_pretrained(args.model, dtype="float32")
        features = {"log-mel": log_mel_features(model.sampling_rate)}
        if args.musicnn:
            features["MusiCNN"] = musicnn_features(args.musicnn, model.sampling_rate)
        sounds = torch.from_numpy(model.sonify(seed=0, **options))
        clips = load_collection(args.clips).clips
        print(json.dumps(measure(model, clips, features, per_song=args.per_song, sounds=sounds, **options), indent=1))
    except (PecmaeError, FileNotFoundError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
