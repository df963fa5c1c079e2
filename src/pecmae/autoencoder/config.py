"""Sizes and choices of an autoencoder, and where one is."""

import math
from dataclasses import dataclass, field

from pecmae.core.configs import ADDED_LATER, LARGEST_SIZE, check_choice, check_numbers
from pecmae.errors import ConfigError

CODEC_DECODERS = ("encodec", "istft")

# The largest values that make any sense: a file that asks for more is damaged.
LIMITS = {
    **dict.fromkeys(("num_encoder_layers", "num_summarizer_layers", "num_denoiser_layers"), 256),
    **dict.fromkeys(("codec_num_lstm_layers", "istft_num_layers"), 256),
    "segment_seconds": 600,
    "num_inference_steps": 10_000,
    "guidance_scale": 1000,
    "guidance_stop": 1,
}
MOST_STRIDES = 16


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
    """Sizes of an autoencoder; the defaults are the published 4-second one."""

    sampling_rate: int = 24_000
    # Length of a segment: what is encoded to one z, and what is generated from it.
    segment_seconds: float = 4.0
    # Codec: features F, filters of the encoder's and of the decoder's outermost convolution, strides from the decoder's first
    # to its last, LSTM depth.
    feature_dim: int = 128
    codec_num_filters: int = 32
    codec_decoder_num_filters: int = 32
    codec_upsampling_ratios: tuple[int, ...] = (8, 5, 4, 2)
    codec_num_lstm_layers: int = 2
    # What makes sound of features: "encodec", the published decoder, or "istft" (`ISTFTDecoder`); and the latter's
    # width, ConvNeXt blocks, and spectra for each codec frame. Each ignores the sizes of the other.
    codec_decoder: str = field(default="encodec", metadata=ADDED_LATER)
    istft_dim: int = field(default=384, metadata=ADDED_LATER)
    istft_num_layers: int = field(default=8, metadata=ADDED_LATER)
    istft_upsampling: int = field(default=4, metadata=ADDED_LATER)
    # Width D of all transformers (and of z), and the hidden width of their feed-forwards.
    embedding_dim: int = 768
    feed_forward_dim: int = 4096
    num_encoder_layers: int = 10
    num_encoder_heads: int = 12
    num_summarizer_layers: int = 2
    num_denoiser_layers: int = 8
    # Heads of the summarizer and of the denoiser.
    num_heads: int = 8
    # What `generate` does unless told otherwise: steps, weight of the condition (1: the conditional branch alone), share of
    # the steps, the first ones, that are guided. docs/sampling.md shows why these.
    num_inference_steps: int = 8
    guidance_scale: float = 2.0
    guidance_stop: float = 0.625

    def __post_init__(self) -> None:
        check_numbers(self, at_most=LIMITS, any_sign=("guidance_scale",))
        if len(self.codec_upsampling_ratios) > MOST_STRIDES or self.hop_length > LARGEST_SIZE:
            raise ConfigError(f"codec_upsampling_ratios={self.codec_upsampling_ratios!r} are too many or too large.")
        check_choice("codec_decoder", self.codec_decoder, CODEC_DECODERS)
        if self.codec_decoder == "istft" and self.hop_length % (2 * self.istft_upsampling):
            raise ConfigError(
                f"istft_upsampling={self.istft_upsampling} must divide half of the codec's hop of {self.hop_length} samples."
            )
        for name in ("num_encoder_heads", "num_heads"):
            if self.embedding_dim % getattr(self, name):
                raise ConfigError(f"embedding_dim={self.embedding_dim} must be a multiple of {name}={getattr(self, name)}.")
        if self.segment_samples % self.hop_length:
            raise ConfigError(
                f"segment_seconds={self.segment_seconds} is {self.segment_samples} samples, not a whole number of codec frames "
                f"of {self.hop_length} samples; choose another length."
            )

    @property
    def most_parameters(self) -> int:
        """A number of parameters that no autoencoder of this configuration has more of, from its sizes alone."""
        width, inner = self.embedding_dim, self.feed_forward_dim
        layers = self.num_encoder_layers + self.num_summarizer_layers + self.num_denoiser_layers
        transformers = layers * 5 * width * width + 3 * inner * (2 * width + 1) + 4 * width * (width + self.feature_dim + 8)
        channels = max(self.codec_num_filters, self.codec_decoder_num_filters) << len(self.codec_upsampling_ratios)
        convolutions = len(self.codec_upsampling_ratios) * (2 * max(self.codec_upsampling_ratios) + 8) * channels * channels
        recurrent = 8 * (self.codec_num_lstm_layers + 1) * channels * channels
        codec = 2 * (convolutions + recurrent + 8 * channels * self.feature_dim)
        if self.codec_decoder == "encodec":
            return transformers + codec
        blocks = 16 * (self.istft_num_layers + self.istft_upsampling + 1) * self.istft_dim
        return transformers + codec + blocks * (self.istft_dim + self.feature_dim) + 4 * self.istft_dim * self.hop_length

    @property
    def hop_length(self) -> int:
        """Samples between two codec frames."""
        return math.prod(self.codec_upsampling_ratios)

    @property
    def segment_samples(self) -> int:
        """Samples in a segment."""
        return round(self.segment_seconds * self.sampling_rate)

    @property
    def segment_frames(self) -> int:
        """Codec frames T in a segment."""
        return self.segment_samples // self.hop_length


@dataclass(frozen=True)
class AutoencoderReference:
    """Where an autoencoder that several models share can be loaded from."""

    # A Hub id or a name of the zoo.
    repo_id: str
    # A commit, a tag or a branch; none: the main branch.
    revision: str | None = None
