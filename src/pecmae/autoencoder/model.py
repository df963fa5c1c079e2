"""The frozen generative autoencoder: a segment of audio to one vector z, and z back to audio.

    codec encoder → EnCodecMAE → summarizer → z → denoiser (v-diffusion) → codec decoder

Shapes: B batch, N samples, T frames, F codec features, D width.
"""

import copy
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, TypedDict, Unpack

import torch
from huggingface_hub import ModelHubMixin
from torch import Tensor, nn

from pecmae.autoencoder.codec import CodecDecoder, CodecEncoder
from pecmae.autoencoder.codec_istft import ISTFTDecoder
from pecmae.autoencoder.config import AutoencoderConfig
from pecmae.autoencoder.denoiser import Denoiser
from pecmae.autoencoder.encodecmae import EncodecMAE
from pecmae.autoencoder.published import read_autoencoder, read_autoencoder_files
from pecmae.autoencoder.sampling import VDiffusionSolver
from pecmae.autoencoder.summarizer import Summarizer
from pecmae.autoencoder.transformer import SinusoidalPosition
from pecmae.core.configs import FORMAT_VERSION, config_from_dict, config_to_dict, read_model_config
from pecmae.core.devices import keep_freed_memory, pick_device, pick_dtype, pick_loading_dtype, survive_forks
from pecmae.core.files import save_directory_atomically, user_path, write_text
from pecmae.core.weights import WEIGHTS_FILE, StateDict, filled, load_module, same_weights, save_weights
from pecmae.hub.download import DownloadOptions, PushOptions, check_options, named_repository
from pecmae.hub.resolve import CARD_FILE, PublishedAutoencoder, resolve_autoencoder

MODEL_TYPE = "pecmae-autoencoder"


class SamplingOptions(TypedDict, total=False):
    """How to sample, as for `Autoencoder.generate`."""

    num_inference_steps: int | None
    guidance_scale: float | None
    guidance_stop: float | None
    scheduler: VDiffusionSolver | None


class GenerateOptions(SamplingOptions, total=False):
    """How to sample, and what noise to start from, as for `Autoencoder.generate`."""

    latents: Tensor | None
    generator: torch.Generator | None


