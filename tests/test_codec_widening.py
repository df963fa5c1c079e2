"""A wider decoder does at first what the narrow one did, and all its channels can learn."""

import pytest
import torch

from pecmae.training.codec import codec_config
from pecmae.training.codec_widening import Codec, with_wider_decoder


@pytest.fixture(scope="module")
def narrow() -> Codec:
    torch.manual_seed(0)
    sizes = {"num_filters": 2, "hidden_size": 8, "upsampling_ratios": (4, 5), "num_codebooks": 2, "codebook_size": 16}
    return Codec(codec_config(**sizes, num_lstm_layers=2)).eval()


@pytest.fixture(scope="module")
def wide(narrow) -> Codec:
    return with_wider_decoder(narrow, torch.Generator().manual_seed(0)).eval()


@torch.no_grad()
def test_it_sounds_as_before(narrow, wide):
    features = torch.randn(2, 8, 30, generator=torch.Generator().manual_seed(1))
    before = narrow.decoder(features)
    torch.testing.assert_close(wide.decoder(features), before, atol=1e-6, rtol=1e-5)
    assert before.std() > 1e-3
    wav = torch.randn(1, 1, 400, generator=torch.Generator().manual_seed(2))
    assert torch.equal(wide.encoder(wav), narrow.encoder(wav))


def test_it_has_twice_the_filters_and_the_narrow_codec_is_untouched(narrow, wide):
    assert (narrow.decoder_num_filters, wide.decoder_num_filters, wide.config.num_filters) == (2, 4, 2)
    assert wide.decoder.layers[0].conv.weight.shape == (16, 8, 7)
    assert narrow.decoder.layers[0].conv.weight.shape == (8, 8, 7)


def test_copies_of_a_channel_learn_different_things(wide):
    features = torch.randn(1, 8, 30, generator=torch.Generator().manual_seed(1))
    wide.decoder(features).square().mean().backward()
    first, second = wide.decoder.layers[0].conv.bias.grad.chunk(2)
    assert (first - second).abs().min() > 1e-3 * first.abs().mean()
    wide.zero_grad()


@torch.no_grad()
def test_it_comes_back_from_disk_and_can_be_widened_again(wide, tmp_path):
    wide.save_pretrained(tmp_path)
    again = Codec.from_pretrained(tmp_path).eval()
    features = torch.randn(1, 8, 30, generator=torch.Generator().manual_seed(1))
    assert torch.equal(again.decoder(features), wide.decoder(features))
    widest = with_wider_decoder(again, torch.Generator().manual_seed(0)).eval()
    assert widest.decoder_num_filters == 8
    torch.testing.assert_close(widest.decoder(features), wide.decoder(features), atol=1e-6, rtol=1e-5)
