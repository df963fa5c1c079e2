"""The published algorithm, written plainly: what the library is measured against, and must equal.

One segment or one latent at a time, attention with an explicit softmax and always with a padding mask, weight norm computed
in every call, a pass with and a pass without condition at every step, linear DDIM, float32.

Shapes: B batch (1 when it is timed), N samples, T frames, F codec features, D width, H heads.
"""

import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import EncodecConfig
from transformers.models.encodec.modeling_encodec import EncodecDecoder, EncodecEncoder

from pecmae import AutoencoderConfig
from pecmae.core.configs import config_from_dict, read_json_config
from pecmae.core.weights import load_weights

# Of the neighbours site's sounds.
STEPS = 40
MASKED_SCORE = -1e9

Weights = Mapping[str, Tensor]


class ReferenceAutoencoder:
    """The autoencoder as the published code computes it.

    Parameters
    ----------
    config : AutoencoderConfig
    weights : mapping of str to Tensor
        As a model directory stores them.
    """

    def __init__(self, config: AutoencoderConfig, weights: Weights) -> None:
        self.config = config
        self.weights = {name: tensor.float() for name, tensor in weights.items()}
        self.stacks = {
            "encodecmae": Stack(part(self.weights, "encodecmae.encoder."), config.num_encoder_heads),
            "summarizer": Stack(part(self.weights, "summarizer.encoder."), config.num_heads),
            "denoiser": Stack(part(self.weights, "denoiser.encoder."), config.num_heads),
        }
        self.codec_encoder = EncodecEncoder(_codec_config(config, config.codec_num_filters)).eval()
        self.codec_decoder = EncodecDecoder(_codec_config(config, config.codec_decoder_num_filters)).eval()
        self.codec_encoder.load_state_dict(part(self.weights, "codec_encoder."))
        self.codec_decoder.load_state_dict(part(self.weights, "codec_decoder."))

    @classmethod
    def from_directory(cls, directory: Path) -> Self:
        """Read what `Autoencoder.save_pretrained` wrote."""
        values = read_json_config(directory / "config.json", format_version=1)
        values = {name: value for name, value in values.items() if name not in ("format_version", "model_type", "sha256")}
        config = config_from_dict(AutoencoderConfig, values, str(directory))
        return cls(config, load_weights(directory / "model.safetensors", None))

    @torch.no_grad()
    def extract_features(self, wav: Tensor) -> Tensor:
        """Codec features [shape=(B, T, F)] of `wav` [shape=(B, N)]."""
        return self.codec_encoder(wav[:, None]).transpose(1, 2)

    @torch.no_grad()
    def encode_frames(self, features: Tensor, padding_mask: Tensor) -> Tensor:
        """EnCodecMAE embeddings [shape=(B, T, D)] of codec features [shape=(B, T, F)]."""
        tokens = self.linear("encodecmae.projection", features)
        tokens = tokens + self.position("encodecmae.position.scale", features.shape[1])
        return self.stacks["encodecmae"](tokens, padding_mask)

    @torch.no_grad()
    def summarize(self, embeddings: Tensor, padding_mask: Tensor) -> Tensor:
        """z [shape=(B, D)] of EnCodecMAE embeddings [shape=(B, T, D)]."""
        frames = embeddings + self.position("position.scale", embeddings.shape[1])
        tokens = torch.cat([self.weights["summarizer.cls"].expand(len(frames), 1, -1), frames], dim=1)
        return self.stacks["summarizer"](tokens, F.pad(padding_mask, (1, 0), value=False))[:, 0]

    def encode(self, wav: Tensor, length: int | None = None) -> Tensor:
        """z [shape=(1, D)] of one segment [shape=(1, N)], of which `length` samples are real."""
        features = self.extract_features(wav)
        padding_mask = self.padding_mask(wav.shape[1] if length is None else length, features.shape[1])
        return self.summarize(self.encode_frames(features, padding_mask), padding_mask)

    @torch.no_grad()
    def denoise(self, noisy: Tensor, sigma: float, z: Tensor) -> Tensor:
        """v [shape=(B, T, F)] of noisy codec features [shape=(B, T, F)]."""
        frames = self.linear("denoiser.in_adapter", noisy) + self.position("position.scale", noisy.shape[1])
        time = self.linear("denoiser.time_embedding.0", torch.full((len(noisy), 1), sigma)).relu()
        time = self.linear("denoiser.time_embedding.2", time)
        tokens = torch.cat([z[:, None], time[:, None], frames], dim=1)
        padding_mask = torch.zeros(tokens.shape[:2], dtype=torch.bool)
        return self.linear("denoiser.out_adapter", self.stacks["denoiser"](tokens, padding_mask)[:, 2:])

    def generate(
        self, z: Tensor, latents: Tensor, guidance_scale: float, steps: int = STEPS, steps_done: int | None = None
    ) -> Tensor:
        """Codec features [shape=(1, T, F)] of one z [shape=(1, D)] and its initial noise [shape=(1, T, F)].

        Parameters
        ----------
        guidance_scale : float
            w = 1 + g of the published code.
        steps : int
            From sigma = 1 to 0.
        steps_done : int, optional
            Only the first so many: every step costs the same, so a few of them tell the time of all.
        """
        x, nothing = latents, torch.zeros_like(z)
        sigmas = torch.linspace(1, 0, steps + 1, dtype=torch.float64).tolist()
        for sigma, sigma_next in list(pairwise(sigmas))[:steps_done]:
            v_conditional, v_unconditional = self.denoise(x, sigma, z), self.denoise(x, sigma, nothing)
            v = v_conditional + (guidance_scale - 1) * (v_conditional - v_unconditional)
            alpha, beta = math.cos(sigma * math.pi / 2), math.sin(sigma * math.pi / 2)
            x_predicted, noise_predicted = alpha * x - beta * v, beta * x + alpha * v
            x = math.cos(sigma_next * math.pi / 2) * x_predicted + math.sin(sigma_next * math.pi / 2) * noise_predicted
        return x

    @torch.no_grad()
    def features_to_wav(self, features: Tensor) -> Tensor:
        """Audio [shape=(B, N)] of codec features [shape=(B, T, F)]."""
        return self.codec_decoder(features.transpose(1, 2))[:, 0]

    def padding_mask(self, length: int, num_frames: int) -> Tensor:
        """True where a frame of one segment of `length` real samples is padding [shape=(1, num_frames)]."""
        return torch.arange(num_frames)[None] >= max(1, length // self.config.hop_length)

    def position(self, scale: str, num_tokens: int) -> Tensor:
        """Positions 0 … T-1, sines in even channels, times the weight called `scale` [shape=(T, D)]."""
        dim = self.config.embedding_dim
        frequency = torch.exp(torch.arange(0, dim, 2) * (-math.log(10_000) / dim))
        angle = torch.arange(num_tokens)[:, None] * frequency
        table = torch.zeros(num_tokens, dim)
        table[:, 0::2], table[:, 1::2] = angle.sin(), angle.cos()
        return self.weights[scale] * table

    def linear(self, name: str, x: Tensor) -> Tensor:
        """A layer by its name."""
        return F.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])


