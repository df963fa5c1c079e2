"""The frozen generative autoencoder: a segment of audio to one vector z, and z back to audio.

    codec encoder → EnCodecMAE → summarizer → z → denoiser (v-diffusion) → codec decoder

Shapes: B batch, N samples, T frames, F codec features, D width.
"""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from huggingface_hub import ModelHubMixin
from torch import Tensor, nn

from pecmae import hub
from pecmae.configuration import FORMAT_VERSION, AutoencoderConfig, config_from_dict, config_to_dict
from pecmae.denoiser import Denoiser
from pecmae.encodecmae import EncodecMAE
from pecmae.summarizer import Summarizer
from pecmae.transformer import SinusoidalPosition
from pecmae.weights import load_module, save_module

if TYPE_CHECKING:
    from pecmae.scheduler import VDiffusionScheduler


class Autoencoder(nn.Module, ModelHubMixin, library_name="pecmae", tags=["audio", "music", "encodecmae"]):
    """EnCodec, EnCodecMAE, a summarizer and a diffusion decoder.

    Parameters
    ----------
    config : AutoencoderConfig
        Sizes.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        # Imported here: it costs two seconds that a reader of configurations need not pay.
        from transformers import EncodecConfig
        from transformers.models.encodec.modeling_encodec import EncodecDecoder, EncodecEncoder

        codec_config = EncodecConfig(
            sampling_rate=config.sampling_rate,
            hidden_size=config.feature_dim,
            num_filters=config.codec_num_filters,
            upsampling_ratios=list(config.codec_upsampling_ratios),
            num_lstm_layers=config.codec_num_lstm_layers,
        )
        dim, hidden = config.embedding_dim, config.feed_forward_dim
        self.config = config
        self.codec_encoder = EncodecEncoder(codec_config)
        self.codec_decoder = EncodecDecoder(codec_config)
        self.encodecmae = EncodecMAE(config.feature_dim, dim, hidden, config.num_encoder_layers, config.num_encoder_heads)
        self.position = SinusoidalPosition(dim)
        self.summarizer = Summarizer(dim, hidden, config.num_summarizer_layers, config.num_heads)
        self.denoiser = Denoiser(config.feature_dim, dim, hidden, config.num_denoiser_layers, config.num_heads)

    @property
    def sampling_rate(self) -> int:
        """Of the audio taken and made, in Hz."""
        return self.config.sampling_rate

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.position.scale.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return self.position.scale.dtype

    def extract_features(self, wav: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Codec features before quantisation.

        Parameters
        ----------
        wav : Tensor [shape=(B, N)]
            Mono audio at `sampling_rate`, zero-padded at the end.
        lengths : Tensor [shape=(B,), int64], optional
            Real samples of each; what lies beyond is set to zero.

        Returns
        -------
        Tensor [shape=(B, ceil(N / hop_length), F)]
        """
        wav = wav.to(self.device, self.dtype)
        if lengths is not None:
            beyond = torch.arange(wav.shape[1], device=wav.device) >= lengths.to(wav.device)[:, None]
            wav = wav.masked_fill(beyond, 0.0)
        return self.codec_encoder(wav[:, None]).transpose(1, 2)  # (B, T, F)

    def frame_padding_mask(self, lengths: Tensor, num_frames: int) -> Tensor:
        """Where frames are padding, for `lengths` in samples [shape=(B,)]: True there [shape=(B, num_frames), bool].

        A frame counts when all its samples are real; the first one always does.
        """
        real = (lengths.to(self.device) // self.config.hop_length).clamp_min(1)
        return torch.arange(num_frames, device=self.device) >= real[:, None]

    def encode_frames(self, features: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """EnCodecMAE embeddings [shape=(B, T, D)] of codec features [shape=(B, T, F)]."""
        return self.encodecmae(features, padding_mask)

    def summarize(self, embeddings: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """z [shape=(B, D)] of EnCodecMAE embeddings [shape=(B, T, D)]."""
        return self.summarizer(embeddings + self.position(embeddings.shape[1]), padding_mask)

    def encode(self, wav: Tensor, lengths: Tensor | None = None) -> Tensor:
        """z of each segment.

        Parameters
        ----------
        wav : Tensor [shape=(B, N)]
            Mono audio at `sampling_rate`, zero-padded at the end.
        lengths : Tensor [shape=(B,), int64], optional
            Real samples of each; frames beyond them are not attended to.

        Returns
        -------
        Tensor [shape=(B, D)]
        """
        features = self.extract_features(wav, lengths)
        padding_mask = None
        # Without padding no mask is needed, and the attention kernel is faster without one.
        if lengths is not None and bool((lengths < wav.shape[1]).any()):
            padding_mask = self.frame_padding_mask(lengths, features.shape[1])
        return self.summarize(self.encode_frames(features, padding_mask), padding_mask)

    def denoise(self, noisy: Tensor, sigma: Tensor, z: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Predict v of noisy codec features.

        Parameters
        ----------
        noisy : Tensor [shape=(B, T, F)]
        sigma : Tensor [shape=(B,), in [0, 1]]
        z : Tensor [shape=(B, D)]
            Condition; zeros for none.
        padding_mask : Tensor [shape=(B, T), bool], optional

        Returns
        -------
        Tensor [shape=(B, T, F)]
        """
        return self.denoiser(noisy, sigma, z, self.position(noisy.shape[1]), padding_mask)

    @torch.no_grad()
    def generate(
        self,
        z: Tensor,
        *,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        scheduler: "VDiffusionScheduler | None" = None,
        latents: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Generate codec features from z, all latents at once.

        Parameters
        ----------
        z : Tensor [shape=(B, D)]
            Conditions.
        num_inference_steps : int, optional
            Denoiser calls; the configuration's by default.
        guidance_scale : float, optional
            w in v = v_u + w · (v_c - v_u); w = 1 runs the conditional branch alone. The configuration's by default.
        scheduler : VDiffusionScheduler, optional
            The configuration's by default.
        latents : Tensor [shape=(B, T, F)], optional
            Initial noise x_T; drawn with `generator` by default.
        generator : torch.Generator, optional
            Source of the initial noise.

        Returns
        -------
        Tensor [shape=(B, T, F)]
        """
        steps = self.config.num_inference_steps if num_inference_steps is None else num_inference_steps
        scale = self.config.guidance_scale if guidance_scale is None else guidance_scale
        scheduler = self.default_scheduler() if scheduler is None else scheduler
        z = z.to(self.device, self.dtype)
        if latents is None:
            latents = self.draw_latents(len(z), generator)
        x = latents.to(self.device, torch.float32)
        guided = scale != 1.0
        condition = torch.cat([z, torch.zeros_like(z)]) if guided else z
        scheduler.set_timesteps(steps, device=self.device)
        for sigma in scheduler.timesteps:
            noisy = (torch.cat([x, x]) if guided else x).to(self.dtype)
            v = self.denoise(noisy, sigma.expand(len(noisy)), condition).to(torch.float32)
            if guided:
                v_conditional, v_unconditional = v.chunk(2)
                v = v_unconditional + scale * (v_conditional - v_unconditional)
            x = scheduler.step(v, sigma, x).prev_sample
        return x.to(self.dtype)

    def decode(self, z: Tensor, **options: Any) -> Tensor:
        """Generate a segment of audio from each z [shape=(B, D)]; options as for `generate`.

        Returns
        -------
        Tensor [shape=(B, N)]
        """
        return self.features_to_wav(self.generate(z, **options))

    @torch.no_grad()
    def features_to_wav(self, features: Tensor) -> Tensor:
        """Audio [shape=(B, T · hop_length)] of codec features [shape=(B, T, F)]."""
        return self.codec_decoder(features.to(self.device, self.dtype).transpose(1, 2))[:, 0]

    def draw_latents(self, batch: int, generator: torch.Generator | None = None) -> Tensor:
        """Initial noise x_T [shape=(batch, T, F)], drawn where `generator` lives (the CPU by default)."""
        device = generator.device if generator else torch.device("cpu")
        shape = (batch, self.config.segment_frames, self.config.feature_dim)
        return torch.randn(shape, generator=generator, device=device)

    def default_scheduler(self) -> "VDiffusionScheduler":
        """A scheduler as the configuration asks for."""
        # Imported here: diffusers costs two seconds that only generating needs.
        from pecmae.scheduler import VDiffusionScheduler

        return VDiffusionScheduler(algorithm_type=self.config.algorithm_type)
