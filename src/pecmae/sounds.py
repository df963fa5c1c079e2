"""Sound for pages: compressed in memory, and sonified prototypes kept on disk so that an interrupted run continues."""

import base64
import hashlib
import io
import json
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile

from pecmae.audio import load_audio, write_audio
from pecmae.audio_level import for_playing
from pecmae.errors import AudioError, AudioWarning
from pecmae.storage import cache_root

if TYPE_CHECKING:
    from pecmae.model import PECMAE

# Every browser plays MP3; Opus is smaller, but older iPhones and Safari don't play it. 56 kbit/s at 24 kHz.
_MP3 = {
    "format": "MP3",
    "subtype": "MPEG_LAYER_III",
    "bitrate_mode": "CONSTANT",
    "compression_level": 0.7,
}
_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_VORBIS = {"format": "OGG", "subtype": "VORBIS", "compression_level": 0.7}

# Raised when what a cached sound depends on changes.
CACHE_VERSION = 2


class CompressedSound:
    """Compressed sound that grows in memory; closing it completes it."""

    def __init__(self, sampling_rate: int) -> None:
        self._buffer = io.BytesIO()
        options = _MP3 if sampling_rate in _MP3_RATES else _VORBIS
        self.media_type = "audio/mpeg" if sampling_rate in _MP3_RATES else "audio/ogg"
        self._file = soundfile.SoundFile(self._buffer, "w", samplerate=sampling_rate, channels=1, **options)

    def write(self, samples: np.ndarray) -> None:
        """Append `samples` [shape=(N,)]; what lies beyond ±1 is clipped."""
        self._file.write(np.clip(samples, -1, 1))

    def close(self) -> bytes:
        """Return the whole."""
        self._file.close()
        return self._buffer.getvalue()


def compressed(samples: np.ndarray, sampling_rate: int) -> dict[str, str]:
    """Return `samples` [shape=(N,)], at the level at which all is played, as {"type": media type, "data": base64}."""
    sound = CompressedSound(sampling_rate)
    sound.write(for_playing(samples, sampling_rate))
    return encoded(sound)


def encoded(sound: CompressedSound) -> dict[str, str]:
    """Complete `sound` and return it as {"type": media type, "data": base64}."""
    return {"type": sound.media_type, "data": base64.b64encode(sound.close()).decode()}


class PrototypeSounds:
    """Sonified prototypes of one model, each made once and kept as a file.

    Parameters
    ----------
    model : PECMAE
    folder : path, optional
        Where files are kept, in a sub-folder for the weights and settings; see `pecmae.storage.cache_root`.
    num_inference_steps, guidance_scale : optional
        As for `PECMAE.sonify`.
    """

    def __init__(
        self,
        model: "PECMAE",
        folder: str | os.PathLike[str] | None = None,
        *,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
    ) -> None:
        self.model = model
        self.options: dict[str, Any] = {"num_inference_steps": num_inference_steps, "guidance_scale": guidance_scale}
        self.folder = (cache_root() / "sounds" if folder is None else Path(folder)) / self._key()

    def _key(self) -> str:
        """Of all that a sound depends on besides prototype and seed."""
        digest = hashlib.sha256()
        config = self.model.autoencoder.config
        settings = [
            config.segment_samples,
            config.num_inference_steps,
            config.guidance_scale,
            config.guidance_stop,
            *self.options.values(),
        ]
        digest.update(json.dumps([CACHE_VERSION, settings, self.model.solver.algorithm_type], default=str).encode())
        digest.update(self.model.head.projected_prototypes().cpu().numpy().tobytes())
        for part in (self.model.autoencoder.denoiser, self.model.autoencoder.codec_decoder):
            for name, value in sorted(part.state_dict().items()):
                digest.update(name.encode())
                digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def path(self, prototype: int, seed: int) -> Path:
        """Where the sound of a prototype (0 … M-1) lies when it was made."""
        return self.folder / f"{prototype}-{seed}.flac"

    def make(self, sounds: Iterable[tuple[int, int]], advance: Callable[[], None] = lambda: None) -> None:
        """Sonify together and keep those `sounds` that are missing; `advance` is called after each of all.

        A sound is a prototype (0 … M-1) and a seed.
        """
        wanted = list(sounds)
        missing = [sound for sound in wanted if not self.path(*sound).is_file()]
        for _ in range(len(wanted) - len(missing)):
            advance()
        if not missing:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        for sound, samples in zip(missing, self.model.sonify_each(missing, **self.options), strict=True):
            write_audio(self.path(*sound), samples, self.model.sampling_rate)
            advance()

    def get(self, prototype: int, seed: int = 0) -> np.ndarray:
        """Samples of a prototype's sound [shape=(N,)], made when it is missing or its file is damaged."""
        self.make([(prototype, seed)])
        try:
            with without_audio_warnings():
                return load_audio(self.path(prototype, seed), target_rate=self.model.sampling_rate)
        except AudioError:
            self.path(prototype, seed).unlink()
            self.make([(prototype, seed)])
            with without_audio_warnings():
                return load_audio(self.path(prototype, seed), target_rate=self.model.sampling_rate)

    def get_all(self, seed: int = 0) -> np.ndarray:
        """Samples of every prototype's sound [shape=(M, N)]; those that are missing are made together."""
        numbers = range(self.model.head.config.num_prototypes)
        self.make([(number, seed) for number in numbers])
        return np.stack([self.get(number, seed) for number in numbers])


@contextmanager
def without_audio_warnings() -> Iterator[None]:
    """Let what is shown, or was said already, go without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AudioWarning)
        yield
