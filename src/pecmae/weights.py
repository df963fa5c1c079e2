"""Weights of a module to a safetensors file and back, with the hash that config.json records."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from pecmae.errors import CheckpointError
from pecmae.storage import file_sha256, load_weights


def save_weights(module: nn.Module, path: Path, dtype: torch.dtype | None = None, unrounded: Path | None = None) -> str:
    """Write the weights of `module`, as `dtype` if given, and return the file's SHA-256.

    `unrounded` is a file that they were loaded and rounded from: those that have not changed since are taken from there, in
    float32.

    Raises
    ------
    CheckpointError
        That file is gone or damaged.
    """
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu() for name, tensor in module.state_dict().items()}
    if unrounded is not None:
        _undo_rounding(tensors, unrounded)
    tensors = {name: tensor.to("cpu", dtype).contiguous() for name, tensor in tensors.items()}
    # safetensors' own save_file makes a file that only its owner may read.
    path.write_bytes(save(tensors, metadata={"format": "pt"}))
    return file_sha256(path)


def _undo_rounding(tensors: dict[str, Tensor], unrounded: Path) -> None:
    if not unrounded.is_file():
        raise CheckpointError(
            f"{unrounded}: the file is gone that the model was loaded from, and its weights in memory are rounded; "
            "load it with dtype='float32' to save it."
        )
    exact = load_weights(unrounded, None)
    for name, tensor in tensors.items():
        if torch.equal(exact[name].to(tensor.dtype), tensor):
            tensors[name] = exact[name].float()


def weights_key(module: nn.Module) -> str:
    """A hash of all weights and buffers of a module, as they are stored."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())  # NumPy knows no bfloat16
    return digest.hexdigest()[:16]


def load_into(module: nn.Module, path: Path, sha256: str | None) -> None:
    """Fill `module` from a file that `save_weights` wrote; stored types become the module's own.

    Raises
    ------
    CheckpointError
        The file is damaged or holds another model.
    """
    load_strictly(module, load_weights(path, sha256), str(path))


def load_strictly(module: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Copy `tensors` into `module`.

    Raises
    ------
    CheckpointError
        Names or shapes are not exactly the module's; the message names `source` and the first that differs.
    """
    expected = module.state_dict()
    if missing := sorted(set(expected) - set(tensors)):
        raise CheckpointError(f"{source}: tensor {missing[0]!r} is missing; the file is incomplete or of another model.")
    if unknown := sorted(set(tensors) - set(expected)):
        raise CheckpointError(f"{source}: unknown tensor {unknown[0]!r}; the file is of another model.")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise CheckpointError(
                f"{source}: tensor {name!r} has shape {tuple(tensor.shape)} instead of {tuple(expected[name].shape)}; "
                "the file is of another model."
            )
    module.load_state_dict(dict(tensors))
