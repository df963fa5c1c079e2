"""What the stages minimise: masked prediction of codec tokens, and v-diffusion conditioned on z.

Shapes: B batch, T frames, F codec features, Q codebooks, D width.
"""

import torch
from torch import Tensor, nn

from pecmae.autoencoder import Autoencoder
from pecmae.encodecmae import MaskedTokenModel, draw_span_mask, masked_token_loss
from pecmae.scheduler import VDiffusionScheduler
from pecmae.training import StepContext

SPAN_SECONDS = 0.2  # 15 frames of the published 75 Hz
CONDITION_DROP = 0.1  # share of the examples that learn without z, for classifier-free guidance


class MaskedTokenObjective(nn.Module):
    """EnCodecMAE's pre-training loss.

    Parameters
    ----------
    model : MaskedTokenModel
    frame_rate : float
        Codec frames in a second; spans of frames are hidden for a fixed time.
    """

    def __init__(self, model: MaskedTokenModel, frame_rate: float) -> None:
        super().__init__()
        self.model = model
        self.span = max(1, round(SPAN_SECONDS * frame_rate))

    def forward(self, batch: tuple[Tensor, Tensor, Tensor | None], context: StepContext) -> dict[str, Tensor]:
        """Loss, and accuracy of the first codebook on hidden frames.

        `batch` holds features (B, T, F), tokens (B, T, Q) and padding (B, T) or None.
        """
        features, tokens, padding_mask = batch
        # Drawn on the CPU: the mask's shape decides how many frames are encoded.
        seed = int(torch.randint(2**62, (), generator=context.generator, device=context.device))
        drawn = draw_span_mask(*features.shape[:2], span=self.span, generator=torch.Generator().manual_seed(seed))
        masked = drawn.to(features.device)
        logits = self.model(features, masked, padding_mask)
        with torch.autocast(features.device.type, enabled=False):
            loss = masked_token_loss(logits.float(), tokens, masked, padding_mask)
        scored = masked if padding_mask is None else masked & ~padding_mask
        right = logits[:, :, 0].argmax(-1) == tokens[:, :, 0]
        return {"loss": loss, "accuracy": (right & scored).sum() / scored.sum().clamp_min(1)}


class DiffusionObjective(nn.Module):
    """The autoencoder's loss: v of noisy codec features, given z (METHOD: sigma uniform, z dropped now and then).

    The codec and EnCodecMAE are frozen; the summarizer, the denoiser and their positions learn.

    Parameters
    ----------
    autoencoder : Autoencoder
    """

    def __init__(self, autoencoder: Autoencoder) -> None:
        super().__init__()
        self.autoencoder = autoencoder.requires_grad_(True)
        self.scheduler = VDiffusionScheduler()
        for frozen in (autoencoder.codec_encoder, autoencoder.codec_decoder, autoencoder.encodecmae):
            frozen.requires_grad_(False)

    def forward(self, batch: tuple[Tensor, Tensor, Tensor | None], context: StepContext) -> dict[str, Tensor]:
        """Mean squared error of v for features (B, T, F) with frame embeddings (B, T, D) and padding (B, T)."""
        features, embeddings, padding_mask = batch
        count, device, generator = len(features), features.device, context.generator
        z = self.autoencoder.summarize(embeddings, padding_mask)  # (B, D)
        dropped = torch.rand(count, 1, generator=generator, device=device) < CONDITION_DROP
        z = z.masked_fill(dropped, 0.0)
        sigma = torch.rand(count, generator=generator, device=device)
        noise = torch.randn(features.shape, generator=generator, device=device)
        noisy = self.scheduler.add_noise(features, noise, sigma)
        v = self.scheduler.get_velocity(features, noise, sigma)
        error = (self.autoencoder.denoise(noisy, sigma, z, padding_mask).float() - v).square().mean(-1)  # (B, T)
        if padding_mask is None:
            return {"loss": error.mean()}
        return {"loss": error.masked_fill(padding_mask, 0.0).sum() / (~padding_mask).sum()}
