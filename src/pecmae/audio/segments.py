"""The one door for audio: files and arrays of any rate, channels and length become mono segments at one rate.

Everything streams: memory depends on the length of a segment, not on that of the track.
"""

import glob
import io
import os
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, TypeGuard, cast

import numpy as np
import soundfile
import soxr

from pecmae.audio.arrays import ArrayAudio, as_samples, checked_rate
from pecmae.audio.files import READABLE_EXTENSIONS, UNREADABLE_EXTENSIONS, AudioFile, open_audio
from pecmae.audio.media import MediaFile
from pecmae.audio.preparation import MAXIMUM_SAMPLE, PUBLISHED, ChannelMixer, Preparation, Segment, Survey
from pecmae.core.files import atomic_write, display_name, user_path
from pecmae.errors import AudioError, AudioWarning

if TYPE_CHECKING:
    import torch

# A file (a path, or an open one), or samples [shape=(samples,) or (channels, samples)].
AudioSource: TypeAlias = "str | os.PathLike[str] | BinaryIO | np.ndarray | torch.Tensor"

AUDIO_EXTENSIONS = READABLE_EXTENSIONS + UNREADABLE_EXTENSIONS
# What other systems put into folders; nothing in them is the user's.
SYSTEM_FOLDERS = frozenset(
    ("__macosx", "@eadir", "@recycle", "#recycle", "#snapshot", "$recycle.bin", "system volume information", "lost+found")
)

_WRITABLE = {  # extension → libsndfile's format and subtype
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
    ".aiff": ("AIFF", "PCM_16"),
}
WRITABLE_EXTENSIONS = tuple(_WRITABLE)


def iter_segments(
    source: AudioSource,
    *,
    segment_samples: int,
    target_rate: int,
    sampling_rate: int | None = None,
    minimum_samples: int = 1,
    survey: Survey | None = None,
    name: str | None = None,
) -> Iterator[Segment]:
    """Cut a track into segments that do not overlap.

    Parameters
    ----------
    source : path, np.ndarray or torch.Tensor [shape=(samples,) or (channels, samples)]
        Float samples within ±1, or integers, which are scaled by the full scale of their type. Never changed.
    segment_samples : int
        Length of a segment, at `target_rate`.
    target_rate : int
        Rate of the segments, in Hz.
    sampling_rate : int, optional
        Rate of an array, in Hz. A file knows its own, and this is not looked at.
    minimum_samples : int
        A last segment with fewer real samples is left out, unless it is the only one.
    survey : Survey, optional
        What decides how sound is prepared, and learns what each segment is worth; a new one by default.
    name : str, optional
        What messages call the source; by default its path, or "array".

    Yields
    ------
    Segment
        Mono (the mean of the channels), resampled, prepared.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    AudioError
        When the source cannot be used: not audio, no samples, NaN or infinite samples, no sampling rate. It comes with the
        first segment, not with the call.

    Warns
    -----
    AudioWarning
        At the end of a track, for each of the survey's notes: it is silent, is cut off or damaged, lies far outside ±1, …
    """
    if segment_samples < 1 or target_rate < 1:
        raise ValueError(f"segment_samples and target_rate must be positive, got {segment_samples} and {target_rate}.")
    survey = Survey(PUBLISHED, segment_samples, target_rate) if survey is None else survey
    return _segments(_opener(source, sampling_rate, name), segment_samples, target_rate, minimum_samples, survey)


def load_audio(
    source: AudioSource,
    *,
    target_rate: int,
    sampling_rate: int | None = None,
    preparation: Preparation = PUBLISHED,
    name: str | None = None,
) -> np.ndarray:
    """Return a whole track, mono, at one rate; an offset is not removed, for there are no segments to remove it from.

    Parameters, errors and warnings are those of `iter_segments`.

    Returns
    -------
    np.ndarray [shape=(samples,)]
        float32.
    """
    survey = Survey(replace(preparation, remove_offset=False), 1, target_rate)
    pieces = _segments(_opener(source, sampling_rate, name), target_rate, target_rate, 1, survey)
    return np.concatenate([piece.samples[: piece.length] for piece in pieces])


def audio_duration(source: AudioSource, sampling_rate: int | None = None) -> float:
    """Duration of a track in seconds, without decoding it where its header tells.

    Parameters are those of `iter_segments`. For a file that is cut off it is what the header promises.

    Raises
    ------
    FileNotFoundError, AudioError
        As `iter_segments`.
    """
    with closing(_opener(source, sampling_rate, None)()) as audio:
        frames = audio.expected_frames
        if frames is None:
            frames = sum(len(block) for block in audio.blocks())
        return float(frames) / audio.sampling_rate


