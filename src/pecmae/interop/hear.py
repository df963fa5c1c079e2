"""The interface of HEAR (Turian et al. 2022, "HEAR: Holistic Evaluation of Audio Representations"), so that its tasks run on z.

    import pecmae.interop.hear as hear
    model = hear.load_model()
    z = hear.get_scene_embeddings(audio, model)

`audio` are sounds of equal length at the model's `sample_rate`. The interface knows four rates; 24 kHz, which the model works
at, is none of them, so that sounds are taken at 48 kHz by default, and at any of the four if `load_model` is told.
"""

import soxr
import torch
from torch import Tensor, nn

from pecmae.model import PECMAE

SAMPLE_RATES = (16_000, 22_050, 44_100, 48_000)
HOP_MS = 1000.0  # between the moments of timestamp embeddings; the segment around a moment is longer than that
_BATCH = 16


class HearModel(nn.Module):
    """What `load_model` returns: the sizes that HEAR asks for, around an autoencoder.

    Parameters
    ----------
    model : PECMAE
    sample_rate : int
        At which sounds come, in Hz.
    """

    def __init__(self, model: PECMAE, sample_rate: int) -> None:
        super().__init__()
        if sample_rate not in SAMPLE_RATES:
            known = ", ".join(map(str, SAMPLE_RATES))
            raise ValueError(f"sample_rate={sample_rate} is none of HEAR's; choose one of {known} Hz.")
        self.autoencoder, self.preparation = model.autoencoder, model.preparation
        self.sample_rate = sample_rate
        self.scene_embedding_size = self.timestamp_embedding_size = model.autoencoder.config.embedding_dim

    def forward(self, segments: Tensor, num_samples: Tensor) -> Tensor:
        """z [shape=(B, D)] of segments [shape=(B, N)] at the autoencoder's rate, with so many real samples [shape=(B,)]."""
        parts = zip(segments.split(_BATCH), num_samples.split(_BATCH), strict=True)
        return torch.cat([self.autoencoder.encode(wav, real) for wav, real in parts])


def load_model(model_file_path: str = "", sample_rate: int = 48_000) -> HearModel:
    """Load a model: a name, a directory or a Hub id; the embedded one by default.

    Parameters
    ----------
    model_file_path : str
    sample_rate : int
        At which sounds will come: 16000, 22050, 44100 or 48000 Hz.
    """
    return HearModel(PECMAE.from_pretrained(model_file_path or None, dtype="float32"), sample_rate)


@torch.no_grad()
def get_scene_embeddings(audio: Tensor, model: HearModel) -> Tensor:
    """One z for each sound: the mean over its segments, by their lengths.

    Parameters
    ----------
    audio : Tensor [shape=(sounds, samples)]
        Within ±1, at `model.sample_rate`.

    Returns
    -------
    Tensor [shape=(sounds, model.scene_embedding_size)]
        float32.
    """
    wav = _resampled(audio, model)  # (sounds, N)
    size = model.autoencoder.config.segment_samples
    starts = torch.arange(0, wav.shape[1], size)
    if len(starts) > 1 and wav.shape[1] - starts[-1] < model.autoencoder.config.hop_length:
        starts = starts[:-1]  # too short to fill a frame of the codec
    z, worth = _embedded(wav, starts, model), (wav.shape[1] - starts).clamp_max(size).float()  # (sounds, S, D), (S,)
    return (z * (worth / worth.sum()).to(z.device)[:, None]).sum(1)


@torch.no_grad()
def get_timestamp_embeddings(audio: Tensor, model: HearModel) -> tuple[Tensor, Tensor]:
    """z of the segment around each moment, every second.

    Parameters
    ----------
    audio : Tensor [shape=(sounds, samples)]
        As for `get_scene_embeddings`.

    Returns
    -------
    Tensor [shape=(sounds, moments, model.timestamp_embedding_size)]
        float32.
    Tensor [shape=(sounds, moments)]
        The moments, in milliseconds from the beginning.
    """
    wav = _resampled(audio, model)
    rate, size = model.autoencoder.sampling_rate, model.autoencoder.config.segment_samples
    moments = torch.arange(HOP_MS / 2, max(wav.shape[1] / rate * 1000, HOP_MS / 2 + 1), HOP_MS)  # (moments,)
    starts = (moments / 1000 * rate).long() - size // 2
    z = _embedded(wav, starts.clamp(0, max(0, wav.shape[1] - size)), model)
    return z, moments.expand(len(wav), -1).to(audio.device)


def _resampled(audio: Tensor, model: HearModel) -> Tensor:
    """Sounds (sounds, N) at the autoencoder's rate, float32, on the CPU."""
    if audio.ndim != 2 or not audio.shape[1]:
        raise ValueError(f"audio must be (sounds, samples), got the shape {tuple(audio.shape)}.")
    samples = audio.detach().float().cpu().numpy()
    return torch.from_numpy(soxr.resample(samples.T, model.sample_rate, model.autoencoder.sampling_rate, "HQ").T.copy())


def _embedded(wav: Tensor, starts: Tensor, model: HearModel) -> Tensor:
    """z (sounds, S, D) of the segments of `wav` (sounds, N) that begin at `starts` (S,), prepared as the model does."""
    size = model.autoencoder.config.segment_samples
    pieces, lengths = [], []
    for start in starts.tolist():
        piece = torch.from_numpy(model.preparation.centre(wav[:, start : start + size].numpy()))
        lengths.append(torch.full((len(wav),), piece.shape[1]))
        pieces.append(nn.functional.pad(piece, (0, size - piece.shape[1])))
    z = model(torch.stack(pieces, 1).flatten(0, 1), torch.stack(lengths, 1).flatten())
    return z.unflatten(0, (len(wav), len(starts)))
