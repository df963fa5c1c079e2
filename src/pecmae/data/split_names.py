"""What people call the splits of their data: the one place that knows."""

import re
from collections.abc import Iterable

SPLITS = ("train", "validation", "test")
_WORDS = {
    **dict.fromkeys(("train", "training", "trn", "learn", "learning"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation", "validating"), "validation"),
    **dict.fromkeys(("dev", "devel", "develop", "development"), "validation"),
    **dict.fromkeys(("test", "testing", "tst", "heldout", "holdout"), "test"),
    # Where there is another test split, this one validates.
    **dict.fromkeys(("eval", "evaluate", "evaluation"), "evaluation"),
}
# Words that may stand beside such a name and change nothing: "train_set", "audio-test".
_BESIDE = {"audio", "clips", "data", "files", "part", "partition", "set", "split", "subset", "wav", "wavs"}
_JOINED = re.compile(rf"^({'|'.join(_WORDS)})({'|'.join(_BESIDE)})$")


def name_splits(names: Iterable[str]) -> dict[str, str]:
    """Which of some names stand for splits, read together: what "eval" means depends on the others.

    Parameters
    ----------
    names : iterable of str
        Of folders, of tables, or the cells of a column; in any case.

    Returns
    -------
    dict
        Name → "train", "validation" or "test". Names that mean none are left out; so is "eval" beside both of the others.
    """
    meant = {name: word for name in names if (word := _meaning(name))}
    evaluation = "test"
    if "test" in meant.values():
        evaluation = "" if "validation" in meant.values() else "validation"
    found = {name: evaluation if word == "evaluation" else word for name, word in meant.items()}
    return {name: split for name, split in found.items() if split}


def split_word(text: str) -> str | None:
    """The one word in a longer name that stands for a split, such as "val" in "groundtruth_val"; None for none or several."""
    found = [word for word in _words(text) if word in _WORDS]
    return found[0] if len(found) == 1 else None


def split_order(split: str) -> tuple[int, str]:
    """A key to sort names of splits by: those of `SPLITS` first, in their order."""
    return (SPLITS.index(split), "") if split in SPLITS else (len(SPLITS), split)


def _words(text: str) -> list[str]:
    """Lower-case words without numbers; "trainset" is two."""
    words = [word for word in re.split(r"[\W_]+", text.casefold()) if word and not word.isdecimal()]
    return [part for word in words for part in _JOINED.sub(r"\1 \2", word).split()]


def _meaning(name: str) -> str | None:
    words = [word for word in _words(name) if word not in _BESIDE]
    return _WORDS.get(words[0]) if len(words) == 1 else None
