"""What is done to an EnCodec before and after it is trained: scales of its weights, its features and its output, and a report.

Shapes: B batch, F codec features, T frames.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import EncodecModel

from pecmae.data.waveforms import WaveformStore
from pecmae.training.codec import feature_scales
from pecmae.training.spectral_loss import SpectralLoss


@torch.no_grad()
def standardise_features(model: EncodecModel, mean: Tensor, std: Tensor) -> None:
    """Give the features zero mean and the scales of `feature_scales` without changing what the codec computes.

    The affine map x → (x − mean) · scale / std goes into the encoder's last convolution, its inverse into the decoder's first
    one, and the codebooks follow. Reflect padding copies whole frames, so this is exact for clips of seven frames or more; a
    shorter one is extended by zeros first, which the map would have to move too.

    Parameters
    ----------
    model : EncodecModel
        Changed in place; its convolutions must have weight norm or plain weights.
    mean, std : Tensor
        (F,) statistics of the features over a data set.
    """
    std = std / feature_scales(len(std)).to(std)
    last, first = model.encoder.layers[-1].conv, model.decoder.layers[0].conv
    weight, bias = last.weight.clone(), last.bias.clone()
    last.weight = weight / std[:, None, None]  # a parametrised weight splits the value into its norm and direction
    last.bias.copy_((bias - mean) / std)
    weight = first.weight.clone()
    first.bias.add_((weight * mean[None, :, None]).sum((1, 2)))
    first.weight = weight * std[None, :, None]
    for number, layer in enumerate(model.quantizer.layers):
        shift = mean if number == 0 else torch.zeros_like(mean)  # the residuals of later codebooks have no mean to remove
        book = layer.codebook
        book.embed.copy_((book.embed - shift) / std)
        book.embed_avg.copy_(book.embed * book.cluster_size[:, None])


def _clips(model: EncodecModel, store: WaveformStore, count: int, seconds: float) -> Iterable[Tensor]:
    """About `count` random clips (8, samples) of a store, fewer when it is smaller than that; the same at every call."""
    draws = np.random.default_rng(0)
    for _ in range(max(1, min(count, int(store.seconds / seconds)) // 8)):
        crops = store.random_crops(draws, 8, round(seconds * model.config.sampling_rate))
        yield torch.from_numpy(crops).to(model.device)


@torch.no_grad()
def feature_statistics(
    model: EncodecModel, store: WaveformStore, count: int = 256, seconds: float = 4.0
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every codec feature over random clips of a store: (F,), (F,)."""
    features = torch.cat(
        [model.encoder(wav[:, None]).transpose(1, 2).flatten(0, 1) for wav in _clips(model, store, count, seconds)]
    )
    return features.mean(0), features.std(0)


@torch.no_grad()
def reconstruction_report(model: EncodecModel, store: WaveformStore, count: int = 64, seconds: float = 4.0) -> dict[str, float]:
    """How near the codec's output is to its input, through continuous features and through all codebooks.

    Returns
    -------
    dict
        Averages over random clips of a store: `log_mel` (nepers) and `mel` (relative) errors, `level` (ratio of RMS, dB),
        the same with the prefix `quantised_`, and `codes_used` (share of the codes that occur).
    """
    spectral = SpectralLoss(model.config.sampling_rate).to(model.device)
    sums: dict[str, list[float]] = {}
    codes = []
    for wav in _clips(model, store, count, seconds):
        features = model.encoder(wav[:, None])
        codes.append(model.quantizer.encode(features, None))
        for prefix, seen in (("", features), ("quantised_", model.quantizer.decode(codes[-1]))):
            output = model.decoder(seen)[:, 0, : wav.shape[1]]
            log_mel, mel, _ = spectral(output, wav)
            level = _level_error(output, wav).mean()
            for name, value in (("log_mel", log_mel), ("mel", mel), ("level", level)):
                sums.setdefault(prefix + name, []).append(float(value))
    indices = torch.cat([c.flatten(1) for c in codes], 1)
    used = [len(row.unique()) / model.config.codebook_size for row in indices]
    return {**{name: float(np.mean(values)) for name, values in sums.items()}, "codes_used": float(np.mean(used))}


@torch.no_grad()
def match_level(model: EncodecModel, store: WaveformStore, count: int = 64, seconds: float = 4.0) -> None:
    """Scale the codec's output so that its level is right on average over random clips of a store."""
    errors = [
        _level_error(model.decoder(model.encoder(wav[:, None]))[:, 0], wav) for wav in _clips(model, store, count, seconds)
    ]
    gain = 10 ** -(torch.cat(errors).mean() / 20)
    last = model.decoder.layers[-1].conv
    weight = last.weight * gain
    last.bias.mul_(gain)
    last.weight = weight


def _level_error(output: Tensor, wav: Tensor) -> Tensor:
    """Level of `output` over that of `wav`, both (B, samples), in dB (B,)."""
    return 20 * ((output[:, : wav.shape[1]].std(1) + 1e-5) / (wav.std(1) + 1e-5)).log10()


@torch.no_grad()
def scale_initial_weights(model: EncodecModel, wav: Tensor) -> None:
    """Scale random weights so that signals keep their variance through all layers.

    Every convolution's output gets unit variance about its channels' means on real audio, the last one's the variance of
    the audio itself. With the usual initialisation a quiet signal shrinks at every layer, and the first thousand steps are
    spent on undoing that.

    Parameters
    ----------
    model : EncodecModel
        Freshly initialised; changed in place.
    wav : Tensor
        (B, samples).
    """

    def rescale(conv: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        output = output - conv.bias[:, None]
        wanted = wav.std() if conv is model.decoder.layers[-1].conv else 1.0
        scale = wanted / (output - output.mean((0, 2), keepdim=True)).std().clamp_min(1e-8)
        conv.bias.zero_()
        conv.weight = conv.weight * scale
        return output * scale

    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv1d | nn.ConvTranspose1d)]
    hooks = [conv.register_forward_hook(rescale) for conv in convolutions]
    model.decoder(model.encoder(wav[:, None]))
    for hook in hooks:
        hook.remove()
