"""The denoiser: the network of the v-diffusion that turns noise into codec features, told what to make by z.

Shapes: B batch, T frames, F codec features, D width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pecmae.autoencoder.transformer import Transformer


class Denoiser(nn.Module):
    """A transformer over [z, time, noisy frames]; what it makes of the frames is v.

    Parameters
    ----------
    feature_dim : int
        Codec features F.
    dim, feed_forward_dim, num_layers, num_heads : int
        Sizes of the transformer.
    """

    def __init__(self, feature_dim: int, dim: int, feed_forward_dim: int, num_layers: int, num_heads: int) -> None:
        super().__init__()
        self.in_adapter = nn.Linear(feature_dim, dim)
        self.time_embedding = nn.Sequential(nn.Linear(1, dim), nn.ReLU(), nn.Linear(dim, dim))
        self.encoder = Transformer(dim, feed_forward_dim, num_layers, num_heads)
        self.out_adapter = nn.Linear(dim, feature_dim)

    def forward(self, noisy: Tensor, sigma: Tensor, z: Tensor, position: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Predict v.

        Parameters
        ----------
        noisy : Tensor [shape=(B, T, F)]
            Noisy codec features.
        sigma : Tensor [shape=(B,), in [0, 1]]
            Noise level of each.
        z : Tensor [shape=(B, D)]
            Condition; zeros for none.
        position : Tensor [shape=(T, D)]
            Positions of the frames; z and time have none.
        padding_mask : Tensor [shape=(B, T), bool], optional
            True where a frame is padding.

        Returns
        -------
        Tensor [shape=(B, T, F)]
        """
        frames = self.in_adapter(noisy) + position  # (B, T, D)
        time = self.embed_time(sigma)  # (B, D)
        tokens = torch.cat([z[:, None], time[:, None], frames], dim=1)  # (B, 2 + T, D)
        if padding_mask is not None:
            padding_mask = F.pad(padding_mask, (2, 0), value=False)
        return self.out_adapter(self.encoder(tokens, padding_mask)[:, 2:])

    def embed_time(self, sigma: Tensor) -> Tensor:
        """Tokens [shape=(B, D)] of noise levels `sigma` [shape=(B,)]."""
        first, dtype = self.time_embedding[0], self.in_adapter.weight.dtype
        assert isinstance(first, nn.Linear)
        # In float32 whatever the model's dtype: neighbouring steps would become one level.
        hidden = F.linear(sigma[:, None].float(), first.weight.float(), first.bias.float())
        return self.time_embedding[1:](hidden.to(dtype))