class Autoencoder(nn.Module, ModelHubMixin, library_name="pecmae", tags=["audio", "music", "encodecmae"]):
    """EnCodec, EnCodecMAE, a summarizer and a diffusion decoder.

    Parameters
    ----------
    config : AutoencoderConfig
        Sizes.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        survive_forks()
        dim, hidden = config.embedding_dim, config.feed_forward_dim
        self.config = config
        self.codec_encoder = CodecEncoder(config)
        self.codec_decoder = ISTFTDecoder(config) if config.codec_decoder == "istft" else CodecDecoder(config)
        self.encodecmae = EncodecMAE(config.feature_dim, dim, hidden, config.num_encoder_layers, config.num_encoder_heads)
        self.position = SinusoidalPosition(dim)
        self.summarizer = Summarizer(dim, hidden, config.num_summarizer_layers, config.num_heads)
        self.denoiser = Denoiser(config.feature_dim, dim, hidden, config.num_denoiser_layers, config.num_heads)
        self.float()  # whatever torch's default type is
        # The stored weights, while those here are rounded for speed alone: what is saved is not rounded.
        self._unrounded: Path | None = None
        # Where it was loaded from.
        self._directory: Path | None = None

    @property
    def sampling_rate(self) -> int:
        """Of the audio taken and made, in Hz."""
        return self.config.sampling_rate

    @property
    def segment_samples(self) -> int:
        """Samples of a segment."""
        return self.config.segment_samples

    @property
    def minimum_samples(self) -> int:
        """The fewest real samples that a segment can be encoded from: a codec frame."""
        return self.config.hop_length

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
        return self.codec_encoder(wav)

    def frame_padding_mask(self, lengths: Tensor, num_frames: int) -> Tensor:
        """Where frames are padding, for `lengths` in samples [shape=(B,)]: True there [shape=(B, num_frames), bool].

        A frame counts when all its samples are real; the first one always does.
        """
        real = (lengths.to(self.device) // self.config.hop_length).clamp_min(1)
        return torch.arange(num_frames, device=self.device) >= real[:, None]

    def encode_frames(self, features: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """EnCodecMAE embeddings [shape=(B, T, D)] of codec features [shape=(B, T, F)]."""
        return self.encodecmae(features.to(self.dtype), padding_mask)

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
            float32, whatever the model's precision.
        """
        features = self.extract_features(wav, lengths)
        padding_mask = None
        # Without padding no mask is needed, and attention is faster without one.
        if lengths is not None and bool((lengths < wav.shape[1]).any()):
            padding_mask = self.frame_padding_mask(lengths, features.shape[1])
        return self.summarize(self.encode_frames(features, padding_mask), padding_mask).float()

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
        position = self.position(noisy.shape[1])
        return self.denoiser(noisy.to(self.dtype), sigma, z.to(self.dtype), position, padding_mask)

    @torch.no_grad()
    def generate(
        self,
        z: Tensor,
        *,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        guidance_stop: float | None = None,
        scheduler: VDiffusionSolver | None = None,
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
        guidance_stop : float, optional
            Share of the steps, the first ones, that run the unconditional branch; in (0, 1], 1 for all. Later ones are not
            guided: once the sample has taken shape both branches say almost the same. The configuration's by default.
        scheduler : VDiffusionScheduler or VDiffusionSolver, optional
            A new one of the second-order solver by default. A copy of it takes the steps: one scheduler may serve many threads.
        latents : Tensor [shape=(B, T, F)], optional
            Initial noise x_T; drawn with `generator` by default.
        generator : torch.Generator, optional
            Source of the initial noise.

        Returns
        -------
        Tensor [shape=(B, T, F)]
            float32, whatever the model's precision.
        """
        steps = self.config.num_inference_steps if num_inference_steps is None else num_inference_steps
        scale = self.config.guidance_scale if guidance_scale is None else guidance_scale
        scheduler = VDiffusionSolver() if scheduler is None else copy.copy(scheduler)
        stop = self.config.guidance_stop if guidance_stop is None else guidance_stop
        if not 0 < stop <= 1:
            raise ValueError(f"guidance_stop={stop} must be above 0 and at most 1.")
        if not math.isfinite(scale):
            raise ValueError(f"guidance_scale={scale} is no number to guide with; choose one such as 2.")
        if not bool(z.isfinite().all()):
            raise ValueError("z holds NaN or infinite values, which are no sound; give finite ones.")
        z = z.to(self.device, self.dtype)
        if latents is None:
            latents = self.draw_latents(len(z), generator)
        x = latents.to(self.device, torch.float32)
        both = torch.cat([z, torch.zeros_like(z)])
        position = self.position(x.shape[1])
        scheduler.set_timesteps(steps, device=self.device)
        guided_steps = 0 if scale == 1.0 else max(1, round(stop * steps))
        for index, sigma in enumerate(scheduler.timesteps):
            condition = both if index < guided_steps else z
            noisy = x.repeat(len(condition) // len(z), 1, 1).to(self.dtype)
            v = self.denoiser(noisy, sigma.expand(len(noisy)), condition, position).to(torch.float32)
            if index < guided_steps:
                v_conditional, v_unconditional = v.chunk(2)
                v = v_unconditional + scale * (v_conditional - v_unconditional)
            x, _ = scheduler.advance(v, sigma, x)
        return x

    def decode(self, z: Tensor, **options: Unpack[GenerateOptions]) -> Tensor:
        """Generate a segment of audio from each z [shape=(B, D)]; options as for `generate`.

        Returns
        -------
        Tensor [shape=(B, N)]
        """
        return self.features_to_wav(self.generate(z, **options))

    @torch.no_grad()
    def features_to_wav(self, features: Tensor) -> Tensor:
        """Audio [shape=(B, T · hop_length)] of codec features [shape=(B, T, F)]."""
        return self.codec_decoder(features.to(self.device, self.codec_decoder.dtype))

    def draw_latents(self, batch: int, generator: torch.Generator | None = None) -> Tensor:
        """Initial noise x_T [shape=(batch, T, F)], drawn where `generator` lives (the CPU by default)."""
        device = generator.device if generator else torch.device("cpu")
        shape = (batch, self.config.segment_frames, self.config.feature_dim)
        return torch.randn(shape, generator=generator, device=device, dtype=torch.float32)

    @classmethod
    def from_pretrained(  # type: ignore[override]  # an unknown option is an error here
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str] | None = None,
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype = "auto",
        **options: Unpack[DownloadOptions],
    ) -> Self:
        """Load an autoencoder.

        Parameters
        ----------
        pretrained_model_name_or_path : str or path, optional
            A name ("encodecmae-diffusion-4s", "encodecmae-diffusion-10s"), a directory or a Hub id; nothing: the one inside
            the embedded model.
        device : str or torch.device, optional
            A GPU if there is one, by default.
        dtype : str or torch.dtype
            Of the weights: "float32", which is exact, "bfloat16" or "float16". "auto" is bfloat16 where the device computes
            with it natively, else float32; a model loaded so is saved unrounded. Features become sound in float32 whatever
            this is.
        **options
            revision, cache_dir, force_download, local_files_only, token: as in huggingface_hub.

        Raises
        ------
        FileNotFoundError, HubError, ConfigError, CheckpointError
            It cannot be found, fetched or read; the message says what to do.
        TypeError
            There is no such option.
        """
        check_options(options, cls.from_pretrained)
        directory = resolve_autoencoder(pretrained_model_name_or_path, convert=_convert_published, **options)
        return cls.from_directory(directory, device=device, dtype=dtype)

    @classmethod
    def from_directory(
        cls,
        directory: str | os.PathLike[str],
        *,
        device: str | torch.device | None = "cpu",
        dtype: str | torch.dtype = "float32",
    ) -> Self:
        """Load from a directory that holds `config.json` and `model.safetensors`; parameters as for `from_pretrained`."""
        target = pick_device(device)
        path = Path(directory) / "config.json"
        otherwise = "this is not an autoencoder; load it with PECMAE.from_pretrained."
        values, sha256 = read_model_config(path.parent, MODEL_TYPE, otherwise)
        config = config_from_dict(AutoencoderConfig, values, str(path))
        picked = pick_loading_dtype(dtype, target, config.embedding_dim)
        if target.type == "cpu":
            keep_freed_memory()
        weights = path.parent / "model.safetensors"
        model = load_module(lambda: cls(config), weights, sha256, most_parameters=config.most_parameters)
        if dtype == "auto" and picked != torch.float32:
            model._unrounded = weights.absolute()
        model._directory = path.parent.absolute()
        for part in model.children():
            # Sound is a small part of the work, and with eight bits a sample would be heard to be noisy.
            part.to(target, torch.float32 if part is model.codec_decoder else picked)
        return model.eval()

    def save_pretrained(  # type: ignore[override]  # an unknown option is an error here
        self,
        save_directory: str | os.PathLike[str],
        *,
        dtype: str | torch.dtype | None = None,
        model_card_kwargs: Mapping[str, Any] | None = None,
        config: None = None,
    ) -> None:
        """Write the model's directory, whole or not at all.

        Parameters
        ----------
        save_directory : path
        dtype : str or torch.dtype, optional
            Stored precision, such as "float16"; as it is by default.
        model_card_kwargs : mapping, optional
            Facts for the card, see `pecmae.hub.cards.ModelCardFacts`.
        config : None
            Of huggingface_hub's mixin, which calls this to push; the model knows its own.
        """
        # Imported here: only saving writes a card.
        from pecmae.hub.cards import card_facts, render_card, saved_card

        with save_directory_atomically(save_directory) as folder:
            self.write(folder, dtype)
            target, source, facts = user_path(save_directory).resolve(), self._directory, model_card_kwargs or {}
            known = {"name": target.name, "segment_seconds": self.config.segment_seconds, **facts}
            card = saved_card(
                [target] if source is None else [target, source],
                lambda: render_card("autoencoder", card_facts(known)),
                facts,
                unchanged=source is not None and same_weights(folder / WEIGHTS_FILE, source / WEIGHTS_FILE),
            )
            write_text(folder / CARD_FILE, card)

    def push_to_hub(  # type: ignore[override]  # an unknown option is an error here
        self, repo_id: str, **options: Unpack[PushOptions]
    ) -> str:
        """Save it into a repository on the Hub; parameters as for `PECMAE.push_to_hub`."""
        return super().push_to_hub(**named_repository(repo_id, options))

    def write(self, folder: Path, dtype: str | torch.dtype | None = None) -> None:
        """Write configuration and weights into an existing folder, in place."""
        stored = None if dtype is None else pick_dtype(dtype)
        digest = save_weights(self, folder / "model.safetensors", stored, unrounded=self._unrounded)
        values = {"format_version": FORMAT_VERSION, "model_type": MODEL_TYPE, **config_to_dict(self.config)}
        values["sha256"] = {"model.safetensors": digest}
        (folder / "config.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def convert_autoencoder(state_dict: StateDict, codec: StateDict, *, segment_seconds: float = 4.0) -> Autoencoder:
    """Build an autoencoder from the published state dict and the codec's.

    Parameters
    ----------
    state_dict, codec, segment_seconds
        As for `read_autoencoder`.

    Returns
    -------
    Autoencoder
        Of the sizes read off the tensors, in evaluation mode.

    Raises
    ------
    CheckpointError
        A tensor is missing, unknown or of an unexpected shape.
    """
    return _built(*read_autoencoder(state_dict, codec, segment_seconds=segment_seconds))


def convert_autoencoder_files(
    weights: str | os.PathLike[str], config_gin: str | os.PathLike[str], codec: str | os.PathLike[str]
) -> Autoencoder:
    """`convert_autoencoder` from files, which are those of `read_autoencoder_files`."""
    return _built(*read_autoencoder_files(weights, config_gin, codec))


def _built(config: AutoencoderConfig, tensors: dict[str, Tensor]) -> Autoencoder:
    return filled(lambda: Autoencoder(config), tensors, "autoencoder checkpoint", most_parameters=config.most_parameters).eval()


def _convert_published(published: PublishedAutoencoder, folder: Path) -> None:
    """Convert a downloaded checkpoint into `folder`, once."""
    convert_autoencoder_files(published.weights, published.config_gin, published.codec_directory).write(folder)
