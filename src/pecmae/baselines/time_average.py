"""EnCodecMAE without a summarizer: its frames averaged over time (ECMAE of the paper's table)."""

import torch
from torch import Tensor, nn

from pecmae.autoencoder.model import Autoencoder


class TimeAveraged(Autoencoder):
    """An autoencoder whose z is the mean of the EnCodecMAE embeddings of a segment; it shares the weights and cannot decode.

    Parameters
    ----------
    autoencoder : Autoencoder
    """

    def __init__(self, autoencoder: Autoencoder) -> None:
        nn.Module.__init__(self)
        self.config = autoencoder.config
        self.codec_encoder, self.encodecmae = autoencoder.codec_encoder, autoencoder.encodecmae
        self.position = autoencoder.position
        # Without weights: caches of embeddings tell it from the summarizer by that.
        self.summarizer = nn.Identity()  # type: ignore[assignment]
        self.eval()

    def summarize(self, embeddings: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Mean over time [shape=(B, D)] of embeddings [shape=(B, T, D)], of the frames that are no padding."""
        if padding_mask is None:
            return embeddings.mean(1)
        real = (~padding_mask).to(embeddings.dtype)[:, :, None]  # (B, T, 1)
        return (embeddings * real).sum(1) / real.sum(1)

    @torch.no_grad()
    def encode(self, wav: Tensor, lengths: Tensor | None = None) -> Tensor:
        """`Autoencoder.encode`, without gradients."""
        return super().encode(wav, lengths)
