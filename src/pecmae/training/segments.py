"""What the frozen parts compute for every training segment, once, on disk: codec features, tokens, frame embeddings.

`pretrain_encodecmae.py` and `train_autoencoder.py` draw their batches from here.

Shapes: N segments, T frames, F codec features, Q codebooks, D width.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import EncodecModel

from pecmae.autoencoder.encodecmae import EncodecMAE
from pecmae.core.arrays import cached_rows
from pecmae.core.weights import weights_key as weights_key
from pecmae.data.waveforms import SegmentPlace, WaveformStore, segment_places
from pecmae.training.codec import use_fast_padding
from pecmae.training.loop import StepContext


@dataclass(frozen=True)
class SegmentFeatures:
    """Codec features of the segments of a store, and what else was computed from them, as memory maps."""

    places: list[SegmentPlace]
    lengths: np.ndarray  # (N,) whole frames of real audio
    features: np.ndarray  # (N, T, F) float16, before quantisation
    key: list[object]  # all that the features depend on
    folder: str | os.PathLike[str]
    progress: bool

    def __len__(self) -> int:
        return len(self.places)

    def tokens(self, codec: EncodecModel) -> np.ndarray:
        """Codes of every frame under all codebooks (N, T, Q) int16."""
        shape = (self.features.shape[1], codec.config.num_quantizers)

        def compute(features: Tensor, start: int) -> Tensor:
            return codec.quantizer.encode(features.transpose(1, 2), None).permute(1, 2, 0)  # (B, T, Q)

        return self._cached("tokens", self.key, compute, shape, "int16", codec.device)

    def embeddings(self, encodecmae: EncodecMAE) -> np.ndarray:
        """EnCodecMAE's frame embeddings (N, T, D) float16."""
        device, frames = encodecmae.position.scale.device, self.features.shape[1]
        shape = (frames, encodecmae.projection.out_features)
        lengths = torch.from_numpy(self.lengths)

        def compute(features: Tensor, start: int) -> Tensor:
            return encodecmae(features, padding_mask(lengths[start : start + len(features)], frames, device))

        return self._cached("embeddings", [*self.key, weights_key(encodecmae)], compute, shape, "float16", device)

    def _cached(
        self,
        name: str,
        key: list[object],
        compute: Callable[[Tensor, int], Tensor],
        row_shape: tuple[int, ...],
        dtype: str,
        device: torch.device,
    ) -> np.ndarray:
        @torch.no_grad()
        def rows(start: int, stop: int) -> np.ndarray:
            features = torch.from_numpy(self.features[start:stop].astype(np.float32)).to(device)
            return compute(features, start).cpu().numpy()

        count = len(self)
        return cached_rows(
            self.folder, name, [name, *key], count, rows, row_shape=row_shape, dtype=dtype, progress=self.progress
        )


def padding_mask(lengths: Tensor, num_frames: int, device: torch.device) -> Tensor | None:
    """Where frames are padding (B, T), None when none is: attention is faster without a mask."""
    if bool((lengths >= num_frames).all()):
        return None
    return (torch.arange(num_frames) >= lengths[:, None]).to(device)


def segment_features(
    codec: EncodecModel,
    store: WaveformStore,
    folder: str | os.PathLike[str],
    *,
    segment_seconds: float,
    stride_seconds: float,
    progress: bool = False,
) -> SegmentFeatures:
    """Codec features of overlapping segments of every file, from the cache when it holds them.

    Parameters
    ----------
    codec : EncodecModel
        Frozen; its device computes.
    store : WaveformStore
        Decoded files.
    folder : path
        Cache folder.
    segment_seconds, stride_seconds : float
        Length of a segment and distance of two, in seconds.
    progress : bool
        Show a progress bar on standard error.
    """
    use_fast_padding(codec)
    rate, hop = codec.config.sampling_rate, codec.config.hop_length
    samples = round(segment_seconds * rate)
    places = segment_places(store, samples, round(stride_seconds * rate))
    lengths = np.maximum([place.length // hop for place in places], 1)
    key = [store.key, weights_key(codec), samples, stride_seconds]

    @torch.no_grad()
    def rows(start: int, stop: int) -> np.ndarray:
        crops = np.stack([store.crop(place.item, place.offset, samples) for place in places[start:stop]])
        return codec.encoder(torch.from_numpy(crops)[:, None].to(codec.device)).transpose(1, 2).cpu().numpy()

    shape = (-(-samples // hop), codec.config.hidden_size)
    features = cached_rows(
        folder,
        "features",
        ["features", *key],
        len(places),
        rows,
        row_shape=shape,
        dtype="float16",
        batch_size=8,
        progress=progress,
    )
    return SegmentFeatures(places, lengths, features, key, folder, progress)


def segment_batches(
    segments: SegmentFeatures, computed: np.ndarray, batch_size: int
) -> Callable[[StepContext], tuple[Tensor, Tensor, Tensor | None]]:
    """A function from the context of a step to its random segments.

    Parameters
    ----------
    segments : SegmentFeatures
    computed : np.ndarray
        What was computed from each segment, [shape=(N, T, …)]: tokens or embeddings.
    batch_size : int
        Segments a step over all processes.

    Returns
    -------
    callable
        To features [shape=(B, T, F)], what was computed from them (float32, or int64 where it is of integers), and their
        padding mask [shape=(B, T)] or None.
    """
    dtype = np.int64 if np.issubdtype(computed.dtype, np.integer) else np.float32

    def make_batch(context: StepContext) -> tuple[Tensor, Tensor, Tensor | None]:
        rows = np.sort(context.draws.integers(len(segments), size=batch_size)[context.rows])
        features = torch.from_numpy(segments.features[rows].astype(np.float32)).to(context.device)
        beside = torch.from_numpy(computed[rows].astype(dtype)).to(context.device)
        return features, beside, padding_mask(torch.from_numpy(segments.lengths[rows]), features.shape[1], context.device)

    return make_batch
