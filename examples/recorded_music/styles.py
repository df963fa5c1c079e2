"""Weak labels: the style of a track by its own tag, or by what MusiCNN hears where that is clear.

MusiCNN (Pons and Serra, arXiv 1909.06654) learned from the tags that listeners gave the Million Song Dataset and MagnaTagATune.
What it hears is "classical" where the latter's tag has at least 0.3, else the strongest genre of the former. Nobody has
listened to all of these tracks: a label is somebody's tag or a network's opinion.
"""

import csv
from collections.abc import Iterable, Iterator
from itertools import chain, islice, zip_longest
from pathlib import Path

from pecmae.audio.segments import load_audio
from pecmae.core.files import atomic_write

from .catalogue import Track
from .decoding import SAMPLING_RATE, write_sound

__all__ = ["STYLES", "TAGGED", "choose", "cut_effects", "cut_styles", "heard_style", "is_music", "style_of", "tagged_style"]

# Those with at least 15 tracks of at least 4 packages.
STYLES = ("ambient", "classical", "electronic", "jazz", "metal", "rock")
# How many times as likely as the next style one has to be to count as heard.
CLEAR = 1.2
# Tracks of a style and split, so that electronic music, of which there is most, does not drown the others.
MOST = 60
# Of each track, from its middle: an intro is no example of a style.
EXCERPT_SECONDS = 60
EFFECTS_FOLDERS = {"sounds", "sfx", "animals", "misc"}
# A second test set.
TAGGED = "tagged"
# What people write into the genre tag of a file.
_TAGS = {
    **dict.fromkeys(("romantic classical", "classical", "classique", "orchestral"), "classical"),
    **dict.fromkeys(("death metal", "thrash metal", "trash metal", "female fronted metal"), "metal"),
    **dict.fromkeys(("electronic", "house", "dnb"), "electronic"),
    **dict.fromkeys(("ambient", "ambiance"), "ambient"),
    **dict.fromkeys(("rock",), "rock"),
}


def is_music(track: Track) -> bool:
    """Whether a track is music; games keep rain, sheep and engines in folders of their own."""
    folders = set(Path(track.source.casefold()).parts)
    return "music" in folders or not EFFECTS_FOLDERS & folders


def tagged_style(track: Track) -> str | None:
    """The style that a file's own tag names; None for no tag, or one that names none of `STYLES`."""
    return _TAGS.get(track.genre_tag.casefold())


def heard_style(track: Track) -> str | None:
    """The style that MusiCNN hears clearly; None where it wavers, or hears something else."""
    if track.heard not in STYLES:
        return None
    return track.heard if track.clearness is None or track.clearness >= CLEAR else None


def style_of(track: Track) -> str | None:
    """The style of music: its tag's, else the one that is heard clearly; None where there is neither or they contradict."""
    if not is_music(track):
        return None
    tagged, heard = tagged_style(track), heard_style(track)
    return None if tagged and heard and tagged != heard else tagged or heard


def choose(tracks: Iterable[Track], most: int = MOST) -> Iterator[tuple[Track, str, str]]:
    """Tracks that have a style, the style and the split.

    At most so many of each style and split, the packages taking turns. Beside the splits of the catalogue there is "tagged":
    the test tracks whose own tag names a style, by that tag alone.
    """
    groups: dict[tuple[str, str], dict[str, list[Track]]] = {}
    for track in tracks:
        for split, label in ((track.split, style_of(track)), (TAGGED, track.split == "test" and tagged_style(track))):
            if label:
                groups.setdefault((split, label), {}).setdefault(track.package, []).append(track)
    for (split, label), packages in groups.items():
        turns = chain.from_iterable(zip_longest(*(packages[name] for name in sorted(packages))))
        yield from ((track, label, split) for track in islice((track for track in turns if track), most))


def cut_styles(tracks: Iterable[Track], music: Path, output: Path) -> None:
    """Write the middle minute of labelled tracks to ``output/SPLIT/STYLE``, and whose label it is to ``output/index.csv``.

    Parameters
    ----------
    tracks : iterable of Track
    music : path
        Where their sound is.
    output : path
        A folder that `pecmae.data.load.load_collection` reads.
    """
    rows = []
    for track, label, split in choose(tracks):
        place = Path(split, label, _clip_name(track))
        _cut(music / track.path, output / place)
        rows.append((place.as_posix(), label, split, track.artist, "tag" if tagged_style(track) else "MusiCNN"))
    output.mkdir(parents=True, exist_ok=True)
    with atomic_write(output / "index.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([("path", "label", "split", "artist", "labelled_by"), *rows])


def cut_effects(tracks: Iterable[Track], music: Path, output: Path) -> None:
    """Write the middle minute of what is no music, of all splits, to one folder: nothing learns from it."""
    for track in tracks:
        if not is_music(track):
            _cut(music / track.path, output / _clip_name(track))


def _clip_name(track: Track) -> str:
    return f"{track.package}.{'.'.join(track.path.with_suffix('').parts[2:])}.wav"


def _cut(source: Path, target: Path) -> None:
    if target.exists():
        return
    sound = load_audio(source, target_rate=SAMPLING_RATE)
    start = max(0, len(sound) // 2 - EXCERPT_SECONDS * SAMPLING_RATE // 2)
    write_sound(target, sound[start : start + EXCERPT_SECONDS * SAMPLING_RATE])
