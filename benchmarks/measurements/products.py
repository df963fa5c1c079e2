"""The machine's limit: the matrix products of a model alone, counted by hand and timed with `torch.mm`.

Shapes: B batch, T tokens, D width, H heads.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import nn

from measurements.timing import interleaved
from pecmae import AutoencoderConfig


class Product(NamedTuple):
    """`count` products of (rows, inner) by (inner, columns)."""

    rows: int
    inner: int
    columns: int
    count: int = 1
    # Of activations with activations: counted, but not timed.
    attention: bool = False

    @property
    def flop(self) -> int:
        """Multiplications and additions."""
        return 2 * self.rows * self.inner * self.columns * self.count


def total_flop(products: Sequence[Product]) -> int:
    """Of all products."""
    return sum(product.flop for product in products)


def stack_products(batch: int, tokens: int, dim: int, hidden: int, layers: int, heads: int) -> list[Product]:
    """Products of a transformer."""
    rows = batch * tokens
    return [
        Product(rows, dim, 3 * dim, layers),
        Product(tokens, dim // heads, tokens, layers * batch * heads, attention=True),
        Product(tokens, tokens, dim // heads, layers * batch * heads, attention=True),
        Product(rows, dim, dim, layers),
        Product(rows, dim, hidden, layers),
        Product(rows, hidden, dim, layers),
    ]


def encoder_products(config: AutoencoderConfig, batch: int = 1) -> list[Product]:
    """Of EnCodecMAE, for `batch` segments."""
    frames, dim = config.segment_frames, config.embedding_dim
    stack = stack_products(batch, frames, dim, config.feed_forward_dim, config.num_encoder_layers, config.num_encoder_heads)
    return [Product(batch * frames, config.feature_dim, dim), *stack]


def summarizer_products(config: AutoencoderConfig, batch: int = 1) -> list[Product]:
    """Of the summarizer, for `batch` segments: its last layer has to answer for the first token alone."""
    tokens, dim, hidden, heads = config.segment_frames + 1, config.embedding_dim, config.feed_forward_dim, config.num_heads
    return [
        *stack_products(batch, tokens, dim, hidden, config.num_summarizer_layers - 1, heads),
        Product(batch * tokens, dim, 2 * dim),
        Product(1, dim // heads, tokens, batch * heads, attention=True),
        Product(1, tokens, dim // heads, batch * heads, attention=True),
        Product(batch, dim, dim, 2),
        Product(batch, dim, hidden),
        Product(batch, hidden, dim),
    ]


def denoiser_products(config: AutoencoderConfig, batch: int = 1) -> list[Product]:
    """Of one pass of the denoiser, for `batch` latents."""
    frames, dim = config.segment_frames, config.embedding_dim
    return [
        Product(batch * frames, config.feature_dim, dim),
        *stack_products(batch, frames + 2, dim, config.feed_forward_dim, config.num_denoiser_layers, config.num_heads),
        Product(batch * frames, dim, config.feature_dim),
    ]


def codec_flop(codec: nn.Module, example: torch.Tensor) -> int:
    """Multiplications and additions of the convolutions and the LSTM of one half of the codec, for `example`."""
    flop = 0

    def count(module: nn.Module, arguments: tuple[torch.Tensor, ...], output: object) -> None:
        nonlocal flop
        if isinstance(module, nn.LSTM):
            steps, batch, width = arguments[0].shape
            flop += module.num_layers * 2 * steps * batch * 8 * width * width
        elif isinstance(module, nn.ConvTranspose1d):
            flop += 2 * arguments[0].numel() * module.out_channels * module.kernel_size[0]
        elif isinstance(module, nn.Conv1d):
            assert isinstance(output, torch.Tensor)
            flop += 2 * output.numel() * module.in_channels * module.kernel_size[0]

    handles = [module.register_forward_hook(count) for module in codec.modules()]
    with torch.no_grad():
        codec(example)
    for handle in handles:
        handle.remove()
    return flop


class ProductRun:
    """Runs the products of a model's linear layers, and nothing else, into memory that is there already.

    Parameters
    ----------
    products : sequence of Product
        Those of attention are left out: they are counted at the rate of the others.
    dtype : torch.dtype
    """

    def __init__(self, products: Sequence[Product], dtype: torch.dtype) -> None:
        self.products = [product for product in products if not product.attention]
        self.operands = [
            (
                torch.randn(product.rows, product.inner).to(dtype),
                torch.randn(product.columns, product.inner).to(dtype).T,
                torch.empty(product.rows, product.columns, dtype=dtype),
            )
            for product in self.products
        ]

    def __call__(self) -> None:
        """Run them once."""
        for product, (left, right, out) in zip(self.products, self.operands, strict=True):
            for _ in range(product.count):
                torch.mm(left, right, out=out)

    def rate(self, seconds: float) -> float:
        """FLOP a second, when one run takes `seconds`."""
        return total_flop(self.products) / seconds


def product_runs(
    products: Sequence[Product], dtypes: dict[str, torch.dtype]
) -> tuple[dict[str, Callable[[], object]], dict[str, ProductRun]]:
    """Runs named `limit NAME`, ready for `interleaved`, and by the names of `dtypes`."""
    runs = {name: ProductRun(products, dtype) for name, dtype in dtypes.items()}
    return {f"limit {name}": run for name, run in runs.items()}, runs


def gemm_rates(products: Sequence[Product], rounds: int) -> dict[str, float]:
    """GFLOP a second of `products`, by the name of a floating-point type."""
    limits, runs = product_runs(products, {"float32": torch.float32, "bfloat16": torch.bfloat16})
    times = interleaved(limits, rounds)
    return {name: run.rate(times[f"limit {name}"]) / 1e9 for name, run in runs.items()}
