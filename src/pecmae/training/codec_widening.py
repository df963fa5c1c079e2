"""A codec whose decoder is wider than its encoder, and how a trained decoder becomes one.

The encoder decides what every later stage has to compute; the decoder alone decides how well features sound. So the decoder
may grow after all else is trained.

Shapes: C channels, K kernel.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from transformers import EncodecConfig, EncodecModel
from transformers.models.encodec.modeling_encodec import EncodecDecoder

# Two copies of a channel divide its outgoing weights: each gets half, give or take this share of the half.
UNEVENNESS = 0.8

Convolution = nn.Conv1d | nn.ConvTranspose1d


class Codec(EncodecModel):
    """transformers' `EncodecModel`, whose decoder may have a width of its own: `decoder_num_filters` in its config.

    Parameters
    ----------
    config : EncodecConfig
        Without the extra entry, encoder and decoder have `num_filters`, as published.
    """

    def __init__(self, config: EncodecConfig) -> None:
        super().__init__(config)
        if self.decoder_num_filters != config.num_filters:
            self.decoder = EncodecDecoder(_with_filters(config, self.decoder_num_filters))

    @property
    def decoder_num_filters(self) -> int:
        """Filters of the decoder's last layers."""
        return int(getattr(self.config, "decoder_num_filters", self.config.num_filters))


def _with_filters(config: EncodecConfig, num_filters: int) -> EncodecConfig:
    config = copy.deepcopy(config)
    config.num_filters = num_filters
    return config


@torch.no_grad()
def with_wider_decoder(codec: Codec, generator: torch.Generator) -> Codec:
    """A codec whose decoder has twice the filters and, to begin with, the same output (Net2Net, arXiv 1511.05641).

    Every channel comes twice. The copies share its outgoing weights unevenly, at random, so that training tells them apart.

    Parameters
    ----------
    codec : Codec
        Left as it is.
    generator : torch.Generator
        Draws the shares.
    """
    config = copy.deepcopy(codec.config)
    config.decoder_num_filters = 2 * codec.decoder_num_filters
    wider = Codec(config)
    wider.encoder.load_state_dict(codec.encoder.state_dict())
    wider.quantizer.load_state_dict(codec.quantizer.state_dict())
    narrow = dict(codec.decoder.named_modules())
    for name, module in wider.decoder.named_modules():
        source: Any = narrow[name]
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
            _widen_convolution(module, source, generator)
        elif isinstance(module, nn.LSTM):
            _widen_lstm(module, source, generator)
    return wider


def _widen_convolution(wide: Convolution, narrow: Convolution, generator: torch.Generator) -> None:
    """Fill a convolution; the ends of the decoder, features and waveform, keep their number of channels."""
    assert wide.bias is not None
    assert narrow.bias is not None
    into, out = (0, 1) if isinstance(narrow, nn.ConvTranspose1d) else (1, 0)
    weight: Tensor = narrow.weight
    if wide.weight.shape[into] != weight.shape[into]:
        weight = _divided(weight, into, generator)
    if wide.weight.shape[out] != weight.shape[out]:
        weight = torch.cat([weight, weight], out)
    # torch's weight norm takes this apart into directions and lengths.
    wide.weight = weight
    wide.bias.copy_(narrow.bias.repeat(len(wide.bias) // len(narrow.bias)))


def _widen_lstm(wide: nn.LSTM, narrow: nn.LSTM, generator: torch.Generator) -> None:
    """Fill an LSTM; each of its four gates has rows for all channels, one gate after the other."""
    for name, parameter in wide.named_parameters():
        value = getattr(narrow, name)
        if value.ndim == 2:
            value = _divided(value, 1, generator)
        gates = value.unflatten(0, (4, -1))  # (4, C, …)
        parameter.copy_(torch.cat([gates, gates], 1).flatten(0, 1))


def _divided(weight: Tensor, dim: int, generator: torch.Generator) -> Tensor:
    """`weight` twice along `dim`, in two uneven parts that add up to it."""
    share = 0.5 + 0.5 * UNEVENNESS * (2 * torch.rand(weight.shape, generator=generator) - 1)
    return torch.cat([weight * share, weight * (1 - share)], dim)
