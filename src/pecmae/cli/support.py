"""What the commands share: finding files, loading models, working through a list, and naming what is written."""

import atexit
import io
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from pecmae.cli import console
from pecmae.cli.signals import INTERRUPTED, held_back
from pecmae.core.files import atomic_write, display_name, user_path
from pecmae.errors import PecmaeError

if TYPE_CHECKING:
    import numpy as np

    from pecmae.autoencoder.embedding import TrackEmbedding
    from pecmae.autoencoder.model import Autoencoder
    from pecmae.hub.zoo import ZooEntry
    from pecmae.model import PECMAE


# The name of the file that standard input is read into.
STANDARD_INPUT = "standard input"


def refuse(text: str) -> NoReturn:
    """End with the status of wrong usage and one line."""
    console.say(text, "error")
    raise typer.Exit(2)


def require(module: str, command: str, extra: str) -> None:
    """Refuse a command whose extra is not installed."""
    if find_spec(module) is None:
        refuse(f"{command} needs {module}; install it with pip install 'pecmae[{extra}]'.")


def find(paths: Sequence[str]) -> tuple[list[Path], list[dict[str, Any]]]:
    """Return the files of all paths, and a row for each path that matches nothing or cannot be looked at."""
    from pecmae.audio.segments import find_audio_files

    found: list[Path] = []
    missing: list[dict[str, Any]] = []

    def unreadable(error: OSError) -> None:
        why = f"{error.filename}: {error.strerror}, so this folder cannot be searched; change its permissions or leave it out."
        missing.append(_failure(str(error.filename), PermissionError(why)))

    for path in paths:
        if path == str(console.STREAM):
            found.append(_standard_input())
            continue
        try:
            found += find_audio_files([user_path(path)], on_error=unreadable)
        except OSError as error:  # also a name that is too long, or a folder that may not be read
            missing.append(_failure(path, error))
    return (find_audio_files(found) if found else []), missing


def _failure(path: str | Path, error: BaseException) -> dict[str, Any]:
    text = console.sentence(error)
    console.say(text, "error")
    return {"path": name_of(path), "error": text}


def name_of(path: str | Path) -> str:
    """What a row calls a file: its path, or "-"."""
    return str(console.STREAM if Path(path).name == STANDARD_INPUT else path)


