"""From the published checkpoint layouts to ours, strictly: an unknown or a missing tensor is an error that names it."""

import ast
import os
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pecmae.autoencoder.config import AutoencoderConfig
from pecmae.core.weights import StateDict, StrictTensors, check_is_no_pointer, load_weights, require_tensors, shape_errors_named
from pecmae.errors import CheckpointError

# Published heads are 64 wide in the EnCodecMAE encoder, and 8 in number in the summarizer and the denoiser; the state dict
# does not hold them.
ENCODER_HEAD_DIM = 64
AUTOENCODER_HEADS = 8

# Ours ← published, for every stack of layers, and for what stands alone.
STACKS = {
    "encodecmae.encoder": "encoder.encodecmae_model.visible_encoder",
    "summarizer.encoder": "encoder.encoder",
    "denoiser.encoder": "denoiser",
}
MODULES = {
    "encodecmae.projection": "encoder.encodecmae_model.feat_projector",
    "denoiser.in_adapter": "in_adapter",
    "denoiser.out_adapter": "out_adapter",
    "denoiser.time_embedding.0": "time_embedding.0",
    "denoiser.time_embedding.2": "time_embedding.2",
}
CODEC_IN_AUTOENCODER = "encoder.encodecmae_model.wav_encoder.model."
# Of the pre-training; inference does without.
UNUSED_PREFIXES = tuple(
    f"encoder.encodecmae_model.{name}." for name in ("target_encoder", "decoder", "decoder_projector", "head")
)

CODEC_RENAMES = (
    (r"^(encoder|decoder)\.model\.", r"codec_\1.layers."),
    (r"^(encoder|decoder)\.layers\.", r"codec_\1.layers."),
    (r"\.conv\.conv\.", ".conv."),
    (r"\.convtr\.convtr\.", ".conv."),
    (r"\.weight_g$", ".parametrizations.weight.original0"),
    (r"\.weight_v$", ".parametrizations.weight.original1"),
)


@shape_errors_named("autoencoder checkpoint")
def read_autoencoder(
    state_dict: StateDict, codec: StateDict, *, segment_seconds: float = 4.0
) -> tuple[AutoencoderConfig, dict[str, Tensor]]:
    """Translate the published state dict and the codec's.

    Parameters
    ----------
    state_dict : mapping of str to Tensor
        `state_dict` of the published `weights.pt`.
    codec : mapping of str to Tensor
        EnCodec 24 kHz, in the original or in transformers' layout. The codec encoder must be the one that `state_dict` holds.
    segment_seconds : float
        `MAX_AUDIO_DURATION` of the published `config.gin`.

    Returns
    -------
    AutoencoderConfig, dict of str to Tensor
        The sizes read off the tensors, and the tensors by our names.

    Raises
    ------
    CheckpointError
        A tensor is missing, unknown or of an unexpected shape.
    """
    source = StrictTensors(state_dict, "autoencoder checkpoint")
    codec_tensors = convert_codec(codec)
    config = _read_config(source, codec_tensors, segment_seconds)
    converted = dict(codec_tensors)
    for ours, published in STACKS.items():
        num_heads = config.num_encoder_heads if ours.startswith("encodecmae") else AUTOENCODER_HEADS
        converted |= _convert_stack(source, published, ours, num_heads)
    for ours, published in MODULES.items():
        for leaf in ("weight", "bias"):
            converted[f"{ours}.{leaf}"] = source.take(f"{published}.{leaf}")
    converted["encodecmae.position.scale"] = source.take("encoder.encodecmae_model.positional_encoder.scale")
    converted["position.scale"] = source.take("encoder.pos_encoder.scale")
    converted["summarizer.cls"] = source.take("encoder.cls_tokens.weight")[0]
    _check_same_codec(source, codec_tensors)
    source.drop(UNUSED_PREFIXES)
    source.finish()
    return config, converted


def convert_codec(state_dict: StateDict) -> dict[str, Tensor]:
    """Rename the codec's encoder and decoder, from the original `encodec` or transformers' layout, to ours.

    The quantiser is left out: z is computed before it, and features are generated without it.

    Raises
    ------
    CheckpointError
        A tensor is neither of the encoder, the decoder nor the quantiser.
    """
    require_tensors(state_dict, "codec checkpoint")
    converted = {}
    for name, tensor in state_dict.items():
        if name.startswith("quantizer."):
            continue
        renamed = name
        for pattern, replacement in CODEC_RENAMES:
            renamed = re.sub(pattern, replacement, renamed)
        if not renamed.startswith(("codec_encoder.", "codec_decoder.")):
            raise CheckpointError(f"codec checkpoint: unknown tensor {name!r}; this is not an EnCodec state dict.")
        converted[renamed] = tensor
    return converted


def read_autoencoder_files(
    weights: str | os.PathLike[str], config_gin: str | os.PathLike[str], codec: str | os.PathLike[str]
) -> tuple[AutoencoderConfig, dict[str, Tensor]]:
    """`read_autoencoder` from files: the published `weights.pt` and `config.gin`, and a codec file.

    Parameters
    ----------
    weights, config_gin : path
        As in the Hub repo `lpepino/encodecmae2wav`.
    codec : path
        The original package's `.th` file, or transformers' `model.safetensors` or the folder that holds it.
    """
    settings = read_gin(config_gin)
    loaded = read_pickled_tensors(weights)
    state_dict = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else loaded
    seconds = settings.get("MAX_AUDIO_DURATION", 4)
    if not isinstance(seconds, int | float):
        raise CheckpointError(f"{config_gin}: MAX_AUDIO_DURATION = {seconds!r} is no number of seconds; download it again.")
    model_config, tensors = read_autoencoder(state_dict, read_codec(codec), segment_seconds=float(seconds))
    for name, layers in (
        ("NUM_ENCODER_LAYERS", model_config.num_summarizer_layers),
        ("NUM_DENOISER_LAYERS", model_config.num_denoiser_layers),
    ):
        if settings.get(name, layers) != layers:
            raise CheckpointError(
                f"{config_gin}: {name} = {settings[name]} but {weights} has {layers} layers; they belong to different models."
            )
    return model_config, tensors


