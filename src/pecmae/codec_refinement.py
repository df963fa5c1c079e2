"""Training the decoder of a codec further, while its encoder, codebooks and features stay as they are.

What was computed from the features (tokens, embeddings, z) stays valid, so this may come at any time after the codec.

Shapes: B batch, F features, T frames, N samples.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import EncodecModel

from pecmae.adversarial import Critic, balanced
from pecmae.autoencoder import Autoencoder
from pecmae.codec import CodecDecoder
from pecmae.codec_training import noisy_features, use_fast_padding
from pecmae.codec_widening import Codec
from pecmae.errors import ConfigError
from pecmae.spectral import SpectralLoss
from pecmae.training import StepContext

# Share of each loss in the gradient at the output.
SHARES = {"spectral": 1.0, "features": 0.5, "realism": 1.5}
DYNAMICS_WEIGHT = 6.0  # of the bands' dynamics, in "spectral"
MATCHING_WEIGHT = 2.0  # of the critic's activations beside its verdict, in "realism" (HiFi-GAN's)


class DecoderObjective(nn.Module):
    """A decoder that shall please the spectral loss, the codec's own encoder, and a critic.

    The encoder hears the output: its features shall be those that the output was made from. The critic (`Critic`) learns
    along with the decoder, from the same clips.

    Parameters
    ----------
    model : EncodecModel
        Its decoder is trained in place.
    critic : Critic, optional
        Default: a new one.
    """

    def __init__(self, model: EncodecModel, critic: Critic | None = None) -> None:
        super().__init__()
        self.model = model
        model.encoder.requires_grad_(False)
        self.spectral = SpectralLoss(model.config.sampling_rate)
        self.critic = critic or Critic()
        use_fast_padding(model)

    def forward(self, wav: Tensor, context: StepContext) -> dict[str, Tensor]:
        """Losses of a batch of clips (B, N). "loss" has the gradient to follow; as a number it says nothing."""
        with torch.no_grad():
            features = self.model.encoder(wav[:, None])  # (B, F, T)
        output = self.model.decoder(noisy_features(features.float(), context))[:, 0, : wav.shape[1]].float()  # (B, N)
        heard = self.model.encoder(output[:, None])
        with torch.autocast(wav.device.type, enabled=False):
            log_mel, mel, level = self.spectral(output, wav)
            dynamics = self.spectral.dynamics(output, wav)
            spectral = log_mel + mel + 0.5 * level + DYNAMICS_WEIGHT * dynamics
            losses = {"spectral": spectral, "features": F.mse_loss(heard.float(), features.float())}
        verdict = self.critic(output, wav)
        losses["realism"] = verdict["adversarial"] + MATCHING_WEIGHT * verdict["matching"]
        loss = balanced(output, losses, SHARES) + verdict["critic"]
        shown = {"log_mel": log_mel, "level": level, "dynamics": dynamics, "features": losses["features"]}
        return {"loss": loss, **shown, **verdict}


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
