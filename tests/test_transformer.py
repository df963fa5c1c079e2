"""Attention by plain products is the fused kernel's."""

import pytest
import torch
from torch.nn import functional as F

from pecmae.autoencoder import transformer
from pecmae.autoencoder.transformer import attend


def heads(dtype: torch.dtype, queries: int = 30) -> list[torch.Tensor]:
    """Query, key and value of 5 rows, 3 heads, 30 tokens, in the order in which a layer makes them."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(5, queries, 3, 16), (5, 30, 3, 16), (5, 30, 3, 16)]
    return [torch.randn(shape, generator=generator).to(dtype).transpose(1, 2) for shape in shapes]


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("lengths", [None, [30, 1, 7, 29, 12], [11]], ids=["whole", "padded", "alike"])
@pytest.mark.parametrize("queries", [1, 30])
def test_products_of_bfloat16_are_attention(monkeypatch, rows, lengths, queries):
    monkeypatch.setattr(transformer, "SCORES_AT_ONCE", rows * 3 * queries * 30)
    visible = None if lengths is None else (torch.arange(30) < torch.tensor(lengths)[:, None])[:, None, None]
    query, key, value = heads(torch.bfloat16, queries)
    wanted = F.scaled_dot_product_attention(query.float(), key.float(), value.float(), attn_mask=visible)
    monkeypatch.setattr(F, "scaled_dot_product_attention", None)
    found = attend(query, key, value, visible)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), wanted, atol=0.02, rtol=0.02)


def test_padding_does_not_leak():
    query, key, value = heads(torch.bfloat16)
    visible = (torch.arange(30) < 20).expand(5, 1, 1, 30)
    before = attend(query, key, value, visible)
    key[:, :, 20:], value[:, :, 20:] = 50.0, -50.0
    assert torch.equal(attend(query, key, value, visible), before)


@pytest.mark.parametrize(
    ("dtype", "gradient", "bound"),
    [(torch.float32, None, 2**23), (torch.bfloat16, 0, 2**23), (torch.bfloat16, 2, 2**23), (torch.bfloat16, None, 2699)],
    ids=["float32", "training", "learned values", "one row is too long"],
)
def test_the_fused_kernel_is_kept_where_products_gain_nothing(monkeypatch, dtype, gradient, bound):
    monkeypatch.setattr(transformer, "SCORES_AT_ONCE", bound)
    tensors = heads(dtype)
    if gradient is not None:
        tensors[gradient].requires_grad_()
    calls = []
    fused = F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *args, **options: calls.append(1) or fused(*args, **options))
    assert attend(*tensors).requires_grad is (gradient is not None)
    assert calls == [1]
