"""EnCodec's encoder and decoder (Défossez et al. 2022, arXiv 2210.13438): a waveform to features, and features to a waveform.

Layers, names and arithmetic are those of transformers' `EncodecModel`, whose weights load as they are. They are written out
because inference needs nothing else of transformers, which takes longer to import than torch, and because a convolution here
runs on one plain weight: weight norm is multiplied out when weights are loaded, not at every call. To train a codec, use
transformers' model.

Shapes: B batch, C channels, N time steps.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pecmae.configuration import AutoencoderConfig

KERNEL, RESIDUAL_KERNEL = 7, 3
# Channels in the middle of a residual block: those outside divided by this.
COMPRESSION = 2


def pad_reflected(x: Tensor, left: int, right: int) -> Tensor:
    """Pad `x` [shape=(B, C, N)] at both ends by its mirror image, by copying: `F.pad` does it slowly on CPUs.

    As EnCodec does, what is too short to be mirrored is extended by zeros first, which are cut off again.
    """
    length = x.shape[-1]
    if missing := max(0, max(left, right) + 1 - length):
        return F.pad(F.pad(x, (0, missing)), (left, right), "reflect")[..., : length + left + right]
    if not left + right:
        return x
    return torch.cat([x[..., 1 : left + 1].flip(-1), x, x[..., length - 1 - right : length - 1].flip(-1)], -1)


class NormedConvolution(nn.Module):
    """A convolution that is stored with weight norm, as directions and lengths, and runs on their product, `weight`.

    Parameters
    ----------
    conv : nn.Conv1d or nn.ConvTranspose1d
        Its filters are the directions; they begin with length 1.
    """

    weight: Tensor

    def __init__(self, conv: nn.Conv1d | nn.ConvTranspose1d) -> None:
        super().__init__()
        assert conv.bias is not None
        self.conv = StoredConvolution(conv.weight.detach(), conv.bias.detach())
        self.register_buffer("weight", None, persistent=False)
        self.register_load_state_dict_post_hook(_multiply_out)
        _multiply_out(self, None)


class StoredConvolution(nn.Module):
    """Tensors under the names that torch's weight norm gives them, without the work it does at every access."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.bias = nn.Parameter(bias)
        lengths = torch.ones(len(weight), 1, 1)
        self.parametrizations = nn.ModuleDict({"weight": nn.ParameterDict({"original0": lengths, "original1": weight})})


def _multiply_out(module: nn.Module, _: object) -> None:
    assert isinstance(module, NormedConvolution)
    stored: Any = module.conv.parametrizations["weight"]
    module.weight = torch._weight_norm(stored["original1"], stored["original0"]).detach()


class CausalConv(NormedConvolution):
    """A convolution that looks back only; reflected at the start, and at the end to fill the last stride."""

    def __init__(self, into: int, out: int, kernel: int, stride: int = 1) -> None:
        super().__init__(nn.Conv1d(into, out, kernel, stride))
        self.stride, self.padding = stride, kernel - stride

    def forward(self, x: Tensor) -> Tensor:
        """From [shape=(B, C, N)] to [shape=(B, C', ceil(N / stride))]."""
        padded = pad_reflected(x, self.padding, -x.shape[-1] % self.stride)
        return F.conv1d(padded, self.weight, self.conv.bias, self.stride)


class CausalUpsampling(NormedConvolution):
    """A transposed convolution whose kernel spans two strides; what it adds at the end is cut off."""

    def __init__(self, into: int, out: int, stride: int) -> None:
        super().__init__(nn.ConvTranspose1d(into, out, 2 * stride, stride))
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """From [shape=(B, C, N)] to [shape=(B, C', N · stride)]."""
        return F.conv_transpose1d(x, self.weight, self.conv.bias, self.stride)[..., : x.shape[-1] * self.stride]


class ResidualLSTM(nn.Module):
    """What an LSTM over time makes of its input, added to the input."""

    def __init__(self, dim: int, num_layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(dim, dim, num_layers)

    def forward(self, x: Tensor) -> Tensor:
        """From [shape=(B, C, N)] to the same shape."""
        steps = x.permute(2, 0, 1)  # (N, B, C)
        return (self.lstm(steps)[0] + steps).permute(1, 2, 0)


def one_by_one(layers: nn.Module, x: Tensor) -> Tensor:
    """What `layers` make of `x` [shape=(B, C, N)]; on a CPU of one row after the other, so that rows stay in the cache."""
    if x.device.type != "cpu":
        return layers(x)
    return torch.cat([layers(row) for row in x.split(1)])


class ResidualBlock(nn.Module):
    """Two convolutions beside a third."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        hidden = dim // COMPRESSION
        self.block = nn.Sequential(nn.ELU(), CausalConv(dim, hidden, RESIDUAL_KERNEL), nn.ELU(), CausalConv(hidden, dim, 1))
        self.shortcut = CausalConv(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """From [shape=(B, C, N)] to the same shape."""
        return self.shortcut(x) + self.block(x)


class CodecEncoder(nn.Module):
    """A waveform to features, before quantisation.

    Parameters
    ----------
    config : AutoencoderConfig
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        width = config.codec_num_filters
        layers: list[nn.Module] = [CausalConv(1, width, KERNEL)]
        for stride in reversed(config.codec_upsampling_ratios):
            layers += [ResidualBlock(width), nn.ELU(), CausalConv(width, 2 * width, 2 * stride, stride)]
            width *= 2
        layers += [ResidualLSTM(width, config.codec_num_lstm_layers), nn.ELU(), CausalConv(width, config.feature_dim, KERNEL)]
        self.layers = nn.Sequential(*layers)

    def forward(self, wav: Tensor) -> Tensor:
        """Features [shape=(B, F, T)] of `wav` [shape=(B, 1, N)], T = ceil(N / hop_length)."""
        return self.layers[-3:](one_by_one(self.layers[:-3], wav))


class CodecDecoder(nn.Module):
    """Features to a waveform.

    Parameters
    ----------
    config : AutoencoderConfig
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        width = config.codec_decoder_num_filters * 2 ** len(config.codec_upsampling_ratios)
        layers: list[nn.Module] = [CausalConv(config.feature_dim, width, KERNEL)]
        layers += [ResidualLSTM(width, config.codec_num_lstm_layers)]
        for stride in config.codec_upsampling_ratios:
            layers += [nn.ELU(), CausalUpsampling(width, width // 2, stride), ResidualBlock(width // 2)]
            width //= 2
        layers += [nn.ELU(), CausalConv(width, 1, KERNEL)]
        self.layers = nn.Sequential(*layers)

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return self.layers[0].weight.dtype  # type: ignore[return-value]

    def forward(self, features: Tensor) -> Tensor:
        """Waveform [shape=(B, 1, T · hop_length)] of `features` [shape=(B, F, T)]."""
        return one_by_one(self.layers[2:], self.layers[:2](features))
