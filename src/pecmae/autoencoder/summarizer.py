"""The summarizer: frame embeddings of a segment to one vector z.

Shapes: B batch, T frames, D width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pecmae.autoencoder.transformer import Transformer


class Summarizer(nn.Module):
    """A transformer that reads a segment behind one learned vector, whose output is z.

    Parameters
    ----------
    dim, feed_forward_dim, num_layers, num_heads : int
        Sizes of the transformer.
    """

    def __init__(self, dim: int, feed_forward_dim: int, num_layers: int, num_heads: int) -> None:
        super().__init__()
        self.cls = nn.Parameter(torch.empty(dim))
        if not self.cls.is_meta:  # sizes alone are asked for
            nn.init.normal_(self.cls, std=0.02)
        self.encoder = Transformer(dim, feed_forward_dim, num_layers, num_heads)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Summarize positioned embeddings `x` [shape=(B, T, D)] as z [shape=(B, D)]; `padding_mask` [shape=(B, T)]."""
        tokens = torch.cat([self.cls.expand(x.shape[0], 1, -1), x], dim=1)  # (B, 1 + T, D)
        if padding_mask is not None:
            padding_mask = F.pad(padding_mask, (1, 0), value=False)
        return self.encoder(tokens, padding_mask, outputs=1)[:, 0]