def _segments(
    open_audio: Callable[[], AudioFile | MediaFile | ArrayAudio],
    segment_samples: int,
    target_rate: int,
    minimum_samples: int,
    survey: Survey,
) -> Iterator[Segment]:
    """Cut, have each piece prepared, and warn at the end."""
    with closing(open_audio()) as audio:
        mixer = ChannelMixer(survey.preparation)
        with closing(_resampled(audio, mixer, target_rate)) as blocks:
            for segment in _cut(blocks, segment_samples, minimum_samples):
                survey.prepare(segment.samples, segment.length)
                yield segment
        survey.finish(mixer, audio.damage)
        for note in survey.notes:
            warnings.warn(f"{audio.name}: {note}.", AudioWarning, stacklevel=2)


def _cut(blocks: Iterator[np.ndarray], segment_samples: int, minimum_samples: int) -> Iterator[Segment]:
    samples, length, offset = np.zeros(segment_samples, np.float32), 0, 0
    for block in blocks:
        while len(block):
            taken = min(segment_samples - length, len(block))
            samples[length : length + taken] = block[:taken]
            block, length = block[taken:], length + taken
            if length == segment_samples:
                yield Segment(samples, length, offset)
                samples, length, offset = np.zeros(segment_samples, np.float32), 0, offset + segment_samples
    if length >= minimum_samples or (length and offset == 0):
        yield Segment(samples, length, offset)


def _resampled(audio: AudioFile | MediaFile | ArrayAudio, mixer: ChannelMixer, target_rate: int) -> Generator[np.ndarray]:
    """Mono float32 blocks (n,) at `target_rate`; checks the samples."""
    rate, read, made = audio.sampling_rate, 0, 0
    resampler = None if rate == target_rate else soxr.ResampleStream(rate, target_rate, 1, dtype="float32", quality="HQ")
    for block in audio.blocks():
        _check_samples(audio, block, read)
        mono = mixer.mix(block)
        read += len(mono)
        mono = mono if resampler is None else resampler.resample_chunk(np.ascontiguousarray(mono))
        if len(mono):
            made += len(mono)
            yield mono
    if resampler is not None and len(mono := resampler.resample_chunk(np.zeros(0, np.float32), last=True)):
        made += len(mono)
        yield mono
    if not made:
        raise AudioError(_nothing(audio, read, target_rate))


def _check_samples(audio: AudioFile | MediaFile | ArrayAudio, block: np.ndarray, read: int) -> None:
    """Refuse what is no sound in the samples (n, channels) that follow the first `read`."""
    largest = max(float(block.max()), -float(block.min()))  # NaN where there is any
    if largest <= MAXIMUM_SAMPLE:
        return
    fit = np.abs(block) <= MAXIMUM_SAMPLE  # False for NaN
    where = (read + int(fit.all(axis=1).argmin())) / audio.sampling_rate
    if np.isfinite(block).all():
        raise AudioError(
            f"{audio.name}: holds samples of {largest:.1g} at {where:.3f} s, which are no sound; repair or remove it."
        )
    raise AudioError(f"{audio.name}: holds NaN or infinite samples at {where:.3f} s; repair or remove it.")


def _nothing(audio: AudioFile | MediaFile | ArrayAudio, read: int, target_rate: int) -> str:
    if read:
        return f"{audio.name}: {read} sample(s) at {audio.sampling_rate} Hz are less than one at {target_rate} Hz; give more."
    reason = " (it is cut off or damaged)" if audio.damage or audio.expected_frames else ""
    return f"{audio.name}: holds 0 audio frames{reason}; give audio with at least one sample."


def is_samples(source: Any) -> "TypeGuard[np.ndarray | torch.Tensor]":
    """Whether a source is an array or a tensor, which has no name of its own."""
    return not isinstance(source, str | os.PathLike) and not hasattr(source, "read")


def _opener(
    source: AudioSource, sampling_rate: int | None, name: str | None
) -> Callable[[], AudioFile | MediaFile | ArrayAudio]:
    if is_samples(source):
        return lambda: ArrayAudio(source, sampling_rate, name)
    return lambda: open_audio(cast("str | os.PathLike[str] | BinaryIO", source), name)


