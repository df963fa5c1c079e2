"""The codec written out here computes what transformers' does, from the same tensors under the same names."""

import copy

import numpy as np
import pytest
import torch
from transformers import EncodecConfig
from transformers.audio_utils import mel_filter_bank
from transformers.models.encodec.modeling_encodec import EncodecDecoder, EncodecEncoder

from pecmae import AutoencoderConfig
from pecmae.audio.mel import mel_bank
from pecmae.autoencoder.codec import CausalConv, CodecDecoder, CodecEncoder, NormedConvolution, pad_reflected
from pecmae.training.spectral_loss import MEL_RESOLUTIONS

CONFIG = AutoencoderConfig(
    feature_dim=8,
    codec_num_filters=2,
    codec_decoder_num_filters=2,
    codec_upsampling_ratios=(4, 5),
    segment_seconds=0.1,
    codec_num_lstm_layers=2,
)


@pytest.fixture(scope="module")
def theirs() -> tuple[EncodecEncoder, EncodecDecoder]:
    torch.manual_seed(0)
    config = EncodecConfig(hidden_size=8, num_filters=2, upsampling_ratios=[4, 5], num_lstm_layers=2)
    return EncodecEncoder(config).eval(), EncodecDecoder(config).eval()


@pytest.fixture
def ours(theirs) -> tuple[CodecEncoder, CodecDecoder]:
    encoder, decoder = CodecEncoder(CONFIG).eval(), CodecDecoder(CONFIG).eval()
    encoder.load_state_dict(theirs[0].state_dict())
    decoder.load_state_dict(theirs[1].state_dict())
    return encoder, decoder


@pytest.mark.parametrize("samples", [400, 401, 419, 21, 20, 6, 1])
@torch.no_grad()
def test_it_computes_what_transformers_computes(theirs, ours, samples):
    wav = torch.randn(2, 1, samples, generator=torch.Generator().manual_seed(1))
    features = theirs[0](wav)
    torch.testing.assert_close(ours[0](wav[:, 0]), features.mT, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(ours[1](features.mT), theirs[1](features)[:, 0], atol=1e-6, rtol=1e-5)


def test_it_stores_what_transformers_stores(theirs, ours):
    for own, other in zip(ours, theirs, strict=True):
        assert own.state_dict().keys() == other.state_dict().keys()
        for name, tensor in other.state_dict().items():
            assert torch.equal(own.state_dict()[name], tensor)


@torch.no_grad()
def test_its_weights_follow_every_load_and_copies_are_independent(theirs, ours):
    wav = torch.randn(1, 100, generator=torch.Generator().manual_seed(1))
    encoder, before = ours[0], ours[0](wav)
    other = copy.deepcopy(encoder)
    other.load_state_dict({name: 0.5 * tensor for name, tensor in theirs[0].state_dict().items()})
    assert torch.equal(encoder(wav), before)
    assert not torch.allclose(other(wav), before)
    other.load_state_dict(theirs[0].state_dict())
    assert torch.equal(other(wav), before)


def test_no_weight_is_recomputed_in_a_call(ours, monkeypatch):
    def refuse(*_: object) -> None:
        raise AssertionError("weight norm ran")

    monkeypatch.setattr(torch, "_weight_norm", refuse)
    with torch.no_grad():
        ours[1](ours[0](torch.zeros(1, 100)))
    assert any(isinstance(module, NormedConvolution) for module in ours[0].modules())


@torch.enable_grad()
def test_its_gradients_are_those_of_transformers(theirs, ours):
    wav = torch.randn(2, 60, generator=torch.Generator().manual_seed(1))
    features = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(2))
    for x, mine, other in (
        (wav, ours[0], lambda x: theirs[0](x[:, None]).mT),
        (features, ours[1], lambda x: theirs[1](x.mT)[:, 0]),
    ):
        gradients = []
        for run in (mine, other):
            leaf = x.clone().requires_grad_()
            run(leaf).square().sum().backward()
            gradients.append(leaf.grad)
        torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(("left", "right"), [(6, 0), (0, 7), (9, 9)])
@pytest.mark.parametrize("dim", [1, -1])
def test_what_is_too_short_to_be_mirrored_is_extended_by_zeros(theirs, left, right, dim):
    x = torch.randn(2, 6, 6, generator=torch.Generator().manual_seed(0))
    conv = next(module for module in theirs[0].modules() if hasattr(module, "_pad1d"))
    wanted = conv._pad1d(x.movedim(dim, -1), (left, right), mode="reflect").movedim(-1, dim)
    assert torch.equal(pad_reflected(x, left, right, dim), wanted)


@pytest.mark.parametrize(("left", "right"), [(0, 0), (2, 0), (0, 3), (4, 1)])
def test_padding_is_the_mirror_image(left, right):
    x = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(x, (left, right), "reflect")
    assert torch.equal(pad_reflected(x, left, right, dim=-1), padded)
    assert torch.equal(pad_reflected(x.mT, left, right, dim=1), padded.mT)


def test_a_causal_convolution_does_not_look_ahead():
    torch.manual_seed(0)
    conv, x = CausalConv(1, 2, 3), torch.randn(1, 10, 1)
    changed = x.clone()
    changed[:, 6:] = 5.0
    with torch.no_grad():
        assert torch.equal(conv(x)[:, :6], conv(changed)[:, :6])


@pytest.mark.filterwarnings("ignore:At least one mel filter")  # the lowest bands are narrower than a bin
@pytest.mark.parametrize(("n_fft", "bands"), MEL_RESOLUTIONS)
def test_mel_bands_are_those_of_transformers(n_fft, bands):
    theirs = mel_filter_bank(n_fft // 2 + 1, bands, 0.0, 12_000.0, 24_000, norm=None, mel_scale="htk")
    assert np.abs(mel_bank(n_fft, bands, 24_000) - theirs).max() < 1e-12
