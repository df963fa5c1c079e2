"""Training the decoder of a codec further, while its encoder, codebooks and features stay as they are.

What was computed from the features (tokens, embeddings, z) stays valid, so this may come at any time after the codec.

Shapes: B batch, F features, T frames, N samples.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import EncodecModel

from pecmae.autoencoder.codec import CodecDecoder
from pecmae.autoencoder.model import Autoencoder
from pecmae.errors import ConfigError
from pecmae.training.codec import noisy_features, use_fast_padding
from pecmae.training.codec_widening import Codec
from pecmae.training.critic import Critic, balanced
from pecmae.training.loop import StepContext
from pecmae.training.spectral_loss import SpectralLoss

# Share of each loss in the gradient at the output.
SHARES = {"spectral": 1.0, "features": 0.5, "realism": 1.5}
DYNAMICS_WEIGHT = 6.0  # of the bands' dynamics, in "spectral"
MATCHING_WEIGHT = 2.0  # of the critic's activations beside its verdict, in "realism" (HiFi-GAN's)


class ReconstructionObjective(nn.Module):
    """A decoder that shall please the spectral loss, from random weights on; `DecoderObjective` trains it further.

    Parameters
    ----------
    encoder : nn.Module
        From waveforms (B, N) to features (B, T, F); it stays as it is.
    decoder : nn.Module
        From features to waveforms; trained in place.
    sampling_rate : int
        In Hz.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, sampling_rate: int) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder.requires_grad_(False), decoder
        self.spectral = SpectralLoss(sampling_rate)

    def decode(self, wav: Tensor, context: StepContext) -> tuple[Tensor, Tensor]:
        """Features (B, T, F) of clips (B, N), and what the decoder makes (B, N) of these and some noise."""
        with torch.no_grad():
            features = self.encoder(wav).float()
        return features, self.decoder(noisy_features(features, context))[:, : wav.shape[1]].float()

    def forward(self, wav: Tensor, context: StepContext) -> dict[str, Tensor]:
        """Losses of a batch of clips (B, N)."""
        _, output = self.decode(wav, context)
        with torch.autocast(wav.device.type, enabled=False):
            log_mel, mel, level = self.spectral(output, wav)
        return {"loss": log_mel + mel + 0.5 * level, "log_mel": log_mel, "mel": mel, "level": level}


class DecoderObjective(ReconstructionObjective):
    """A decoder that shall please the spectral loss, the codec's own encoder, and a critic.

    The encoder hears the output: its features shall be those that the output was made from. The critic (`Critic`) learns
    along with the decoder, from the same clips.

    Parameters
    ----------
    encoder, decoder, sampling_rate
        As for `ReconstructionObjective`.
    critic : Critic, optional
        Default: a new one.
    dynamics_weight : float
        Of the bands' dynamics in the spectral loss; 0 leaves them to the critic.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        sampling_rate: int,
        critic: Critic | None = None,
        dynamics_weight: float = DYNAMICS_WEIGHT,
    ) -> None:
        super().__init__(encoder, decoder, sampling_rate)
        self.critic, self.dynamics_weight = critic or Critic(), dynamics_weight

    def forward(self, wav: Tensor, context: StepContext) -> dict[str, Tensor]:
        """Losses of a batch of clips (B, N). "loss" has the gradient to follow; as a number it says nothing."""
        features, output = self.decode(wav, context)
        heard = self.encoder(output)
        with torch.autocast(wav.device.type, enabled=False):
            log_mel, mel, level = self.spectral(output, wav)
            spectral = log_mel + mel + 0.5 * level
            if self.dynamics_weight:
                spectral = spectral + self.dynamics_weight * self.spectral.dynamics(output, wav)
            losses = {"spectral": spectral, "features": F.mse_loss(heard.float(), features)}
        verdict = self.critic(output, wav)
        losses["realism"] = verdict["adversarial"] + MATCHING_WEIGHT * verdict["matching"]
        loss = balanced(output, losses, SHARES) + verdict["critic"]
        shown = {"log_mel": log_mel, "level": level, "features": losses["features"]}
        return {"loss": loss, **shown, **verdict}


class EncodecEncoder(nn.Module):
    """The encoder of transformers' codec, called as `CodecEncoder`.

    Parameters
    ----------
    codec : EncodecModel
    """

    def __init__(self, codec: EncodecModel) -> None:
        super().__init__()
        use_fast_padding(codec)
        self.layers = codec.encoder

    def forward(self, wav: Tensor) -> Tensor:
        """Features [shape=(B, T, F)] of `wav` [shape=(B, N)]."""
        return self.layers(wav[:, None]).mT


class EncodecDecoder(nn.Module):
    """The decoder of transformers' codec, called as `CodecDecoder`.

    Parameters
    ----------
    codec : EncodecModel
    """

    def __init__(self, codec: EncodecModel) -> None:
        super().__init__()
        use_fast_padding(codec)
        self.layers = codec.decoder

    def forward(self, features: Tensor) -> Tensor:
        """Waveform [shape=(B, N)] of `features` [shape=(B, T, F)]."""
        return self.layers(features.mT)[:, 0]


def replace_decoder(autoencoder: Autoencoder, codec: Codec) -> None:
    """Let an autoencoder make its sound with the decoder of `codec`, in place; z and what is generated stay the same.

    Raises
    ------
    ConfigError
        The encoder of `codec`, which the features belong to, is another one.
    """
    theirs = codec.encoder.state_dict()
    for name, own in autoencoder.codec_encoder.state_dict().items():
        # As far as the autoencoder may have been rounded, to float16 or bfloat16.
        if name not in theirs or theirs[name].shape != own.shape or not torch.allclose(own.float(), theirs[name], 1e-2, 1e-4):
            raise ConfigError("the codec has another encoder than the autoencoder; give a refinement of the autoencoder's own.")
    config = replace(autoencoder.config, codec_decoder_num_filters=codec.decoder_num_filters)
    decoder = CodecDecoder(config)
    decoder.load_state_dict(codec.decoder.state_dict())
    autoencoder.config, autoencoder.codec_decoder = config, decoder.to(autoencoder.device).eval()