def _read_config(source: StrictTensors, codec: StateDict, segment_seconds: float) -> AutoencoderConfig:
    """Sizes of the model that `source` and `codec` hold."""
    dim, feature_dim = source.take("encoder.encodecmae_model.feat_projector.weight").shape
    filters = codec.get("codec_encoder.layers.0.conv.parametrizations.weight.original1")
    if filters is None:
        raise CheckpointError("codec checkpoint: tensor 'encoder.model.0.conv.conv.weight_v' is missing.")
    feed_forward = source.take(f"{STACKS['denoiser.encoder']}.encoder_layers.0.ff_layer.0.weight")
    return AutoencoderConfig(
        segment_seconds=segment_seconds,
        feature_dim=feature_dim,
        codec_num_filters=len(filters),
        codec_decoder_num_filters=len(filters),
        embedding_dim=dim,
        feed_forward_dim=len(feed_forward),
        num_encoder_layers=source.count_layers(STACKS["encodecmae.encoder"]),
        num_encoder_heads=dim // ENCODER_HEAD_DIM,
        num_summarizer_layers=source.count_layers(STACKS["summarizer.encoder"]),
        num_denoiser_layers=source.count_layers(STACKS["denoiser.encoder"]),
        num_heads=AUTOENCODER_HEADS,
    )


def _convert_stack(source: StrictTensors, published: str, ours: str, num_heads: int) -> dict[str, Tensor]:
    """One transformer: heads made contiguous, queries, keys and values in one matrix, the shared feed-forward once."""
    converted = {f"{ours}.final_norm.{leaf}": source.take(f"{published}.final_norm.{leaf}") for leaf in ("weight", "bias")}
    for index in range(source.count_layers(published)):
        theirs, layer = f"{published}.encoder_layers.{index}", f"{ours}.layers.{index}"
        projections = [source.take(f"{theirs}.att_layer.{name}.weight") for name in ("wq", "wk", "wv")]
        converted[f"{layer}.attention.qkv.weight"] = torch.cat([_heads_first(weight, num_heads) for weight in projections])
        out = source.take(f"{theirs}.att_layer.wo.weight")
        converted[f"{layer}.attention.out.weight"] = _heads_first(out.mT, num_heads).mT
        for leaf in ("weight", "bias"):
            for norm in ("norm1", "norm2"):
                converted[f"{layer}.{norm}.{leaf}"] = source.take(f"{theirs}.{norm}.{leaf}")
            for linear in ("0", "2"):
                tensor = source.take(f"{theirs}.ff_layer.{linear}.{leaf}")
                shared = converted.setdefault(f"{ours}.feed_forward.{linear}.{leaf}", tensor)
                if shared is not tensor and not torch.equal(shared, tensor):
                    raise CheckpointError(
                        f"{source.source}: tensor '{theirs}.ff_layer.{linear}.{leaf}' differs from the first layer's, but the "
                        "layers of a stack share one feed-forward."
                    )
    return converted


def _heads_first(weight: Tensor, num_heads: int) -> Tensor:
    """Reorder rows from interleaved heads, (head_dim, heads), to contiguous ones, (heads, head_dim)."""
    return weight.unflatten(0, (-1, num_heads)).transpose(0, 1).flatten(0, 1)


def _check_same_codec(source: StrictTensors, codec: StateDict) -> None:
    """The autoencoder checkpoint holds the codec's encoder as well; both must be the same."""
    own = {name for name in source.tensors if name.startswith(CODEC_IN_AUTOENCODER)}
    renamed = convert_codec({"encoder." + name.removeprefix(CODEC_IN_AUTOENCODER): source.take(name) for name in own})
    for name, tensor in renamed.items():
        if name not in codec or not torch.equal(tensor, codec[name]):
            raise CheckpointError(
                f"codec checkpoint: {name!r} differs from the codec encoder inside the autoencoder checkpoint; give the codec "
                "that the autoencoder was trained with."
            )


def read_gin(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The literal settings `NAME = value` of a gin file; lines of any other form are passed over."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file; give the config.gin that stands beside the weights.")
    settings: dict[str, Any] = {}
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path}: not a text file; give the config.gin that stands beside the weights.") from error
    for line in lines:
        match = re.fullmatch(r"\s*(\w+)\s*=\s*(.+?)\s*", line)
        if not match:
            continue
        try:
            settings[match[1]] = ast.literal_eval(match[2])
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue  # a reference or a macro, none of which is needed
    return settings


def read_codec(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """State dict of a codec file or folder, in either layout."""
    path = Path(path)
    if path.is_dir():
        path = path / "model.safetensors"
    if path.suffix != ".safetensors":
        return read_pickled_tensors(path)
    return load_weights(path, expected_sha256=None)


def read_pickled_tensors(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Tensors of a PyTorch file, read without running any code that it may hold.

    Raises
    ------
    FileNotFoundError, CheckpointError
        There is no such file; or it is not a PyTorch file, or holds more than tensors.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file; give the path of a published checkpoint.")
    check_is_no_pointer(Path(path))
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # a damaged pickle ends in any error of the unpickler's: KeyError, IndexError, AttributeError, …
        raise CheckpointError(f"{path}: not a PyTorch file that holds nothing but tensors; download it again.") from error