class Stack:
    """A ResiDual transformer with one feed-forward, from its weights."""

    def __init__(self, weights: Weights, num_heads: int) -> None:
        self.weights, self.num_heads = weights, num_heads
        self.num_layers = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("layers."))

    def __call__(self, x: Tensor, padding_mask: Tensor) -> Tensor:
        """Transform `x` [shape=(B, T, D)]; `padding_mask` [shape=(B, T)] is True at padding."""
        normed = summed = x
        for layer in range(self.num_layers):
            attended = self.attend(f"layers.{layer}.attention", normed, padding_mask)
            normed, summed = self.norm(f"layers.{layer}.norm1", normed + attended), summed + attended
            transformed = self.feed_forward(normed)
            normed, summed = self.norm(f"layers.{layer}.norm2", normed + transformed), summed + transformed
        return normed + self.norm("final_norm", summed)

    def attend(self, name: str, x: Tensor, padding_mask: Tensor) -> Tensor:
        """Softmax attention, its scores written out."""
        query, key, value = (
            F.linear(x, weight).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (B, H, T, D/H)
            for weight in self.weights[f"{name}.qkv.weight"].chunk(3)
        )
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5  # (B, H, T, T)
        scores = scores.masked_fill(padding_mask[:, None, None], MASKED_SCORE)
        attended = (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)  # (B, T, D)
        return F.linear(attended, self.weights[f"{name}.out.weight"])

    def feed_forward(self, x: Tensor) -> Tensor:
        """The layers' common one."""
        weights = self.weights
        hidden = F.linear(x, weights["feed_forward.0.weight"], weights["feed_forward.0.bias"]).relu()
        return F.linear(hidden, weights["feed_forward.2.weight"], weights["feed_forward.2.bias"])

    def norm(self, name: str, x: Tensor) -> Tensor:
        """Layer norm by its name."""
        weight = self.weights[f"{name}.weight"]
        return F.layer_norm(x, weight.shape, weight, self.weights[f"{name}.bias"])


def part(weights: Weights, prefix: str) -> dict[str, Tensor]:
    """Weights under `prefix`, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}


def _codec_config(config: AutoencoderConfig, num_filters: int) -> EncodecConfig:
    return EncodecConfig(
        sampling_rate=config.sampling_rate,
        hidden_size=config.feature_dim,
        num_filters=num_filters,
        upsampling_ratios=list(config.codec_upsampling_ratios),
        num_lstm_layers=config.codec_num_lstm_layers,
    )
