"""Sound for pages: compressed in memory, and sonified prototypes kept on disk so that an interrupted run continues."""

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from pecmae.audio.segments import load_audio, write_audio
from pecmae.core.files import cache_root
from pecmae.errors import AudioError, AudioWarning

if TYPE_CHECKING:
    from pecmae.classifier import TrackClassifier
    from pecmae.model import PECMAE
    from pecmae.prototypes.example_sounds import ExampleSounds


# Raised when what a cached sound depends on changes.
CACHE_VERSION = 2


class PrototypeSounds:
    """Sonified prototypes of one model, each made once and kept as a file.

    Parameters
    ----------
    model : PECMAE
    folder : path, optional
        Where files are kept, in a sub-folder for the weights and settings; see `pecmae.core.files.cache_root`.
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
        self._in_memory: dict[tuple[int, int], np.ndarray] = {}
        self.options: dict[str, Any] = {"num_inference_steps": num_inference_steps, "guidance_scale": guidance_scale}
        self.folder = (cache_root() / "sounds" if folder is None else Path(folder)) / self._key()

    def has(self, prototype: int) -> bool:
        """Whether there is a sound for a prototype: always, for it can be made."""
        return 0 <= prototype < self.model.head.config.num_prototypes

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
        for part in decoder_content(self.model):
            digest.update(part)
        return digest.hexdigest()[:16]

    def path(self, prototype: int, seed: int) -> Path:
        """Where the sound of a prototype (0 … M-1) lies when it was made."""
        return self.folder / f"{prototype}-{seed}.flac"

    def make(self, sounds: Iterable[tuple[int, int]], advance: Callable[[], None] = lambda: None) -> None:
        """Sonify together and keep those `sounds` that are missing; `advance` is called after each of all.

        A sound is a prototype (0 … M-1) and a seed.
        """
        wanted = list(sounds)
        missing = [sound for sound in wanted if sound not in self._in_memory and not self._is_kept(sound)]
        for _ in range(len(wanted) - len(missing)):
            advance()
        if not missing:
            return
        for sound, samples in zip(missing, self.model.sonify_each(missing, **self.options), strict=True):
            self._keep(sound, samples)
            advance()

    def _is_kept(self, sound: tuple[int, int]) -> bool:
        try:
            return self.path(*sound).is_file()
        except OSError:  # a folder that may not be looked into
            return False

    def _keep(self, sound: tuple[int, int], samples: np.ndarray) -> None:
        """Write a sound to the folder; where that cannot be written, hold it in memory and say so once."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_audio(self.path(*sound), samples, self.model.sampling_rate)
        except OSError as error:
            if not self._in_memory:
                warnings.warn(
                    f"{self.folder}: sounds cannot be kept there ({error.strerror}); they are made anew at every run.",
                    AudioWarning,
                    stacklevel=2,
                )
            self._in_memory[sound] = samples

    def get(self, prototype: int, seed: int = 0) -> np.ndarray:
        """Samples of a prototype's sound [shape=(N,)], made when it is missing or its file is damaged."""
        self.make([(prototype, seed)])
        if (prototype, seed) in self._in_memory:
            return self._in_memory[prototype, seed]
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


def decoder_content(model: "PECMAE") -> Iterator[bytes]:
    """Names and weights of what makes sound of z, in one order: for hashes that kept sounds are found by."""
    for part in (model.autoencoder.denoiser, model.autoencoder.codec_decoder):
        for name, value in sorted(part.state_dict().items()):
            yield name.encode()
            yield value.detach().float().cpu().contiguous().numpy().tobytes()


def sounds_of(model: "TrackClassifier") -> "PrototypeSounds | ExampleSounds":
    """What makes the prototypes of a model heard: its decoder, or recordings that stand for them (of none, perhaps)."""
    return PrototypeSounds(cast("PECMAE", model)) if model.example_sounds is None else model.example_sounds
