"""Sounds of z, made in the background and kept: by the decoder, z, seed and steps.

Shapes: D width, N samples.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from pecmae.audio.compression import CompressedSound
from pecmae.audio.level import for_playing
from pecmae.autoencoder.model import SamplingOptions
from pecmae.core.devices import answering
from pecmae.core.files import atomic_write
from pecmae.explain.media import png, spectrogram
from pecmae.explain.sounds import decoder_content
from pecmae.explorer.background import Background
from pecmae.model import PECMAE

State = Literal["ready", "waiting", "failed"]
# Raised when what a kept sound depends on changes.
CACHE_VERSION = 1
LARGEST_SEED = 2**31 - 1


class SoundMaker:
    """Decodes z of prototypes, of moments of tracks and of steps between them, each once.

    All sounds of a seed start from the same noise, so that what differs between two of them comes from z alone.

    Parameters
    ----------
    model : PECMAE
        Its decoder and sampler.
    folder : path
        Where sounds are kept, in a sub-folder for the decoder and the settings.
    num_inference_steps : int, optional
        As for `PECMAE.sonify`.
    """

    def __init__(self, model: PECMAE, folder: str | os.PathLike[str], *, num_inference_steps: int | None = None) -> None:
        self._model = model
        self._options: SamplingOptions = {"scheduler": model.solver, "num_inference_steps": num_inference_steps}
        self._root = Path(folder)
        self._folder: Path | None = None
        self._failed: dict[str, str] = {}
        self._asked: set[str] = set()
        self._background = Background("sounds")
        # A large decoder takes a while to be hashed.
        self._background.ask(self._open)

    def ask(self, z: np.ndarray, seed: int = 0) -> str:
        """Have z [shape=(D,)] made audible; returns the key of the sound."""
        z = np.ascontiguousarray(z, "<f4")
        key = hashlib.sha256(z.tobytes() + str(seed).encode()).hexdigest()[:24]
        if key not in self._asked and self.state(key) != "ready":
            self._asked.add(key)
            self._failed.pop(key, None)
            self._background.ask(lambda: self._make(key, z, seed))
        return key

    def state(self, key: str) -> State:
        """How far a sound is."""
        return "failed" if key in self._failed else "waiting" if self.file(key) is None else "ready"

    def problem(self, key: str) -> str | None:
        """What went wrong with a sound."""
        return self._failed.get(key)

    @property
    def waiting(self) -> int:
        """Sounds that were asked for and are not there yet."""
        return len(self._asked)

    def file(self, key: str, kind: Literal["sound", "picture"] = "sound") -> Path | None:
        """File of a sound, or of its spectrogram; None while it is not there."""
        if self._folder is None or not (key.isascii() and key.isalnum()):
            return None
        endings = (".png",) if kind == "picture" else (".mp3", ".ogg")
        return next((path for ending in endings if (path := self._folder / f"{key}{ending}").is_file()), None)

    def close(self) -> None:
        """Make no more."""
        self._background.close()

    def _open(self) -> None:
        """Find the folder of this decoder and these settings."""
        config, digest = self._model.autoencoder.config, hashlib.sha256()
        steps = self._options["num_inference_steps"]
        settings = [config.segment_samples, config.num_inference_steps, config.guidance_scale, config.guidance_stop, steps]
        digest.update(json.dumps([CACHE_VERSION, settings, self._model.solver.algorithm_type], default=str).encode())
        for part in decoder_content(self._model):
            digest.update(part)
        folder = self._root / f"z-{digest.hexdigest()[:16]}"
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def _make(self, key: str, z: np.ndarray, seed: int) -> None:
        try:
            if self.file(key) is None:
                self._keep(key, self._decoded(z, seed))
        except Exception as error:  # whatever it is, the page says so beside the sound
            self._failed[key] = str(error) or type(error).__name__
        finally:
            self._asked.discard(key)

    def _decoded(self, z: np.ndarray, seed: int) -> np.ndarray:
        autoencoder = self._model.autoencoder
        latents = autoencoder.draw_latents(1, torch.Generator().manual_seed(seed))
        with answering(autoencoder.device):
            points = torch.from_numpy(z.copy())[None].to(autoencoder.device)  # (1, D)
            return autoencoder.decode(points, latents=latents, **self._options).float().cpu().numpy()[0]  # (N,)

    def _keep(self, key: str, samples: np.ndarray) -> None:
        """Write the picture, and then the sound: where there is a sound, there is a picture."""
        if self._folder is None:
            raise OSError(f"{self._root}: no sounds can be kept there; give another folder with --cache.")
        rate = self._model.sampling_rate
        playable = for_playing(samples, rate)
        sound = CompressedSound(rate)
        sound.write(playable)
        ending = ".mp3" if sound.media_type == "audio/mpeg" else ".ogg"
        for path, data in ((f"{key}.png", png(spectrogram(playable, rate))), (f"{key}{ending}", sound.close())):
            with atomic_write(self._folder / path) as temporary:
                temporary.write_bytes(data)
