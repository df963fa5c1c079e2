"""Tensors on disk: safetensors checked by hash, loaded strictly, saved unrounded."""

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pecmae.core.files import file_sha256
from pecmae.errors import CheckpointError

WEIGHTS_FILE = "model.safetensors"
StateDict = Mapping[str, Tensor]
Module = TypeVar("Module", bound=nn.Module)
# What weights are stored as, and the largest that a model, which holds them in float32, can take.
STORED_TYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
LARGEST_WEIGHT = torch.finfo(torch.float32).max


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


# The bounds that configurations give are generous; a module may have so many times more parameters than a file has tensors.
_PLAUSIBLE = 8


def load_module(build: Callable[[], Module], path: Path, sha256: str | None, *, most_parameters: int) -> Module:
    """Build a module and fill it from a file that `save_weights` wrote; see `filled`."""
    return filled(build, load_weights(path, sha256), str(path), most_parameters=most_parameters)


def same_weights(ours: Path, theirs: Path) -> bool:
    """Whether two files hold the same weights, up to the rounding of the coarser of their types."""
    if not (ours.is_file() and theirs.is_file()):
        return False
    if file_sha256(ours) == file_sha256(theirs):
        return True
    mine, others = load_weights(ours, None), load_weights(theirs, None)
    if mine.keys() != others.keys() or any(mine[name].shape != others[name].shape for name in mine):
        return False
    for name, tensor in mine.items():
        coarse = max((torch.finfo(found.dtype) for found in (tensor, others[name])), key=lambda info: info.eps)
        # Below a type's normal numbers its step is absolute.
        if not torch.allclose(tensor.double(), others[name].double(), rtol=coarse.eps, atol=coarse.tiny * coarse.eps):
            return False
    return True


def load_into(module: nn.Module, path: Path, sha256: str | None) -> None:
    """Fill a module that exists, such as a part of a model, from a file that `save_weights` wrote; see `filled`."""
    tensors = load_weights(path, sha256)
    _check_names_and_shapes(module.state_dict(), tensors, str(path))
    _check_values(tensors, str(path))
    module.load_state_dict(dict(tensors))


def filled(build: Callable[[], Module], tensors: StateDict, source: str, *, most_parameters: int) -> Module:
    """Build a module and copy `tensors` into it; their types become the module's own.

    A damaged configuration may ask for terabytes: where it could have far more parameters than there are, its shapes are
    compared with the tensors before memory is taken.

    Parameters
    ----------
    build : callable
        Makes the module, of whatever values.
    tensors : mapping of str to Tensor
    source : str
        What errors should name.
    most_parameters : int
        At least the number of the module's parameters.

    Raises
    ------
    CheckpointError
        Names or shapes are not exactly the module's, or the values are no finite numbers; the message names `source` and the
        first that differs.
    """
    if most_parameters > _PLAUSIBLE * sum(tensor.numel() for tensor in tensors.values()):
        # Not always: building on "meta" imports torch's compiler, which takes a second.
        with torch.device("meta"):
            _check_names_and_shapes(build().state_dict(), tensors, source)
    with _Undrawn():
        module = build()
    _check_names_and_shapes(module.state_dict(), tensors, source)
    _check_values(tensors, source)
    module.load_state_dict(dict(tensors))
    return module


# nn.init hands on what it was asked for, by keyword, before it comes to the tensor's own method.
_DRAWING = (Tensor.uniform_, Tensor.normal_, nn.init.uniform_, nn.init.normal_, nn.init.kaiming_uniform_)


class _Undrawn(TorchFunctionMode):
    """Leave weights that a module would draw as they are: they are filled from a file, and drawing takes as long as reading."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        return (kwargs.get("tensor") if "tensor" in kwargs else args[0]) if func in _DRAWING else func(*args, **kwargs)


def _check_names_and_shapes(expected: StateDict, tensors: StateDict, source: str) -> None:
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


def _check_values(tensors: StateDict, source: str) -> None:
    """Refuse types that are no plain floating-point numbers, and numbers that float32 cannot hold."""
    for name, tensor in tensors.items():
        if tensor.dtype not in STORED_TYPES:
            known = ", ".join(str(dtype).removeprefix("torch.") for dtype in STORED_TYPES)
            raise CheckpointError(
                f"{source}: tensor {name!r} is of type {str(tensor.dtype).removeprefix('torch.')}; weights are one of {known}."
            )
        # One pass without a copy. Every comparison with NaN is false.
        if tensor.numel() and not all(bound.abs() <= LARGEST_WEIGHT for bound in tensor.aminmax()):
            raise CheckpointError(f"{source}: tensor {name!r} holds NaN or infinite values; get or save the model again.")


def load_weights(path: str | os.PathLike[str], expected_sha256: str | None) -> dict[str, Tensor]:
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
    check_is_no_pointer(path)
    if expected_sha256 is not None and (found := file_sha256(path)) != expected_sha256.lower():
        raise CheckpointError(
            f"{path}: the file is damaged or of another model (its sha256 is {found[:12]}…, config.json says "
            f"{expected_sha256[:12]}…); download it again with force_download=True, or save the model again."
        )
    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{path}: no readable safetensors file ({error}); get or save the model again.") from None
    except (AttributeError, KeyError, TypeError) as error:  # a type of numbers that this torch does not know
        raise CheckpointError(f"{path}: holds numbers of an unknown type ({error}); get or save the model again.") from None


def check_is_no_pointer(path: Path) -> None:
    """Refuse what git leaves in the place of a large file when git-lfs is not installed, and a web page saved in its place."""
    with path.open("rb") as file:
        head = file.read(64)
    if head.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path}: is a pointer of git-lfs, not the weights; run 'git lfs pull' in that folder.")
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise CheckpointError(f"{path}: is a web page, not the weights; download the file itself.")


def require_tensors(found: object, source: str) -> None:
    """Refuse what is no mapping of names to plain tensors that hold all the values that their shapes promise."""
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise CheckpointError(f"{source}: the file holds something else than tensors by name; give a published one.")
    for name, tensor in found.items():
        if not isinstance(name, str) or tensor.layout != torch.strided or tensor.device.type != "cpu":
            raise CheckpointError(f"{source}: tensor {name!r} is stored in an unusual way; give a published file.")
        if tensor.dtype not in STORED_TYPES and tensor.is_floating_point():
            raise CheckpointError(f"{source}: tensor {name!r} is of type {tensor.dtype}; give a published file.")
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise CheckpointError(f"{source}: tensor {name!r} promises more values than it holds; download the file again.")


@contextmanager
def shape_errors_named(source: str) -> Iterator[None]:
    """Say of tensors that do not fit each other which file they are of.

    Raises
    ------
    CheckpointError
    """
    try:
        yield
    except CheckpointError:
        raise
    except (RuntimeError, IndexError, TypeError, ValueError) as error:
        reason = str(error).split("\n")[0].rstrip(".")
        raise CheckpointError(f"{source}: the tensors have unexpected shapes ({reason}); give a published file.") from error
