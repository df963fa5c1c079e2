"""Configurations as frozen dataclasses, read strictly: an unknown or missing key is an error that names it."""

import json
import math
import os
from collections.abc import Collection, Mapping
from dataclasses import asdict, fields
from numbers import Real
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args, get_origin

from pecmae.core.weights import WEIGHTS_FILE
from pecmae.errors import ConfigError

if TYPE_CHECKING:
    pass

# Of the model directories this version writes; one written by a newer version is refused.
FORMAT_VERSION = 1
# Marks a field that older files lack; its default is what they mean.
ADDED_LATER = {"added_later": True}
# No width, count or length of a model is larger, and no number that must be above 0 smaller. What a file's sizes ask for in all
# is compared with its tensors before memory is taken, see `core.weights`.
LARGEST_SIZE, SMALLEST = 2**20, 1e-6
LARGEST_JSON = 16 << 20  # bytes
Config = TypeVar("Config")


def config_to_dict(config: Any) -> dict[str, Any]:
    """Plain JSON values of a dataclass `config`."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(config).items()}


def config_from_dict(kind: type[Config], values: Mapping[str, Any], source: str) -> Config:
    """Build a `kind` from the JSON values found in `source` (named in errors).

    Raises
    ------
    ConfigError
        A key is missing, unknown, or of another type than the field's. Only what was `ADDED_LATER` may be missing.
    """
    known = {item.name: item for item in fields(cast(Any, kind))}
    check_keys(values, set(known), source, optional={name for name, item in known.items() if "added_later" in item.metadata})
    converted: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    for name, value in converted.items():
        expected: Any = known[name].type
        if not is_of_type(value, expected):
            readable = expected.__name__ if isinstance(expected, type) and not get_args(expected) else str(expected)
            raise ConfigError(f"{source}: {name}={values[name]!r} should be of type {readable}.")
    try:
        return kind(**converted)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None


def check_keys(values: Any, known: set[str], source: str, optional: Collection[str] = ()) -> None:
    """Refuse what is no object with exactly the `known` keys, but for the `optional` ones."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{source}: {values!r} should be an object with {', '.join(sorted(known))}; save the model again.")
    if unknown := sorted(set(values) - known):
        raise ConfigError(f"{source}: unknown setting {unknown[0]!r}; it was written by another version of pecmae or by hand.")
    if missing := sorted(known - set(values) - set(optional)):
        raise ConfigError(f"{source}: the setting {missing[0]!r} is missing; restore it or save the model again.")


def is_of_type(value: Any, expected: Any) -> bool:
    """Whether a JSON value is of a field's type: a class, a tuple of any length of one class, or one of several of these."""
    if isinstance(expected, UnionType):
        return any(is_of_type(value, kind) for kind in get_args(expected))
    if get_origin(expected) is tuple:
        return isinstance(value, tuple) and all(is_of_type(item, get_args(expected)[0]) for item in value)
    # In Python a bool is an int, and JSON writes 4.0 as 4 as often as not.
    if isinstance(value, bool) or expected is bool:
        return isinstance(value, bool) and expected is bool
    return isinstance(value, int | float) if expected is float else isinstance(value, expected)


