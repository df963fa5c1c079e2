"""The history of edits as JSON: what was decided, and the numbers that came of it, so that replaying needs the model alone."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, cast

import numpy as np

from pecmae.core.configs import check_keys, is_of_type
from pecmae.editing.draft import Draft
from pecmae.editing.edits import Edit, Together
from pecmae.errors import CheckpointError, ConfigError
from pecmae.model import PECMAE

LOG_VERSION = 1
_KINDS: Mapping[str, type[Edit]] = {kind.__name__: kind for kind in Edit.__subclasses__()}
_SOURCE = "The log of edits"


def edit_log(
    original: Draft, done: Sequence[tuple[Edit, str, bool]], after: Draft, earlier: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What was done to a model, as JSON values.

    Parameters
    ----------
    original, after : Draft
        Before and after all of it.
    done : sequence of (Edit, str, bool)
        Each with its description, and whether somebody insisted on it although accuracy fell.
    earlier : mapping, optional
        The log that led to the original, where that was edited, too.
    """
    entries = [{"text": text, "insisted": insisted, "edit": encoded(edit)} for edit, text, insisted in done]
    log = {"format_version": LOG_VERSION, "original": original.digest, "result": after.digest, "edits": entries}
    return log if earlier is None else log | {"earlier": dict(earlier)}


def replay(model: PECMAE, log: Mapping[str, Any]) -> PECMAE:
    """Do to a model what a log says was done to it; the weights are the same, bit for bit.

    Raises
    ------
    ConfigError
        The log is none, of a newer version, or of another model.
    CheckpointError
        What comes out is not what came out before.
    """
    original = Draft.of(model.head, model.labels)
    draft = original
    for edit, _ in read_edits(log, original):
        draft = edit.apply(draft)
    if draft.digest != log["result"]:
        raise CheckpointError(f"{_SOURCE} leads to other weights than it did; it was changed, or written by another pecmae.")
    return model.with_head(draft.head(), draft.labels, edit_log=dict(log))


def read_edits(log: Mapping[str, Any], original: Draft) -> list[tuple[Edit, bool]]:
    """The edits of a log, and whether somebody insisted on each; errors as for `replay`."""
    check_keys(log, {"format_version", "original", "result", "edits", "earlier"}, _SOURCE, optional={"earlier"})
    if not is_of_type(log["format_version"], int) or not 1 <= log["format_version"] <= LOG_VERSION:
        raise ConfigError(f"{_SOURCE} has the format version {log['format_version']!r}, not {LOG_VERSION}; upgrade pecmae.")
    if log["original"] != original.digest:
        raise ConfigError(f"{_SOURCE} begins with another model; give the one that was edited.")
    if not isinstance(log["edits"], list):
        raise ConfigError(f"{_SOURCE} holds no list of edits; save the edited model again.")
    found = []
    for entry in log["edits"]:
        check_keys(entry, {"text", "insisted", "edit"}, _SOURCE)
        found.append((decoded(entry["edit"]), entry["insisted"] is True))
    return found


def encoded(edit: Edit) -> dict[str, Any]:
    """An edit as JSON values; arrays bit for bit."""
    values: dict[str, Any] = {"kind": type(edit).__name__}
    for field in fields(cast(Any, edit)):
        value = getattr(edit, field.name)
        if isinstance(edit, Together) and field.name == "edits":
            values["edits"] = [encoded(part) for part in value]
        elif field.type is np.ndarray:
            array = np.ascontiguousarray(value, "<f4")
            values[field.name] = {"shape": list(array.shape), "float32": base64.b64encode(array.tobytes()).decode()}
        else:
            values[field.name] = list(value) if isinstance(value, tuple) else value
    return values


def decoded(values: Any) -> Edit:
    """The edit that `encoded` wrote.

    Raises
    ------
    ConfigError
        The values are no edit.
    """
    kind = _KINDS.get(str(values.get("kind"))) if isinstance(values, Mapping) else None
    if kind is None:
        raise ConfigError(f"{_SOURCE} holds something that is no edit; restore it or save the edited model again.")
    known = {field.name: field for field in fields(cast(Any, kind))}
    check_keys(values, {"kind", *known}, _SOURCE)
    found: dict[str, Any] = {}
    for name, field in known.items():
        value = values[name]
        if kind is Together and name == "edits":
            found[name] = tuple(map(decoded, value)) if isinstance(value, list) else ()
        elif field.type is np.ndarray:
            found[name] = _array(value)
        else:
            found[name] = tuple(value) if isinstance(value, list) else value
            if not is_of_type(found[name], field.type):
                raise ConfigError(f"{_SOURCE}: {name}={value!r} of {kind.__name__} is of another type; restore it.")
    return kind(**found)


def _array(value: Any) -> np.ndarray:
    check_keys(value, {"shape", "float32"}, _SOURCE)
    try:
        return np.frombuffer(base64.b64decode(value["float32"], validate=True), "<f4").reshape(value["shape"]).copy()
    except (binascii.Error, ValueError, TypeError) as error:
        raise ConfigError(f"{_SOURCE} holds numbers that cannot be read ({error}); restore it.") from None
