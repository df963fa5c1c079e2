"""Checkpoints in the published layouts, of any size, filled with weights that every machine draws alike.

Each tensor comes from NumPy's PCG64 seeded by the layout's seed and the CRC-32 of the tensor's name, and is scaled so that
activations stay near unit variance. data/parity.safetensors holds what the published implementation computes with exactly
these weights at the sizes of `PARITY`.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

SEED, CODEC_SEED = 7, 8
CODEBOOKS, CODEBOOK_SIZE, FEATURES, HIDDEN = 32, 1024, 128, 4096


@dataclass(frozen=True)
class Sizes:
    """What differs between members of the published family."""

    dim: int = 768
    num_encoder_layers: int = 10
    num_summarizer_layers: int = 2
    num_denoiser_layers: int = 8
    codec_filters: int = 32
    seconds: int = 4


PARITY = Sizes(dim=128, num_encoder_layers=3, num_denoiser_layers=3, codec_filters=4)
FULL = Sizes()


def codec_shapes(filters: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the codec as the original package stores it."""

    def conv(name: str, out: int, into: int, kernel: int, *, transposed: bool = False) -> Iterator[tuple[str, tuple[int, ...]]]:
        prefix = f"{name}.convtr.convtr" if transposed else f"{name}.conv.conv"
        rows, columns = (into, out) if transposed else (out, into)
        yield f"{prefix}.bias", (out,)
        yield f"{prefix}.weight_g", (rows, 1, 1)
        yield f"{prefix}.weight_v", (rows, columns, kernel)

    def block(name: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield from conv(f"{name}.block.1", width // 2, width, 3)
        yield from conv(f"{name}.block.3", width, width // 2, 1)
        yield from conv(f"{name}.shortcut", width, width, 1)

    def lstm(name: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        for layer in range(2):
            for side in ("ih", "hh"):
                yield f"{name}.lstm.weight_{side}_l{layer}", (4 * width, width)
                yield f"{name}.lstm.bias_{side}_l{layer}", (4 * width,)

    width = filters
    yield from conv("encoder.model.0", width, 1, 7)
    for index, stride in zip((1, 4, 7, 10), (2, 4, 5, 8), strict=True):
        yield from block(f"encoder.model.{index}", width)
        yield from conv(f"encoder.model.{index + 2}", 2 * width, width, 2 * stride)
        width *= 2
    yield from lstm("encoder.model.13", width)
    yield from conv("encoder.model.15", FEATURES, width, 7)
    for index in range(CODEBOOKS):
        prefix = f"quantizer.vq.layers.{index}._codebook"
        yield f"{prefix}.inited", (1,)
        yield f"{prefix}.cluster_size", (CODEBOOK_SIZE,)
        yield f"{prefix}.embed", (CODEBOOK_SIZE, FEATURES)
        yield f"{prefix}.embed_avg", (CODEBOOK_SIZE, FEATURES)
    yield from conv("decoder.model.0", width, FEATURES, 7)
    yield from lstm("decoder.model.1", width)
    for index, stride in zip((3, 6, 9, 12), (8, 5, 4, 2), strict=True):
        yield from conv(f"decoder.model.{index}", width // 2, width, 2 * stride, transposed=True)
        width //= 2
        yield from block(f"decoder.model.{index + 1}", width)
    yield from conv("decoder.model.15", 1, width, 7)


def stack_shapes(name: str, dim: int, num_layers: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """One transformer; `published_checkpoints` makes its layers share their feed-forward."""
    for index in range(num_layers):
        layer = f"{name}.encoder_layers.{index}"
        for projection in ("wq", "wk", "wv", "wo"):
            yield f"{layer}.att_layer.{projection}.weight", (dim, dim)
        yield f"{layer}.ff_layer.0.weight", (HIDDEN, dim)
        yield f"{layer}.ff_layer.0.bias", (HIDDEN,)
        yield f"{layer}.ff_layer.2.weight", (dim, HIDDEN)
        yield f"{layer}.ff_layer.2.bias", (dim,)
        for norm in ("norm1", "norm2"):
            yield f"{layer}.{norm}.weight", (dim,)
            yield f"{layer}.{norm}.bias", (dim,)
    yield f"{name}.final_norm.weight", (dim,)
    yield f"{name}.final_norm.bias", (dim,)


def autoencoder_shapes(sizes: Sizes) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the published `weights.pt`, without the codec inside it."""
    dim, mae = sizes.dim, "encoder.encodecmae_model"
    yield from stack_shapes(f"{mae}.visible_encoder", dim, sizes.num_encoder_layers)
    yield from stack_shapes(f"{mae}.decoder", dim, 2)
    yield from stack_shapes("encoder.encoder", dim, sizes.num_summarizer_layers)
    yield from stack_shapes("denoiser", dim, sizes.num_denoiser_layers)
    for name, out, into in (
        (f"{mae}.feat_projector", dim, FEATURES),
        (f"{mae}.decoder_projector", dim, dim),
        (f"{mae}.head.layer", 8 * CODEBOOK_SIZE, dim),
        ("in_adapter", dim, FEATURES),
        ("out_adapter", FEATURES, dim),
        ("time_embedding.0", dim, 1),
        ("time_embedding.2", dim, dim),
    ):
        yield f"{name}.weight", (out, into)
        yield f"{name}.bias", (out,)
    yield f"{mae}.positional_encoder.scale", ()
    yield "encoder.pos_encoder.scale", ()
    yield "encoder.cls_tokens.weight", (1, dim)


def draw(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """Weights of one tensor, from its own name."""
    generator = np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode())]))
    x = generator.standard_normal(shape).astype(np.float32)
    leaf = name.rpartition(".")[2]
    match leaf:
        case "scale":
            value = np.float32(1.0 + 0.1 * float(x))
        case "inited":
            value = np.ones(shape, np.float32)
        case "cluster_size":
            value = (1.0 + np.abs(x)).astype(np.float32)
        case "embed" | "embed_avg" | "weight_v":
            value = x
        case "weight_g":
            value = (1.0 + 0.1 * np.abs(x)).astype(np.float32)
        case "weight" if "norm" in name and len(shape) == 1:
            value = 1.0 + 0.1 * x
        case _ if len(shape) >= 2:
            value = x / np.float32(np.sqrt(shape[-1]))
        case _:
            value = 0.05 * x
    return torch.from_numpy(np.asarray(value))


def published_checkpoints(sizes: Sizes = PARITY, *, seeds: tuple[int, int] = (SEED, CODEC_SEED)) -> tuple[dict, dict]:
    """State dicts of the autoencoder and of the codec."""
    codec = {name: draw(name, shape, seeds[1]) for name, shape in codec_shapes(sizes.codec_filters)}
    autoencoder: dict[str, Tensor] = {}
    for name, shape in autoencoder_shapes(sizes):
        stack, _, rest = name.partition(".encoder_layers.")
        layer, _, leaf = rest.partition(".")
        shared = f"{stack}.encoder_layers.0.{leaf}"
        is_shared = leaf.startswith("ff_layer") and layer != "0"
        autoencoder[name] = autoencoder[shared] if is_shared else draw(name, shape, seeds[0])
    mae = "encoder.encodecmae_model"
    for name, tensor in codec.items():
        part, _, rest = name.partition(".")
        if part == "encoder":
            autoencoder[f"{mae}.wav_encoder.model.{rest}"] = tensor.clone()
        if part == "quantizer":
            target = f"{mae}.target_encoder.model.{rest}"
            autoencoder[target] = draw(target, tuple(tensor.shape), seeds[0])
    return autoencoder, codec


def write_published(folder: Path, sizes: Sizes = PARITY) -> tuple[Path, Path, Path]:
    """Write weights.pt, config.gin and the codec's state dict; return their paths."""
    autoencoder, codec = published_checkpoints(sizes)
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / "weights.pt", folder / "config.gin", folder / "encodec_24khz.th"
    torch.save({"state_dict": autoencoder}, paths[0])
    paths[1].write_text(
        "import encodecmae\n"
        f"MAX_AUDIO_DURATION = {sizes.seconds}\n"
        f"NUM_DENOISER_LAYERS = {sizes.num_denoiser_layers}\n"
        f"NUM_ENCODER_LAYERS = {sizes.num_summarizer_layers}\n"
        "train.optimizer = @torch.optim.AdamW\n"
    )
    torch.save(codec, paths[2])
    return paths
