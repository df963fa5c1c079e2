"""The ResiDual transformer that every part of the model is a stack of, and its positions.

Shapes: B batch, T tokens, D width, H heads.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Attention weights that are worked on together: of bfloat16, 16 MB.
SCORES_AT_ONCE = 2**23


class SinusoidalPosition(nn.Module):
    """Sinusoidal positions with one learned scale; even channels hold sines, odd channels cosines.

    Parameters
    ----------
    dim : int
        Width D.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, num_tokens: int) -> Tensor:
        """Positions 0 … T-1, scaled [shape=(T, D)]."""
        device = self.scale.device
        # The angles need float32 whatever the model's dtype: bfloat16 cannot count to 300.
        position = torch.arange(num_tokens, device=device, dtype=torch.float32)
        channel = torch.arange(0, self.dim, 2, device=device, dtype=torch.float32)
        angle = position[:, None] * torch.exp(channel * (-math.log(10000.0) / self.dim))  # (T, D/2)
        table = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)  # (T, D)
        return self.scale * table.to(self.scale.dtype)


def attend(query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None = None) -> Tensor:
    """Values, weighted by how much each query looks at each key.

    Parameters
    ----------
    query : Tensor [shape=(B, H, Q, D/H)]
    key, value : Tensor [shape=(B, H, T, D/H)]
    visible : Tensor [shape=(B or 1, 1, 1, T), bool], optional
        True where a key may be attended to; in every row at least once.

    Returns
    -------
    Tensor [shape=(B, H, Q, D/H)]
    """
    # The fused kernel saves memory, but where a CPU has bfloat16 and tokens are hundreds, not thousands, plain products are
    # faster. A few rows go together, so that their scores stay in the cache.
    rows = SCORES_AT_ONCE // (query.shape[1] * query.shape[2] * key.shape[2])
    learning = any(tensor.requires_grad for tensor in (query, key, value))
    if query.device.type != "cpu" or query.dtype != torch.bfloat16 or learning or not rows:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=visible)
    parts = []
    for first in range(0, len(query), rows):
        part = slice(first, first + rows)
        mask = None if visible is None else visible.expand(len(query), -1, -1, -1)[part]
        parts.append(_attend_by_products(query[part], key[part], value[part], mask))
    return torch.cat(parts)


def _attend_by_products(query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None) -> Tensor:
    heads = query.shape[:2]
    query, key, value = (tensor.reshape(-1, *tensor.shape[2:]) for tensor in (query, key, value))  # (B · H, T, D/H)
    scale = query.shape[-1] ** -0.5
    scores = torch.baddbmm(query.new_empty(()), query, key.transpose(1, 2), beta=0, alpha=scale)  # (B · H, Q, T)
    if visible is not None:
        scores.unflatten(0, heads).masked_fill_(~visible, -torch.inf)
    return torch.bmm(torch.softmax(scores, -1, out=scores), value).unflatten(0, heads)


class Attention(nn.Module):
    """Multi-head self-attention without biases.

    Parameters
    ----------
    dim : int
        Width D.
    num_heads : int
        Heads H; must divide D.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)

    def forward(self, x: Tensor, visible: Tensor | None = None, queries: int | None = None) -> Tensor:
        """Attend over `x` [shape=(B, T, D)].

        `visible` [shape=(B, 1, 1, T)] is True where a key may be attended to. Only the first `queries` tokens attend, all of
        them by default.
        """
        if queries is None:
            qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1))  # (B, T, 3, H, D/H)
            query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (B, H, T, D/H)
        else:
            of_query, of_key_and_value = self.qkv.weight.split([x.shape[-1], 2 * x.shape[-1]])
            query = F.linear(x[:, :queries], of_query).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            key, value = F.linear(x, of_key_and_value).unflatten(-1, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        attended = attend(query, key, value, visible)  # (B, H, T, D/H)
        return self.out(attended.transpose(1, 2).flatten(2))  # (B, T, D)


class ResiDualLayer(nn.Module):
    """One layer: its own attention and norms, around a feed-forward that belongs to the stack."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.attention = Attention(dim, num_heads)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)

    def forward(
        self, normed: Tensor, summed: Tensor, feed_forward: nn.Module, visible: Tensor | None, queries: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Update both streams [shape=(B, T, D)]; their first `queries` tokens alone, if given."""
        attended = self.attention(normed, visible, queries)
        normed, summed = normed[:, :queries], summed[:, :queries]
        normed, summed = self.norm1(normed + attended), summed + attended
        transformed = feed_forward(normed)
        return self.norm2(normed + transformed), summed + transformed


class Transformer(nn.Module):
    """A ResiDual stack (Xie et al. 2023, arXiv 2304.14802) whose layers share one feed-forward.

    Two streams start equal. Post-norm layers update the first; the second sums what the layers add, unnormalised, and joins
    at the end.

    Parameters
    ----------
    dim : int
        Width D.
    feed_forward_dim : int
        Hidden width of the shared feed-forward.
    num_layers, num_heads : int
        Depth, and heads of each layer.
    """

    def __init__(self, dim: int, feed_forward_dim: int, num_layers: int, num_heads: int) -> None:
        super().__init__()
        self.feed_forward_dim, self.num_heads = feed_forward_dim, num_heads
        self.layers = nn.ModuleList(ResiDualLayer(dim, num_heads) for _ in range(num_layers))
        self.feed_forward = nn.Sequential(
            nn.Linear(dim, feed_forward_dim), nn.ReLU(inplace=True), nn.Linear(feed_forward_dim, dim)
        )
        self.final_norm = nn.LayerNorm(dim)
        self.apply(_initialise_linear)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None, outputs: int | None = None) -> Tensor:
        """Transform `x`.

        Parameters
        ----------
        x : Tensor [shape=(B, T, D)]
        padding_mask : Tensor [shape=(B, T), bool], optional
            True where a token is padding: never attended to. At least one token of each row must not be.
        outputs : int, optional
            How many tokens, from the first, are wanted; the last layer leaves out the work for the others.

        Returns
        -------
        Tensor [shape=(B, T or outputs, D)]
        """
        visible = None if padding_mask is None else ~padding_mask[:, None, None, :]  # (B, 1, 1, T)
        normed = summed = x
        for layer in self.layers[:-1]:
            normed, summed = layer(normed, summed, self.feed_forward, visible)
        normed, summed = self.layers[-1](normed, summed, self.feed_forward, visible, outputs)
        return normed + self.final_norm(summed)


def _initialise_linear(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
