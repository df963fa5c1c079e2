"""What the autoencoder minimises: v-diffusion of codec features, conditioned on z.

Shapes: B batch, T frames, F codec features, D width.
"""

import torch
from torch import Tensor, nn

from pecmae.autoencoder.model import Autoencoder
from pecmae.autoencoder.sampling import VDiffusionSolver
from pecmae.training.loop import StepContext

CONDITION_DROP = 0.1  # share of the examples that learn without z, for classifier-free guidance


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
        self.solver = VDiffusionSolver()
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
        noisy = self.solver.add_noise(features, noise, sigma)
        v = self.solver.get_velocity(features, noise, sigma)
        error = (self.autoencoder.denoise(noisy, sigma, z, padding_mask).float() - v).square().mean(-1)  # (B, T)
        if padding_mask is None:
            return {"loss": error.mean()}
        return {"loss": error.masked_fill(padding_mask, 0.0).sum() / (~padding_mask).sum()}
