"""What training an EnCodec from random weights needs beside the model: losses, learned codebooks, unit features.

The diffusion model later generates *unquantised* codec features from noise of unit variance, so the decoder is trained
mostly on continuous, slightly noisy features. Their scales fall from the first channel to the last while the noise is equal
for all, so the encoder puts what matters most to the sound first: the tokens and the diffusion then spend their
effort there. (Features of equal variance fill up with detail that neither can predict.) At the end the scales are made
exact by folding an affine map into the neighbouring convolutions.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import EncodecConfig, EncodecModel
from transformers.models.encodec.modeling_encodec import EncodecConv1d

from pecmae.autoencoder.codec import pad_reflected
from pecmae.training.loop import StepContext
from pecmae.training.spectral_loss import SpectralLoss

CODEBOOK_DECAY = 0.99
DEAD_FRACTION = 0.05  # of the mean usage, under which a code is replaced
QUANTISER_START = 0.4  # share of the steps without quantiser: its commitment would hold features near the first, poor ones
FEATURE_NOISE = 0.2  # largest standard deviation added to features
SCALE_RATIO = 8.0  # of the first channel's standard deviation to the last one's


def codec_config(
    *,
    num_filters: int,
    hidden_size: int,
    upsampling_ratios: Iterable[int],
    num_codebooks: int,
    codebook_size: int,
    num_lstm_layers: int = 1,
    sampling_rate: int = 24_000,
) -> EncodecConfig:
    """An `EncodecConfig` by its number of codebooks rather than by its bandwidth.

    Parameters
    ----------
    num_filters, hidden_size, upsampling_ratios, num_lstm_layers
        Sizes of the codec; the hop is the product of the ratios, `hidden_size` the number F of features.
    num_codebooks, codebook_size : int
        Residual quantizers, and codes in each (a power of two).
    sampling_rate : int
        In Hz.
    """
    ratios = list(upsampling_ratios)
    frame_rate = -(-sampling_rate // int(np.prod(ratios)))
    bits = int(np.log2(codebook_size))
    return EncodecConfig(
        sampling_rate=sampling_rate,
        num_filters=num_filters,
        hidden_size=hidden_size,
        codebook_dim=hidden_size,
        upsampling_ratios=ratios,
        num_lstm_layers=num_lstm_layers,
        codebook_size=codebook_size,
        target_bandwidths=[(num_codebooks + 0.5) * bits * frame_rate / 1000],  # kbit/s; the half guards the floor division
    )


def feature_scales(feature_dim: int) -> Tensor:
    """Standard deviation that every channel of the features shall have (F,): falling geometrically, mean square 1."""
    scales = SCALE_RATIO ** -torch.linspace(0, 1, feature_dim)
    return scales / scales.square().mean().sqrt()


@torch.no_grad()
def quantise_and_learn(model: EncodecModel, features: Tensor, generator: torch.Generator) -> Tensor:
    """Quantise with every number of codebooks, moving the codebooks towards the features.

    Parameters
    ----------
    model : EncodecModel
        Its quantizer's buffers are updated: moving averages of the assigned residuals; codes that fall out of use restart
        from residuals of this batch.
    features : Tensor
        (B, F, T).
    generator : torch.Generator
        Chooses the residuals that replace unused codes.

    Returns
    -------
    Tensor
        (Q, B, F, T): sum of the first 1..Q codewords.
    """
    residual = features.transpose(1, 2).reshape(-1, features.shape[1])  # (B·T, F)
    total, sums = torch.zeros_like(residual), []
    for layer in model.quantizer.layers:
        book = layer.codebook
        if not book.inited.item():
            _restart(book, residual, torch.ones_like(book.cluster_size, dtype=torch.bool), generator)
            book.inited.fill_(1)
        indices = book.quantize(residual)
        chosen = F.embedding(indices, book.embed)
        counts = torch.zeros_like(book.cluster_size).index_add_(0, indices, torch.ones_like(residual[:, 0]))
        gathered = torch.zeros_like(book.embed).index_add_(0, indices, residual)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(counts)
            torch.distributed.all_reduce(gathered)
        book.cluster_size.lerp_(counts, 1 - CODEBOOK_DECAY)
        book.embed_avg.lerp_(gathered, 1 - CODEBOOK_DECAY)
        book.embed.copy_(book.embed_avg / book.cluster_size.clamp_min(1e-6)[:, None])
        dead = book.cluster_size < DEAD_FRACTION * book.cluster_size.mean()
        _restart(book, residual, dead, generator)
        total = total + chosen
        residual = residual - chosen
        sums.append(total)
    batch, channels, frames = features.shape
    return torch.stack(sums).reshape(len(sums), batch, frames, channels).transpose(2, 3)


def _restart(book: Any, residual: Tensor, dead: Tensor, generator: torch.Generator) -> None:
    """Place the codes marked `dead` on residuals drawn at random, with the usage of an average code."""
    drawn = residual[torch.randint(len(residual), (len(dead),), generator=generator, device=residual.device)]
    usage = len(residual) / len(dead)
    book.embed.copy_(torch.where(dead[:, None], drawn, book.embed))
    book.embed_avg.copy_(torch.where(dead[:, None], drawn * usage, book.embed_avg))
    book.cluster_size.copy_(torch.where(dead, torch.full_like(book.cluster_size, usage), book.cluster_size))


def noisy_features(features: Tensor, context: StepContext) -> Tensor:
    """Features (B, F, T) with noise of a random strength for each clip, as the diffusion leaves some in what it generates."""
    size = FEATURE_NOISE * torch.rand(len(features), 1, 1, generator=context.generator, device=features.device)
    return features + size * torch.randn(features.shape, generator=context.generator, device=features.device)


class CodecObjective(nn.Module):
    """Reconstruction through features that are continuous for half of the clips and quantised for the others.

    Parameters
    ----------
    model : EncodecModel
        Trained in place. Call `reset_codebooks` on it once before training from random weights.
    """

    scales: Tensor

    def __init__(self, model: EncodecModel) -> None:
        super().__init__()
        self.model = model
        self.spectral = SpectralLoss(model.config.sampling_rate)
        self.register_buffer("scales", feature_scales(model.config.hidden_size), persistent=False)
        use_fast_padding(model)

    def bottleneck(self, features: Tensor, context: StepContext) -> tuple[Tensor, Tensor]:
        """Features (B, F, T) as the decoder sees them, and the commitment loss."""
        batch, device = len(features), features.device
        noisy = noisy_features(features, context)
        if context.step < QUANTISER_START * context.steps:
            return noisy, features.new_zeros(())
        sums = quantise_and_learn(self.model, features.detach(), context.generator)
        depth = torch.randint(len(sums), (batch,), generator=context.generator, device=device)
        quantised = sums[depth, torch.arange(batch, device=device)]
        continuous = torch.rand(batch, 1, 1, generator=context.generator, device=device) < 0.5
        straight_through = features + (quantised - features).detach()
        return torch.where(continuous, noisy, straight_through), F.mse_loss(features, sums[-1])

    def forward(self, wav: Tensor, context: StepContext) -> dict[str, Tensor]:
        """Losses of a batch of clips (B, samples)."""
        features = self.model.encoder(wav[:, None])
        with torch.autocast(wav.device.type, enabled=False):
            features = features.float()
            seen, commitment = self.bottleneck(features, context)
            spread = _distance_from_unit(features / self.scales[:, None])
        output = self.model.decoder(seen)[:, 0, : wav.shape[1]]
        with torch.autocast(wav.device.type, enabled=False):
            log_mel, mel, level = self.spectral(output.float(), wav)
        loss = log_mel + mel + 0.5 * level + 0.02 * commitment + 0.1 * spread
        return {"loss": loss, "log_mel": log_mel, "mel": mel, "level": level, "commitment": commitment, "spread": spread}


def pad_fast(hidden_states: Tensor, paddings: tuple[int, int], mode: str = "zero", value: float = 0.0) -> Tensor:
    """Pad (B, C, T) at both ends, as transformers' codec does, by copying.

    `F.pad` reflects slowly on CPUs, and under autocast in float32 only: with it a training step takes a quarter longer.
    """
    left, right = int(paddings[0]), int(paddings[1])
    if mode != "reflect":
        return F.pad(hidden_states, (left, right), mode, value)
    return pad_reflected(hidden_states, left, right, dim=-1)


def use_fast_padding(model: EncodecModel) -> None:
    """Let all convolutions of a codec pad with `pad_fast`."""
    for module in model.modules():
        if isinstance(module, EncodecConv1d):
            module._pad1d = pad_fast


def _distance_from_unit(features: Tensor) -> Tensor:
    """How far the channels of features (B, F, T) are from zero mean, unit variance and, weakly, no correlation."""
    rows = features.transpose(1, 2).flatten(0, 1)  # (B·T, F)
    mean = rows.mean(0)
    covariance = (rows - mean).T @ (rows - mean) / len(rows)
    variance = covariance.diagonal()
    correlation = (covariance - torch.diag(variance)).square().sum() / len(mean)
    return mean.square().mean() + ((variance + 1e-4).sqrt() - 1).square().mean() + 0.2 * correlation


@torch.no_grad()
def reset_codebooks(model: EncodecModel) -> None:
    """Mark the codebooks as unset: the first training batch fills them."""
    for layer in model.quantizer.layers:
        layer.codebook.inited.zero_()