def find_audio_files(
    paths: Iterable[str | os.PathLike[str]], *, on_error: Callable[[OSError], None] | None = None
) -> list[Path]:
    """List the files that are named, lie in folders, or match patterns.

    Parameters
    ----------
    paths : iterable of paths
        A file is kept whatever its extension, so that what is wrong with it is reported. A folder is searched, with all folders
        inside it, for files with one of `AUDIO_EXTENSIONS` in any case; hidden ones are skipped. Anything else is a pattern,
        where `**` stands for any folders.
    on_error : callable, optional
        Called with what is wrong with a folder that cannot be read; without it, that is raised.

    Returns
    -------
    list of Path
        Sorted, each file once.

    Raises
    ------
    FileNotFoundError
        When an item matches nothing.
    PermissionError
        When a folder cannot be read.
    """
    on_error = on_error or _raise
    if isinstance(paths, str | os.PathLike):
        paths = [paths]
    found: dict[str, Path] = {}
    for item in paths:
        name = display_name(item)
        if not name:  # to a Path that is the current folder; here it is a variable that nobody set
            raise FileNotFoundError("'' is no path; give a file, a folder or a pattern.")
        path = Path(item)
        if path.is_dir():
            matches = _audio_in_folder(path, on_error)
        else:
            matches = [path] if path.exists() else _audio_by_pattern(str(item), on_error)
        if not matches and path.is_dir():
            raise FileNotFoundError(f"{name}: the folder holds no audio files (looked for {', '.join(READABLE_EXTENSIONS)}).")
        if not matches:
            raise FileNotFoundError(f"{name}: no such file or folder, and no audio file matches it; check the path.")
        for match in matches:
            found.setdefault(os.path.abspath(match), match)  # noqa: PTH100  # resolve() would follow links
    return sorted(found.values())


def _is_audio_name(path: Path) -> bool:
    return path.suffix.lower() in AUDIO_EXTENSIONS and not path.name.startswith(".")


def _audio_in_folder(folder: Path, on_error: Callable[[OSError], None]) -> list[Path]:
    """Audio below a folder; links to folders are followed, each folder once."""
    files: list[Path] = []
    seen: set[tuple[int, int]] = set()
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=on_error):
        place = Path(parent).stat()
        if (place.st_dev, place.st_ino) in seen:
            folders.clear()
            continue
        seen.add((place.st_dev, place.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name.casefold() not in SYSTEM_FOLDERS)
        files += [path for name in names if _is_audio_name(path := Path(parent, name))]
    return files


def _raise(error: OSError) -> None:
    raise type(error)(
        error.errno, f"this folder cannot be read ({error.strerror}); change its permissions or leave it out", error.filename
    )


def _audio_by_pattern(pattern: str, on_error: Callable[[OSError], None]) -> list[Path]:
    matches: list[Path] = []
    named = glob.escape(Path(pattern).suffix) == Path(pattern).suffix != ""  # "*.xyz" asks for them by name, "*" does not
    for match in map(Path, glob.glob(_literal_front(pattern), recursive=True)):  # noqa: PTH207  # Path.glob takes no absolute ones
        if match.is_dir():
            matches += _audio_in_folder(match, on_error)
        elif named or _is_audio_name(match):
            matches.append(match)
    return matches


def _literal_front(pattern: str) -> str:
    """The pattern, with the brackets of folders that exist by that name taken as they are: albums are called "Title [FLAC]"."""
    parts, front = Path(pattern).parts, Path()
    for number, part in enumerate(parts):
        if not (front / part).exists():
            return str(Path(glob.escape(str(front)), *parts[number:]))
        front /= part
    return glob.escape(pattern)


def write_audio(path: str | os.PathLike[str], samples: Any, sampling_rate: int) -> None:
    """Write mono audio; the extension decides the format (WAV and FLAC with 16 bits).

    The file appears whole or not at all.

    Parameters
    ----------
    path : path
        With one of the extensions .wav, .flac, .ogg, .opus, .mp3, .aiff. An existing file is replaced.
    samples : np.ndarray or torch.Tensor [shape=(samples,)]
        Float, within ±1.
    sampling_rate : int
        In Hz.

    Raises
    ------
    FileNotFoundError
        When the folder does not exist.
    AudioError
        When the extension is unknown, or the samples are not a finite vector within ±1: nothing is clipped.
    """
    path = user_path(path)
    name = display_name(path)
    if path.suffix.lower() not in _WRITABLE:
        raise AudioError(f"{name}: cannot write this extension; use one of {', '.join(_WRITABLE)}.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{name}: the folder {display_name(path.parent)} does not exist; make it first.")
    array = np.asarray(as_samples(samples, name), np.float32)
    checked_rate(sampling_rate, name)
    if array.ndim != 1 or not len(array):
        raise AudioError(f"{name}: expected samples of shape (samples,), got the shape {array.shape}.")
    if not np.isfinite(array).all():
        raise AudioError(f"{name}: the samples are NaN or infinite in places and cannot be written; repair them.")
    if (peak := float(np.abs(array).max())) > 1:
        raise AudioError(f"{name}: the samples reach {peak:.3g} and would be clipped; scale them to ±1.")
    kind, subtype = _WRITABLE[path.suffix.lower()]
    try:
        # In memory first: libsndfile cannot say that the disk is full.
        encoded = io.BytesIO()
        soundfile.write(encoded, array, sampling_rate, format=kind, subtype=subtype)
    except soundfile.SoundFileError as error:
        raise AudioError(f"{name}: cannot be written as {kind} at {sampling_rate} Hz; use .wav or another rate.") from error
    with atomic_write(path) as temporary:
        temporary.write_bytes(encoded.getbuffer())
