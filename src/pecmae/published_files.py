"""Files in the layouts of others: published pickles, gin settings, codecs; read without running any code of theirs."""

import ast
import os
import pickle
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pecmae.errors import CheckpointError
from pecmae.storage import load_weights


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
        except (ValueError, SyntaxError):
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


def read_pickled_tensors(path: str | os.PathLike[str]) -> dict:
    """Tensors of a PyTorch file, read without running any code that it may hold.

    Raises
    ------
    FileNotFoundError, CheckpointError
        There is no such file; or it is not a PyTorch file, or holds more than tensors.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file; give the path of a published checkpoint.")
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise CheckpointError(f"{path}: not a PyTorch file that holds nothing but tensors; download it again.") from error
