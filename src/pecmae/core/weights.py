"""Tensors on disk: safetensors checked by hash, loaded strictly, saved unrounded."""

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from pecmae.core.files import file_sha256
from pecmae.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor


WEIGHTS_FILE = "model.safetensors"
StateDict = Mapping[str, Tensor]


class StrictTensors:
    """A state dict that remembers which of its tensors were taken."""

    def __init__(self, tensors: StateDict, source: str) -> None:
        require_tensors(tensors, source)
        self.tensors, self.source = tensors, source
        self.left = set(tensors)

    def take(self, name: str) -> Tensor:
        """The tensor of that name, which has to be there."""
        if name not in self.tensors:
            raise CheckpointError(f"{self.source}: tensor {name!r} is missing; the file is of another model or incomplete.")
        self.left.discard(name)
        return self.tensors[name]

    def drop(self, prefixes: tuple[str, ...]) -> None:
        """Let the tensors of these prefixes be unused."""
        self.left = {name for name in self.left if not name.startswith(prefixes)}

    def finish(self) -> None:
        """Refuse tensors that were neither taken nor dropped."""
        if self.left:
            raise CheckpointError(f"{self.source}: unknown tensor {min(self.left)!r}; the file is of another model.")

    def count_layers(self, stack: str) -> int:
        """Layers that the file holds of a stack."""
        pattern = re.compile(re.escape(stack) + r"\.encoder_layers\.(\d+)\.")
        return 1 + max((int(match[1]) for match in map(pattern.match, self.tensors) if match), default=-1)


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


def load_weights(path: str | os.PathLike[str], expected_sha256: str | None) -> "dict[str, Tensor]":
    """Read the tensors of a safetensors file after checking its hash.

    The Hub's client checks the size of what it downloads, not the content: a damaged file of the right size gets here.

    Parameters
    ----------
    path : str or os.PathLike
        A safetensors file.
    expected_sha256 : str or None
        The hash that config.json holds under `sha256`; None skips the check.

    Returns
    -------
    dict of str to Tensor
        The tensors by name, on the CPU, in their stored types.

    Raises
    ------
    CheckpointError
        The file is missing, truncated, or not the one that was saved.
    """
    from safetensors.torch import load_file

    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file; save or download the model again.")
    if expected_sha256 is not None and (found := file_sha256(path)) != expected_sha256.lower():
        raise CheckpointError(
            f"{path}: the file is damaged or of another model (its sha256 is {found[:12]}…, config.json says "
            f"{expected_sha256[:12]}…); download it again with force_download=True, or save the model again."
        )
    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{path}: no readable safetensors file ({error}); get or save the model again.") from None


def require_tensors(found: object, source: str) -> None:
    """Refuse what is no mapping of names to tensors."""
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise CheckpointError(f"{source}: the file holds something else than tensors by name; give a published one.")
