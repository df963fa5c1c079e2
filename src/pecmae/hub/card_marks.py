"""Cards that are saved again: the part between two marks is the package's, all the rest belongs to whoever wrote it."""

import re
from typing import Any

import yaml
from huggingface_hub import ModelCard

from pecmae.errors import ConfigError

BEGIN = "<!-- pecmae: begin. What stands between these marks is written anew when the model has changed; all else is kept. -->"
END = "<!-- pecmae: end -->"

# Settings of the header that follow from the model; of all others what a person wrote counts.
_OF_THE_MODEL = ("model-index", "base_model", "library_name", "pipeline_tag")


def renewed(old: str, new: str, *, license_given: bool = False) -> str:
    """Put the package's part of `new` into the card `old`.

    Parameters
    ----------
    old, new : str
        Whole cards. Where `old` has no marks, all of it is a person's, and the package's part follows it.
    license_given : bool
        Whether the licence of `new` was asked for: else that of `old` stays.

    Raises
    ------
    ConfigError
        The header of `old` is no YAML.
    """
    header, body = _parts(old)
    wanted, generated = _parts(new)
    before, after = _around_marks(body)
    merged = {**wanted, **{key: value for key, value in header.items() if key not in _OF_THE_MODEL}}
    if license_given:
        merged["license"] = wanted["license"]
    if isinstance(header.get("tags"), list):
        merged["tags"] = [*header["tags"], *(tag for tag in wanted["tags"] if tag not in header["tags"])]
    block = _with_licence(_marked(generated), str(merged.get("license", "")))
    text = yaml.safe_dump(merged, sort_keys=False, allow_unicode=True, width=float("inf"))
    return f"---\n{text}---\n{before}{block}{after}"


def adopted(old: str, load_id: str | None) -> str:
    """A card that is still true, with the licence of its header in its table, and loading from `load_id` if one is given."""
    before, after = _around_marks(old)
    if BEGIN not in old:
        return old
    block = _with_licence(_marked(old), str(_parts(old)[0].get("license", "")))
    if load_id is not None:
        block = re.sub(r'(\.from_pretrained\()("[^"\n]*")?\)', lambda found: f'{found[1]}"{load_id}")', block, count=1)
    return before + block + after


def _parts(card: str) -> tuple[dict[str, Any], str]:
    """Header and text below it."""
    try:
        parsed = ModelCard(card, ignore_metadata_errors=True)
        match = re.match(r"\s*---[ \t]*\r?\n(.*?)\r?\n---[ \t]*\r?\n?", card, re.DOTALL)
        header = yaml.safe_load(match[1]) if match else {}
    except (yaml.YAMLError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"README.md: its header between the lines of --- is no YAML ({reason}); repair it.") from None
    if not isinstance(header, dict | None):
        raise ConfigError("README.md: the header between the lines of --- holds no settings; repair it.")
    return header or {}, parsed.text if match else card


def _around_marks(text: str) -> tuple[str, str]:
    """What stands before and after the package's part; without one all of it, and nothing."""
    begin = text.find(BEGIN)
    end = text.find(END, begin)
    if begin < 0 or end < 0:
        return text.rstrip("\n") + "\n\n" if text.strip() else "", "\n"
    return text[:begin], text[end + len(END) :]


def _marked(text: str) -> str:
    begin = text.index(BEGIN)
    return text[begin : text.index(END, begin) + len(END)]


def _with_licence(block: str, licence: str) -> str:
    """Let the table say what the header says: people change the header."""
    return re.sub(r"^\| licence \| .* \|$", lambda _: f"| licence | {licence} |", block, count=1, flags=re.MULTILINE)
