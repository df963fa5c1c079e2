"""EnCodecMAE (Pepino et al. 2023): frame embeddings of codec features.

Shapes: B batch, T frames, F codec features, D width.
"""

from torch import Tensor, nn

from pecmae.autoencoder.transformer import SinusoidalPosition, Transformer


class EncodecMAE(nn.Module):
    """The encoder: codec features to contextual frame embeddings.

    Parameters
    ----------
    feature_dim : int
        Codec features F.
    dim, feed_forward_dim, num_layers, num_heads : int
        Sizes of the transformer.
    """

    def __init__(self, feature_dim: int, dim: int, feed_forward_dim: int, num_layers: int, num_heads: int) -> None:
        super().__init__()
        self.projection = nn.Linear(feature_dim, dim)
        self.position = SinusoidalPosition(dim)
        self.encoder = Transformer(dim, feed_forward_dim, num_layers, num_heads)

    def project(self, features: Tensor) -> Tensor:
        """Tokens of `features` [shape=(B, T, F)], with their positions [shape=(B, T, D)]."""
        return self.projection(features) + self.position(features.shape[1])

    def forward(self, features: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Embed `features` [shape=(B, T, F)] as [shape=(B, T, D)]; `padding_mask` [shape=(B, T)] is True at padding."""
        return self.encoder(self.project(features), padding_mask)
