"""What the denoiser attends to, and how it is told the time."""

import pytest
import torch

from pecmae.autoencoder.denoiser import Denoiser

FEATURES, WIDTH, FRAMES = 4, 16, 10


@pytest.fixture
def denoiser() -> Denoiser:
    torch.manual_seed(0)
    return Denoiser(FEATURES, WIDTH, 32, 2, 2).eval()


def arguments(frames: int = FRAMES) -> dict[str, torch.Tensor]:
    """Noisy features, noise levels, conditions and positions; the first frames of longer ones are the same."""
    draws = torch.Generator().manual_seed(1)
    noisy, position = torch.randn(2, FRAMES, FEATURES, generator=draws), torch.randn(FRAMES, WIDTH, generator=draws)
    z = torch.randn(2, WIDTH, generator=draws)
    return {"noisy": noisy[:, :frames], "sigma": torch.tensor([0.2, 0.9]), "z": z, "position": position[:frames]}


@torch.no_grad()
def test_padding_is_not_attended_to(denoiser):
    given = arguments()
    padding_mask = torch.arange(FRAMES) >= torch.tensor([[FRAMES], [6]])
    given["noisy"][1, 6:] = 50.0
    found = denoiser(**given, padding_mask=padding_mask)
    short = denoiser(**arguments(6))
    torch.testing.assert_close(found[1, :6], short[1], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found[0], denoiser(**arguments())[0], atol=1e-5, rtol=1e-4)
    assert (denoiser(**given)[1, :6] - short[1]).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["noisy", "sigma", "z", "position"])
@torch.no_grad()
def test_every_input_matters(denoiser, name):
    given = arguments()
    before = denoiser(**given)
    given[name] = given[name] + 0.1
    assert (denoiser(**given) - before).abs().amax((1, 2)).min() > 1e-4


@torch.no_grad()
def test_time_goes_through_all_layers_and_is_not_rounded(denoiser):
    sigma = torch.tensor([0.5, 0.501])
    expected = denoiser.time_embedding(sigma[:, None])
    torch.testing.assert_close(denoiser.embed_time(sigma), expected)
    # To bfloat16 both levels are 0.5.
    rounded = denoiser.to(torch.bfloat16).embed_time(torch.tensor([0.5, 0.501, 0.5]))
    assert rounded.dtype == torch.bfloat16
    assert torch.equal(rounded[0], rounded[2])
    assert not torch.equal(rounded[0], rounded[1])
