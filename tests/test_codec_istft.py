"""The decoder that ends in an inverse Fourier transform: lengths, overlaps, and its place in an autoencoder."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from conftest import TINY
from pecmae import Autoencoder
from pecmae.autoencoder.codec_istft import OVERLAP, ISTFTDecoder
from pecmae.data.embedding_cache import autoencoder_key
from pecmae.errors import ConfigError

ISTFT = replace(TINY, codec_decoder="istft", istft_dim=12, istft_num_layers=3)


@pytest.fixture(scope="module")
def decoder() -> ISTFTDecoder:
    torch.manual_seed(0)
    return ISTFTDecoder(ISTFT).eval()


def test_windowed_pieces_of_a_sound_add_up_to_the_sound_up_to_its_ends(decoder: ISTFTDecoder) -> None:
    hop, count = decoder.hop_length, 7
    sound = torch.randn(2, count * hop, generator=torch.Generator().manual_seed(1))
    beyond = (OVERLAP - 1) * hop // 2
    frames = torch.nn.functional.pad(sound, (beyond, beyond)).unfold(1, OVERLAP * hop, hop)  # (2, count, window)
    torch.testing.assert_close(decoder.overlap_add(frames * decoder.window), sound, atol=1e-5, rtol=0)


@pytest.mark.parametrize("frames", [1, 2, 9])
def test_every_codec_frame_becomes_a_hop_of_sound(decoder: ISTFTDecoder, frames: int) -> None:
    wav = decoder(torch.randn(2, frames, ISTFT.feature_dim))
    assert wav.shape == (2, frames * ISTFT.hop_length)
    assert torch.isfinite(wav).all()


def test_magnitudes_and_phases_are_those_of_the_last_layer(decoder: ISTFTDecoder) -> None:
    """With the last layer's weights at zero its bias is the spectrum of every frame: here one bin, in phase from hop to hop."""
    istft = ISTFTDecoder(ISTFT).eval()
    bins, hop = OVERLAP * istft.hop_length // 2 + 1, istft.hop_length
    with torch.no_grad():
        istft.spectrum.weight.zero_()
        istft.spectrum.bias.fill_(-100.0)
        istft.spectrum.bias[bins:] = 0.0
        # Bin 4 turns once a hop; of an inverse transform of W values, e gives a cosine of amplitude 2 e / W.
        istft.spectrum.bias[OVERLAP] = 1.0
        wav = istft(torch.zeros(1, 6, ISTFT.feature_dim))[0]
    turns = torch.arange(len(wav)) / hop + 1.5  # the first frame begins 1.5 hops before the sound
    window = istft.window
    gain = sum(window[k * hop] for k in range(OVERLAP)) / sum(window[k * hop] ** 2 for k in range(OVERLAP))
    expected = 2 * torch.e / (OVERLAP * hop) * torch.cos(2 * torch.pi * turns) * gain
    middle = slice(2 * hop, -2 * hop)
    torch.testing.assert_close(wav[middle], expected[middle], atol=1e-6, rtol=1e-4)


def test_an_autoencoder_with_it_is_stored_and_loaded_whole_and_makes_the_same_z(
    tmp_path: Path, tiny_autoencoder: Autoencoder
) -> None:
    autoencoder = Autoencoder(ISTFT).eval()
    shared = {name: value for name, value in tiny_autoencoder.state_dict().items() if not name.startswith("codec_decoder")}
    autoencoder.load_state_dict(shared, strict=False)
    autoencoder.save_pretrained(tmp_path / "istft")
    loaded = Autoencoder.from_directory(tmp_path / "istft")
    z = torch.randn(1, ISTFT.embedding_dim, generator=torch.Generator().manual_seed(0))
    sounds = [found.decode(z, generator=torch.Generator().manual_seed(1)) for found in (autoencoder, loaded, tiny_autoencoder)]
    torch.testing.assert_close(sounds[0], sounds[1])
    assert sounds[0].shape == sounds[2].shape
    assert not torch.allclose(sounds[0], sounds[2])
    assert autoencoder_key(loaded) == autoencoder_key(tiny_autoencoder)


def test_hops_that_spectra_cannot_share_and_unknown_decoders_are_refused() -> None:
    with pytest.raises(ConfigError, match="istft_upsampling=3 must divide half of the codec's hop of 320"):
        replace(ISTFT, istft_upsampling=3)
    with pytest.raises(ConfigError, match="codec_decoder='vocos' is not known; choose one of encodec, istft"):
        replace(ISTFT, codec_decoder="vocos")
