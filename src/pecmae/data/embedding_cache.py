"""z of tracks on disk: computed once, found again by the content of the file, the autoencoder and how segments are cut.

A cache is a folder of safetensors files that are written whole, each with the tracks of some seconds of work. What is killed
loses those seconds; a file that changes, or another autoencoder, is another key, and nothing old is taken for it.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from pecmae.audio.preparation import PREPARED, PUBLISHED, Preparation
from pecmae.autoencoder.embedding import TrackEmbedding, embed_tracks
from pecmae.autoencoder.model import Autoencoder
from pecmae.core.files import atomic_write, content_hash
from pecmae.core.progress import progress_bar
from pecmae.core.weights import weights_key
from pecmae.errors import AudioError, PecmaeError

FORMAT_VERSION = 1
# A part is written when it holds this many tracks, or after this many seconds.
PART_TRACKS = 256
PART_SECONDS = 10.0


# Settings of generating, which z does not depend on.
_DECODING = (
    *("codec_decoder_num_filters", "codec_decoder", "istft_dim", "istft_num_layers", "istft_upsampling"),
    *("num_inference_steps", "guidance_scale", "guidance_stop"),
)


def autoencoder_key(autoencoder: Autoencoder) -> str:
    """A hash of all that z depends on beside the audio: weights of the encoding parts, their type, sizes, segment settings."""
    encoding = (autoencoder.codec_encoder, autoencoder.encodecmae, autoencoder.position, autoencoder.summarizer)
    facts = {
        "format_version": FORMAT_VERSION,
        "weights": [weights_key(part) for part in encoding],
        "dtype": str(autoencoder.dtype),
        "config": {name: value for name, value in asdict(autoencoder.config).items() if name not in _DECODING},
    }
    return _digest(facts)


def _digest(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


class EmbeddingCache:
    """z of tracks by content.

    Parameters
    ----------
    folder : path
        Caches of several autoencoders can share it.
    autoencoder : Autoencoder
        What makes z; its device computes.
    preparation : Preparation
        What is put right in the sound before; each has a cache of its own.
    """

    def __init__(self, folder: str | os.PathLike[str], autoencoder: Autoencoder, preparation: Preparation = PREPARED) -> None:
        self.autoencoder, self.preparation = autoencoder, preparation
        # Caches from before there was a preparation hold z of sound as it is.
        kind = "" if preparation == PUBLISHED else f"-{_digest(asdict(preparation))}"
        self.folder = Path(folder) / f"z-{autoencoder_key(autoencoder)}{kind}"
        self.folder.mkdir(parents=True, exist_ok=True)
        # Which part holds a track.
        self._parts: dict[str, Path] = {}
        for path in sorted(self.folder.glob("*.safetensors")):
            self._list(path)

    def __len__(self) -> int:
        return len(self._parts)

    def embed(
        self, paths: Sequence[Path], *, batch_size: int | None = None, progress: bool = False
    ) -> list[TrackEmbedding | PecmaeError | OSError]:
        """z of each file, from the cache where it holds it.

        Parameters
        ----------
        paths : sequence of Path
        batch_size : int, optional
            Segments that are encoded together.
        progress : bool
            Show a progress bar on standard error.

        Returns
        -------
        list
            For each file its embedding, or the exception that says what is wrong with it.
        """
        keys = [_key(path) for path in paths]
        missing: dict[str, Path] = {}
        for path, key in zip(paths, keys, strict=True):
            if isinstance(key, str) and key not in self._parts:
                missing.setdefault(key, path)
        failed = self._fill(missing, batch_size, progress)
        whole = self._read({key for key in keys if isinstance(key, str) and key not in failed})
        return [key if isinstance(key, OSError) else failed[key] if key in failed else whole[key] for key in keys]

    def _fill(self, missing: dict[str, Path], batch_size: int | None, progress: bool) -> dict[str, PecmaeError | OSError]:
        """Embed and store what is missing; what cannot be read is returned and tried again next time."""
        failed: dict[str, PecmaeError | OSError] = {}
        part: dict[str, TrackEmbedding] = {}
        since = time.monotonic()
        results = self._results(list(missing.values()), batch_size, progress)
        for (key, path), result in zip(missing.items(), results, strict=True):
            if isinstance(result, Exception):
                failed[key] = result
            elif content_hash(path) != key:
                failed[key] = AudioError(f"{path}: changed while it was being embedded; run again.")
            else:
                part[key] = result
            if part and (len(part) >= PART_TRACKS or time.monotonic() - since > PART_SECONDS):
                self._write(part)
                part, since = {}, time.monotonic()
        if part:
            self._write(part)
        return failed

    def _results(
        self, paths: list[Path], batch_size: int | None, progress: bool
    ) -> Iterator[TrackEmbedding | PecmaeError | OSError]:
        shown = iter(progress_bar(paths, "embedding", progress and bool(paths)))
        for result in embed_tracks(self.autoencoder, paths, batch_size=batch_size, preparation=self.preparation):
            next(shown)
            yield result

    def _write(self, part: dict[str, TrackEmbedding]) -> None:
        """A part under a name made from its tracks; written elsewhere, then renamed."""
        tensors, facts = {}, {}
        for key, track in part.items():
            tensors[f"{key}.z"] = track.z.contiguous()
            tensors[f"{key}.weights"] = torch.from_numpy(np.ascontiguousarray(track.weights))
            facts[key] = {"audible_duration": track.audible_duration, "notes": list(track.notes)}
            tensors[f"{key}.offsets"] = torch.from_numpy(np.append(track.offsets, track.num_samples).astype(np.int64))
        name = hashlib.sha256(" ".join(sorted(part)).encode()).hexdigest()[:24]
        target = self.folder / f"{name}.safetensors"
        metadata = {"format_version": str(FORMAT_VERSION), "sampling_rate": str(self.autoencoder.sampling_rate)}
        metadata["tracks"] = json.dumps(facts)
        with atomic_write(target) as temporary, temporary.open("wb") as file:
            file.write(save(tensors, metadata))
            file.flush()
            os.fsync(file.fileno())  # or a power cut could leave the new name on old bytes
        self._parts |= dict.fromkeys(part, target)

    def _list(self, path: Path) -> None:
        """Take up a part; one that the disk has damaged is left aside, and its tracks are embedded again."""
        try:
            with safe_open(path, framework="pt") as file:
                self._parts |= {name.removesuffix(".z"): path for name in file.keys() if name.endswith(".z")}  # noqa: SIM118
        except (SafetensorError, OSError):
            return

    def _read(self, keys: set[str]) -> dict[str, TrackEmbedding]:
        """Tracks that the cache holds, each part opened once."""
        by_part: dict[Path, list[str]] = {}
        for key in keys:
            by_part.setdefault(self._parts[key], []).append(key)
        found = {}
        for path, wanted in by_part.items():
            with safe_open(path, framework="pt") as file:
                facts, names = json.loads((file.metadata() or {}).get("tracks", "{}")), set(file.keys())
                for key in wanted:
                    *offsets, num_samples = file.get_tensor(f"{key}.offsets").tolist()
                    z = file.get_tensor(f"{key}.z").clone()  # not a view of the file, which somebody may change
                    rate, said = self.autoencoder.sampling_rate, facts.get(key, {})
                    # Parts from before segments were weighed hold no weights.
                    weighed = f"{key}.weights" in names
                    weights = file.get_tensor(f"{key}.weights").numpy().copy() if weighed else np.ones(len(z), np.float32)
                    audible = said.get("audible_duration", num_samples / rate)
                    notes = tuple(said.get("notes", ()))
                    found[key] = TrackEmbedding(z, np.array(offsets), num_samples, rate, weights, audible, notes)
        return found


def _key(path: Path) -> str | OSError:
    try:
        return content_hash(path)
    except OSError as error:
        return FileNotFoundError(f"{path}: no such file; check the path.") if isinstance(error, FileNotFoundError) else error