def check_numbers(config: object, *, at_most: Mapping[str, float], any_sign: tuple[str, ...] = ()) -> None:
    """Refuse numbers, alone or in tuples, that are not above 0 (NaN too) or beyond all reason.

    Parameters
    ----------
    config : dataclass
    at_most : mapping of str to float
        The largest value of some fields; of the others it is `LARGEST_SIZE`.
    any_sign : tuple of str
        Fields that may be 0 or negative, as small as `at_most` is large.
    """
    for name, value in vars(config).items():
        if isinstance(value, str | bool):
            continue
        numbers = value if isinstance(value, tuple) else (value,)
        limit = at_most.get(name, LARGEST_SIZE)
        least = -limit if name in any_sign else SMALLEST
        if not numbers or not all(isinstance(number, Real) for number in numbers):
            raise ConfigError(f"{name}={value!r} must be above 0.")
        if name not in any_sign and not all(number > 0 for number in numbers):
            raise ConfigError(f"{name}={value!r} must be above 0.")
        if not all(least <= number <= limit for number in numbers):
            raise ConfigError(f"{name}={value!r} must lie between {least:g} and {limit:g}.")


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse a `value` that is none of the `choices`."""
    if value not in choices:
        raise ConfigError(f"{name}={value!r} is not known; choose one of {', '.join(choices)}.")


def read_json(path: Path, advice: str) -> Any:
    """Read JSON that holds nothing but what JSON can say; `advice` ends the message of an error.

    Raises
    ------
    ConfigError
        The file is missing, empty, too large for its purpose, nested too deep, or no JSON with finite numbers.
    """
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise ConfigError(f"{path}: is larger than {LARGEST_JSON >> 20} MB, so pecmae did not write it; {advice}")
        text = path.read_text(encoding="utf-8")
        if not text.strip("\0 \r\n\t"):
            raise ConfigError(f"{path}: is empty, as after a power cut or on a full disk; {advice}")
        return json.loads(text, parse_float=_finite, parse_constant=_finite)
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file; {advice}") from None
    except RecursionError:
        raise ConfigError(f"{path}: not valid JSON (nested too deep); {advice}") from None
    except ConfigError:
        raise
    except ValueError as error:  # also a UnicodeDecodeError
        raise ConfigError(f"{path}: not valid JSON ({error}); {advice}") from None


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text} is no finite number")
    return value


def read_json_config(path: str | os.PathLike[str], *, format_version: int) -> dict[str, Any]:
    """Read a configuration file written by this version of pecmae or an older one.

    Parameters
    ----------
    path : str or os.PathLike
        A JSON file that holds one object with a `format_version`.
    format_version : int
        The newest version this package can read.

    Returns
    -------
    dict
        All that the file holds, `format_version` included.

    Raises
    ------
    ConfigError
        The file is missing, is not such a file, comes from a newer version, or has hashes without that of the weights.
    """
    path = Path(path)
    config = read_json(path, "save or download the model again.")
    if not isinstance(config, dict):
        raise ConfigError(f"{path}: it holds no JSON object; give a directory that pecmae saved.")
    found = config.get("format_version")
    # bool is an int in Python, but not a version.
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise ConfigError(f"{path}: it has no format_version, so pecmae did not write it; give a directory that pecmae saved.")
    if found > format_version:
        raise ConfigError(
            f"{path}: format version {found} is newer than {format_version}, the newest this pecmae reads; "
            "upgrade it with 'pip install --upgrade pecmae'."
        )
    hashes = config.get("sha256", {WEIGHTS_FILE: ""})
    if not isinstance(hashes, dict) or not isinstance(hashes.get(WEIGHTS_FILE), str):
        raise ConfigError(f"{path}: 'sha256' should hold the hash of {WEIGHTS_FILE}; restore it or save the model again.")
    return config


def model_kind(directory: Path) -> str:
    """What a directory that pecmae saved holds, by its configuration: a model or an autoencoder.

    Raises
    ------
    ConfigError
        There is no configuration that this version reads.
    """
    return str(read_json_config(directory / "config.json", format_version=FORMAT_VERSION).get("model_type"))


def read_model_config(directory: Path, kind: str, otherwise: str) -> tuple[dict[str, Any], str]:
    """Settings of a saved model of one kind, and the hash of its weights; `otherwise` says what to do with another kind.

    Raises
    ------
    ConfigError
        The file is missing, damaged, of another kind or from a newer version.
    """
    path = directory / "config.json"
    values = read_json_config(path, format_version=FORMAT_VERSION)
    if values.pop("model_type", None) != kind:
        raise ConfigError(f"{path}: {otherwise}")
    del values["format_version"]
    if "sha256" not in values:
        raise ConfigError(f"{path}: the setting 'sha256' is missing; restore it or save the model again.")
    return values, values.pop("sha256")[WEIGHTS_FILE]


def model_sha256(directory: Path) -> str:
    """Hash of the head's weights, as the configuration in a model's directory has it."""
    config = read_json_config(directory / "config.json", format_version=FORMAT_VERSION)
    return str(config.get("sha256", {}).get("model.safetensors", ""))
