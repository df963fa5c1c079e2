"""Model directories that are damaged or crafted, and tables of files that are none."""

import hashlib
import json
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load, save

from hostile.cases import Case, mutated
from pecmae import PECMAE, Autoencoder, AutoencoderConfig, PrototypeHead, PrototypeHeadConfig
from pecmae.prototypes.neighbours import describe_neighbours

LABELS = ("blues", "jazz", "rock")
# What stands in the place of a setting, as JSON that Python reads.
VALUES = (
    *("0", "-1", "1e12", "1e400", "NaN", "1000000000000", "1" + "0" * 40, "0.5", "true", "null", '"text"', '""'),
    *("[]", "{}", "[1, null]", '["a", "a", "a"]', "[" * 100_000 + "]" * 100_000, "1" * 5000),
)


def tiny_model() -> PECMAE:
    """Make a model with random weights, small enough to answer at once."""
    config = AutoencoderConfig(
        segment_seconds=1.0, feature_dim=8, codec_num_filters=2, codec_decoder_num_filters=2, codec_num_lstm_layers=1,
        embedding_dim=16, feed_forward_dim=32, num_encoder_layers=1, num_encoder_heads=2, num_summarizer_layers=1,
        num_denoiser_layers=1, num_heads=2, num_inference_steps=2,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = PrototypeHeadConfig(embedding_dim=16, num_classes=3, prototypes_per_class=2, adaptor_dim=32)
        return PECMAE(Autoencoder(config).eval(), PrototypeHead(head, mean=0.1, std=0.7), LABELS)


def leaves(tree: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Places of all settings in a JSON object, groups of them included."""
    if place:
        yield place
    for key in tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ():
        yield from leaves(tree[key], (*place, key))


def setting_replaced(text: str, draws: np.random.Generator) -> tuple[str, str]:
    """JSON with a setting replaced, removed or added, and what was done."""
    tree = json.loads(text)
    places = list(leaves(tree))
    *above, last = places[int(draws.integers(len(places)))]
    parent = tree
    for key in above:
        parent = parent[key]
    name = ".".join(map(str, (*above, last)))
    chance = draws.random()
    if chance < 0.1:
        del parent[last]
        return json.dumps(tree), f"without {name}"
    if chance < 0.15 and isinstance(parent, dict):
        parent["extra"] = 1
        return json.dumps(tree), f"with a setting beside {name}"
    value = VALUES[int(draws.integers(len(VALUES)))]
    parent[last] = "@value@"
    return json.dumps(tree).replace('"@value@"', value), f"{name} = {value[:30]}"


def tensors_changed(data: bytes, draws: np.random.Generator) -> tuple[bytes, str]:
    """Safetensors that are well made, but of other shapes, types, values or names."""
    tensors = load(data)
    # The metadata stay as they are.
    metadata = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]]).get("__metadata__")
    name = sorted(tensors)[int(draws.integers(len(tensors)))]
    old, choice = tensors[name], int(draws.integers(7))
    if choice == 0:
        del tensors[name]
        return save(tensors, metadata), f"without {name}"
    if choice == 1:
        tensors["extra"] = old
        return save(tensors, metadata), f"{name} twice"
    kinds = (np.float64, np.float16, np.int64, np.uint8, np.bool_)
    changed = {
        2: lambda: (np.zeros((*old.shape, 2), old.dtype), "a dimension more"),
        3: lambda: (old.reshape(-1)[: max(0, old.size - 1)].copy(), "one value less"),
        4: lambda: (np.zeros((0, *old.shape[1:]), old.dtype), "no rows"),
        5: lambda: (np.nan_to_num(old).astype(kinds[int(draws.integers(len(kinds)))]), "another type"),
        6: lambda: _filled(old, draws),
    }
    tensors[name], how = changed[choice]()
    return save(tensors, metadata), f"{name}: {how}"


def _filled(old: np.ndarray, draws: np.random.Generator) -> tuple[np.ndarray, str]:
    """With NaN, infinity or the largest numbers in some places."""
    new = old.copy()
    if not new.size:
        return new, "as it was"
    if np.issubdtype(new.dtype, np.floating):
        value = float(draws.choice([np.nan, np.inf, -np.inf, np.finfo(new.dtype).max]))
    else:
        value = int(draws.choice([np.iinfo(new.dtype).max, np.iinfo(new.dtype).min, -1]))
    places = draws.integers(new.size, size=draws.integers(1, 4))
    new.reshape(-1)[places] = value
    return new, f"{value:g} in it"


def model_cases(folder: Path, count: int, seed: int) -> Iterator[Case]:
    """Write `count` model directories, each with one file damaged or changed; the same for the same seed."""
    draws = np.random.default_rng(seed)
    whole = folder / "whole"
    model = tiny_model()
    model.save_pretrained(whole)
    _add_companion(whole, model.head)
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.suffix in (".json", ".safetensors"))
    for number in range(count):
        directory, name = folder / f"{number:04d}", files[number % len(files)]
        shutil.copytree(whole, directory)
        data = (directory / name).read_bytes()
        if draws.random() < 0.3:
            data, how = mutated(data, draws)
        elif name.suffix == ".json":
            text, how = setting_replaced(data.decode(), draws)
            data = text.encode()
        else:
            data, how = tensors_changed(data, draws)
        (directory / name).write_bytes(data)
        if name.name == "model.safetensors" and draws.random() < 0.7:
            how += ", its hash made to fit"
            _fit_hash(directory / name)
        yield Case("model", directory, f"{name}: {how}")


def _add_companion(directory: Path, head: PrototypeHead) -> None:
    """Write beside a model how its prototypes lie among twelve training segments that are noise."""
    z, tracks = torch.randn(12, 16, generator=torch.Generator().manual_seed(0)), torch.arange(12) // 2
    names, labels = [f"{n}.wav" for n in range(6)], torch.arange(6) % 3
    describe_neighbours(head, z, tracks, names, labels, segment_seconds=1.0).save(directory)


def _fit_hash(weights: Path) -> None:
    """Write the hash of changed weights where it is asked for, or all of them would fail there."""
    config = weights.with_name("config.json")
    values = json.loads(config.read_text())
    values["sha256"]["model.safetensors"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    config.write_text(json.dumps(values))


TABLES = {
    "csv": "path,split,artist,label\na.wav,train,X,jazz\nb.wav,validation,Y,rock\n",
    "tsv": "jazz\ta.wav\nrock\tb.wav\n",
    "jsonl": '{"path": "a.wav", "label": "jazz"}\n{"path": "b.wav", "label": "rock"}\n',
}
CELLS = ("", "\0", "=1+1", "..", "/", "~", "*", "a" * 5000, "\ud800".encode("utf-8", "surrogatepass"), '"', "'", "\\", "train")


def table_cases(folder: Path, count: int, seed: int) -> Iterator[Case]:
    """Write `count` lists of labelled files, damaged or with strange cells; the same for the same seed."""
    draws = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("a.wav", "b.wav"):
        (folder / name).write_bytes(b"RIFF")
    for number in range(count):
        extension, text = list(TABLES.items())[number % len(TABLES)]
        if draws.random() < 0.5:
            data, how = mutated(text.encode(), draws)
        else:
            cell = CELLS[int(draws.integers(len(CELLS)))]
            cell = cell if isinstance(cell, bytes) else cell.encode()
            word = str(draws.choice(["a.wav", "jazz", "path", "label", "train"]))
            data, how = text.encode().replace(word.encode(), cell, 1), f"{cell[:12]!r} for {word}"
        path = folder / f"{number:04d}.{extension}"
        path.write_bytes(data)
        yield Case("table", path, how)