@cache
def _standard_input() -> Path:
    """All that standard input holds, as a file that is gone when the process ends: audio is not read in one pass."""
    if sys.stdin is None or sys.stdin.isatty():
        refuse("-: standard input holds no audio; redirect a file into it, or give a path.")
    folder = Path(tempfile.mkdtemp(prefix="pecmae-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with (folder / STANDARD_INPUT).open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    return folder / STANDARD_INPUT


@dataclass(frozen=True)
class Done:
    """How far a command came."""

    total: int = 0
    failed: int = 0
    interrupted: bool = False

    def after(self, missing: int) -> "Done":
        """With paths that were missing from the start."""
        return Done(self.total + missing, self.failed + missing, self.interrupted)


def each(
    files: Sequence[Path],
    verb: str,
    outcomes: Iterable[dict[str, Any] | Exception],
    show: Callable[[dict[str, Any]], object] = lambda row: None,
) -> Done:
    """Show the row of each file as soon as its outcome is known: `path` with the values of it, or with what was wrong.

    What is done when the user stops it stays done.
    """
    done = Done()
    try:
        with console.progress_bar(verb, len(files)) as advance:
            for path, outcome in zip(files, outcomes, strict=True):
                failed = isinstance(outcome, Exception)
                with held_back():  # a row is shown whole
                    show(_failure(path, outcome) if isinstance(outcome, Exception) else {"path": name_of(path), **outcome})
                done = Done(done.total + 1, done.failed + failed)
                advance()
    except KeyboardInterrupt:
        return replace(done, interrupted=True)
    return done


def attempts(files: Iterable[Path], work: Callable[[Path], dict[str, Any]]) -> Iterator[dict[str, Any] | Exception]:
    """What `work` returns for each file, or what it says is wrong with it."""
    for path in files:
        try:
            yield work(path)
        except (PecmaeError, OSError) as error:
            yield error


def finish(done: Done) -> None:
    """End with the status of what happened: 130 interrupted, 1 something failed; else return."""
    if done.interrupted:
        raise typer.Exit(INTERRUPTED)
    if done.failed:
        console.say(f"{done.failed} of {done.total} failed")
        raise typer.Exit(1)


def check_output_file(output: Path) -> None:
    """Refuse a file that cannot be written, or a standard output that is closed, before work is done for it."""
    if output == console.STREAM:
        if sys.stdout is None:
            refuse("standard output is closed; give a file with --output.")
        return
    if output.is_dir():
        refuse(f"{output}: this is a folder; give a file for --output.")
    if not output.parent.is_dir():
        refuse(f"{output}: the folder {output.parent} does not exist; make it first.")
    if output.exists() and not output.is_file():
        return  # a device or a pipe is written to as it is
    try:
        tempfile.TemporaryFile(dir=output.parent).close()
    except OSError as error:
        refuse(f"{output}: nothing can be written into {output.parent} ({error.strerror}); choose another folder.")


def check_ending(output: Path, endings: Sequence[str]) -> None:
    """Refuse a file whose name promises a format that a command does not write; streams and devices promise nothing."""
    if output == console.STREAM or (output.exists() and not output.is_file()):
        return
    if output.suffix.lower() not in endings:
        listed = f"{', '.join(endings[:-1])} or {endings[-1]}"
        refuse(f"{output}: nothing is written here as {output.suffix or 'a file without an ending'}; end the name in {listed}.")


def make_folder(folder: Path) -> None:
    """Make a folder for what will be written, or refuse it before work is done for it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        refuse(f"{folder}: this folder cannot be made ({error.strerror}); choose another for --output.")


def check_output_folder(output: Path) -> None:
    """Refuse a file, or standard output, where a folder is wanted."""
    if output == console.STREAM:
        refuse("-: this writes files; give a folder for --output.")
    if output.exists() and not output.is_dir():
        refuse(f"{output}: this is a file; give a folder for --output.")


def _check_precision(device: str | None, dtype: str) -> None:
    from pecmae.core.devices import pick_device, pick_loading_dtype

    try:
        pick_loading_dtype(dtype, pick_device(device), width=0)
    except ValueError as error:
        refuse(str(error))


def load_model(name: str | None, device: str | None, dtype: str) -> "PECMAE":
    """Load a model to classify and sonify with: a directory, a Hub id, or the embedded one."""
    with console.spinner(f"loading {name or 'pecmae-mini'}"):
        _check_precision(device, dtype)
        from pecmae.model import PECMAE

        return PECMAE.from_pretrained(name, device=device, dtype=dtype)


def load_autoencoder(name: str | None, device: str | None, dtype: str) -> "Autoencoder":
    """Load an autoencoder by name, directory or Hub id, or the one of a model."""
    with console.spinner(f"loading {name or 'pecmae-mini'}"):
        _check_precision(device, dtype)
        from pecmae.autoencoder.model import MODEL_TYPE, Autoencoder
        from pecmae.core.configs import model_kind
        from pecmae.hub.resolve import resolve_model
        from pecmae.hub.zoo import find_entry
        from pecmae.model import PECMAE

        entry = find_entry(name) if name else None
        if entry and entry.kind == "autoencoder":
            return Autoencoder.from_pretrained(name, device=device, dtype=dtype)
        directory = resolve_model(name)
        if model_kind(directory) == MODEL_TYPE:
            return Autoencoder.from_pretrained(directory, device=device, dtype=dtype)
        return PECMAE.from_pretrained(directory, device=device, dtype=dtype).autoencoder


def embedded(
    autoencoder: "Autoencoder", files: Sequence[Path], targets: Mapping[Path, Path], batch_size: int | None
) -> Iterator[dict[str, Any] | Exception]:
    """Write the embeddings of each file where they belong, and yield the row of it, or what is wrong with it."""
    from pecmae.autoencoder.embedding import embed_tracks

    for path, track in zip(files, embed_tracks(autoencoder, files, batch_size=batch_size), strict=True):
        if isinstance(track, Exception):
            yield track
            continue
        try:
            _write_embedding(targets[path], path, track, autoencoder.config.segment_seconds)
        except OSError as error:
            yield error
        else:
            yield {"output": str(targets[path])}


def _write_embedding(target: Path, path: Path, track: "TrackEmbedding", segment_seconds: float) -> None:
    """A safetensors file that appears whole or not at all."""
    import numpy as np
    from safetensors.numpy import save

    metadata = {
        "path": display_name(path),
        "sampling_rate": str(track.sampling_rate),
        "segment_seconds": str(segment_seconds),
        "duration": str(track.duration),
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(target) as temporary:
        # save_file would make a file that only its owner may read.
        temporary.write_bytes(save({"z": track.z.numpy(), "offsets": np.asarray(track.offsets, np.int64)}, metadata))


def mirrored(files: Sequence[Path], paths: Sequence[str], output: Path) -> dict[Path, Path]:
    """Return where each file's embeddings go: its place below the folder that was named, below `output`.

    Where two files would meet, the folder that all files share takes the part of the folders named.
    """
    roots = [Path(path) for path in paths if Path(path).is_dir()]
    relative = {file: _below(file, roots) for file in files}
    if len(set(relative.values())) < len(files):
        shared = Path(os.path.commonpath([_absolute(file).parent for file in files]))
        relative = {file: _absolute(file).relative_to(shared) for file in files}
    return {file: output / place.with_name(f"{place.name}.safetensors") for file, place in relative.items()}


def _below(file: Path, roots: Sequence[Path]) -> Path:
    for root in roots:
        if _absolute(file).is_relative_to(_absolute(root)):
            return _absolute(file).relative_to(_absolute(root))
    return Path(file.name)


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100  # resolve() would follow links


def sound_files(prototypes: Sequence[tuple[str, int]], labels: Sequence[str], output: Path | None) -> list[Path]:
    """Return the file of each of `prototypes`, a class and a number in it; what cannot be written is refused first."""
    from pecmae.audio.segments import AUDIO_EXTENSIONS, WRITABLE_EXTENSIONS

    stems = _file_stems(labels)
    suffix = output.suffix.lower() if output is not None and not output.is_dir() else ""
    one_file = len(prototypes) == 1 and bool(suffix)
    if output is not None and (one_file or suffix in AUDIO_EXTENSIONS or output == console.STREAM):
        if len(prototypes) > 1:
            refuse(f"{output}: this is one file for {len(prototypes)} prototypes; give a folder, or --prototype.")
        if suffix not in WRITABLE_EXTENSIONS and output != console.STREAM:
            refuse(f"{output}: {suffix} cannot be written; use one of {', '.join(WRITABLE_EXTENSIONS)}.")
        return [output]
    if output is not None and output.exists() and not output.is_dir():
        refuse(f"{output}: this is a file; give a folder or a name that ends in .wav.")
    folder = output or Path()
    return [folder / f"{stems[name]}-{number}.wav" for name, number in prototypes]


def write_wav_to_standard_output(samples: "np.ndarray", sampling_rate: int) -> None:
    """Write one sound [shape=(N,)] as a WAV file to standard output."""
    import soundfile

    encoded = io.BytesIO()
    soundfile.write(encoded, samples, sampling_rate, format="WAV", subtype="PCM_16")
    sys.stdout.buffer.write(encoded.getbuffer())
    sys.stdout.flush()


def _file_stems(labels: Sequence[str]) -> dict[str, str]:
    """File names of classes: what a file system may not take becomes an underscore; equal names get a number."""
    stems: dict[str, str] = {}
    taken: set[str] = set()
    for index, label in enumerate(labels):
        stem = re.sub(r"[^\w.+-]+", "_", label).strip("._") or f"class_{index}"
        stems[label] = f"{stem}_{index}" if stem.lower() in taken else stem
        taken.add(stems[label].lower())
    return stems


def zoo_rows() -> list[dict[str, Any]]:
    """Return what can be loaded by name, with whether it is here already."""
    from pecmae.hub.zoo import ZOO, embedded_directory

    rows = []
    for entry in ZOO.values():
        if entry.source == "embedded":
            state = "embedded" if (embedded_directory(entry.name) / "config.json").is_file() else "missing"
        elif entry.source == "published":
            state = "cached" if _is_cached(entry) else "download"
        else:
            state = "not published"
        rows.append(
            {
                "name": entry.name,
                "kind": entry.kind,
                "state": state,
                "segment_seconds": entry.segment_seconds,
                "labels": list(entry.labels),
                "license": entry.license,
                "description": entry.description,
            }
        )
    return rows


def _is_cached(entry: "ZooEntry") -> bool:
    """Whether an autoencoder would load without a network."""
    from huggingface_hub import try_to_load_from_cache

    from pecmae.hub.resolve import CODEC_FILES

    wanted = [(entry.repo_id, name) for name in (entry.weights_file, entry.config_file)]
    wanted += [(entry.codec_repo_id, name) for name in CODEC_FILES]
    return all(repo and name and isinstance(try_to_load_from_cache(repo, name), str) for repo, name in wanted)
