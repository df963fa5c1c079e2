"""EnCodec's encoder and decoder (Défossez et al. 2022, arXiv 2210.13438): a waveform to features, and features to a waveform.

Layers, names and arithmetic are those of transformers' `EncodecModel`, whose weights load as they are. They are written out
because inference needs nothing else of transformers, which takes longer to import than torch, and because a convolution here
runs on one plain weight: weight norm is multiplied out when weights are loaded, not at every call. To train a codec, use
transformers' model.

Channels come last, so that what a layer reads of one time step lies together in memory, which is faster on CPUs.

Shapes: B batch, N time steps, C channels, K kernel.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pecmae.autoencoder.config import AutoencoderConfig

KERNEL, RESIDUAL_KERNEL = 7, 3
# Channels in the middle of a residual block: those outside divided by this.
COMPRESSION = 2


def pad_reflected(x: Tensor, left: int, right: int, dim: int) -> Tensor:
    """Pad `x` at both ends of dimension `dim` by its mirror image, by copying: `F.pad` does it slowly on CPUs.

    As EnCodec does, what is too short to be mirrored is extended by zeros first, which are cut off again.
    """
    if not left + right:
        return x
    length = x.shape[dim]
    if missing := max(0, max(left, right) + 1 - length):
        shape = list(x.shape)
        shape[dim] = missing
        x = torch.cat([x, x.new_zeros(shape)], dim)
    end = length + missing - 1
    mirrored = [x.narrow(dim, 1, left).flip(dim), x, x.narrow(dim, end - right, right).flip(dim)]
    return torch.cat(mirrored, dim).narrow(dim, 0, left + length + right)


def as_image(x: Tensor) -> Tensor:
    """A sequence [shape=(B, N, C)] as an image [shape=(B, C, 1, N)]: for these torch has kernels with channels last."""
    return x.mT[:, :, None]


def as_sequence(x: Tensor) -> Tensor:
    """Undo `as_image`."""
    return x[:, :, 0].mT


class NormedConvolution(nn.Module):
    """A convolution that is stored with weight norm, as directions and lengths, and runs on their product, `weight`.

    Parameters
    ----------
    conv : nn.Conv1d or nn.ConvTranspose1d
        Its filters are the directions; they begin with length 1.
    """

    weight: Tensor  # (C', C, 1, K); of a transposed convolution (C, C', 1, K)

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
    directions, lengths = stored["original1"], stored["original0"]
    # Where sizes alone are asked for there are no values to multiply.
    product = directions if directions.is_meta else torch._weight_norm(directions, lengths)
    weight = product.detach()[:, :, None]
    module.weight = weight.contiguous(memory_format=torch.channels_last)


class CausalConv(NormedConvolution):
    """A convolution that looks back only; reflected at the start, and at the end to fill the last stride."""

    def __init__(self, into: int, out: int, kernel: int, stride: int = 1) -> None:
        super().__init__(nn.Conv1d(into, out, kernel, stride))
        self.stride, self.padding = stride, kernel - stride

    def forward(self, x: Tensor) -> Tensor:
        """From [shape=(B, N, C)] to [shape=(B, ceil(N / stride), C')]."""
        padded = pad_reflected(x, self.padding, -x.shape[1] % self.stride, dim=1)
        return as_sequence(F.conv2d(as_image(padded), self.weight, self.conv.bias, (1, self.stride)))


class CausalUpsampling(NormedConvolution):
    """A transposed convolution whose kernel spans two strides; what it adds at the end is cut off."""

    def __init__(self, into: int, out: int, stride: int) -> None:
        super().__init__(nn.ConvTranspose1d(into, out, 2 * stride, stride))
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """From [shape=(B, N, C)] to [shape=(B, N · stride, C')]."""
        upsampled = as_sequence(F.conv_transpose2d(as_image(x), self.weight, self.conv.bias, (1, self.stride)))
        return upsampled[:, : x.shape[1] * self.stride]


class ResidualLSTM(nn.Module):
    """What an LSTM over time makes of its input, added to the input."""

    def __init__(self, dim: int, num_layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(dim, dim, num_layers, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """From [shape=(B, N, C)] to the same shape."""
        return self.lstm(x)[0] + x


def one_by_one(layers: nn.Module, x: Tensor) -> Tensor:
    """What `layers` make of `x` [shape=(B, N, C)]; on a CPU of one row after the other, so that rows stay in the cache."""
    if x.device.type != "cpu" or torch.compiler.is_exporting():  # an exported graph is of any number of rows
        return layers(x)
    return torch.cat([layers(row) for row in x.split(1)])


class ResidualBlock(nn.Module):
    """Two convolutions beside a third."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        hidden = dim // COMPRESSION
        self.block = nn.Sequential(
            nn.ELU(), CausalConv(dim, hidden, RESIDUAL_KERNEL), nn.ELU(inplace=True), CausalConv(hidden, dim, 1)
        )
        self.shortcut = CausalConv(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """From [shape=(B, N, C)] to the same shape."""
        shortcut, through = self.shortcut(x), self.block(x)
        # In place it takes less memory; in an exported graph it would become a scatter of single elements.
        return shortcut + through if torch.compiler.is_exporting() else shortcut.add_(through)


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
            layers += [ResidualBlock(width), nn.ELU(inplace=True), CausalConv(width, 2 * width, 2 * stride, stride)]
            width *= 2
        layers += [
            ResidualLSTM(width, config.codec_num_lstm_layers),
            nn.ELU(inplace=True),
            CausalConv(width, config.feature_dim, KERNEL),
        ]
        self.layers = nn.Sequential(*layers)

    def forward(self, wav: Tensor) -> Tensor:
        """Features [shape=(B, T, F)] of `wav` [shape=(B, N)], T = ceil(N / hop_length)."""
        return self.layers[-3:](one_by_one(self.layers[:-3], wav[..., None]))


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
            layers += [nn.ELU(inplace=True), CausalUpsampling(width, width // 2, stride), ResidualBlock(width // 2)]
            width //= 2
        layers += [nn.ELU(inplace=True), CausalConv(width, 1, KERNEL)]
        self.layers = nn.Sequential(*layers)

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return self.layers[0].weight.dtype  # type: ignore[return-value]

    def forward(self, features: Tensor) -> Tensor:
        """Waveform [shape=(B, T · hop_length)] of `features` [shape=(B, T, F)]."""
        # The activation, which works in place, is applied to the whole: rows are views, which must not be changed.
        return one_by_one(self.layers[3:], self.layers[:3](features))[..., 0]
