"""Models that are damaged or crafted are refused in a sentence, before memory is taken for them."""

import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file

from pecmae import PECMAE, CheckpointError, ConfigError
from pecmae.autoencoder.published import read_pickled_tensors
from pecmae.checkpoints import convert_autoencoder, convert_prototype_head
from pecmae.core.files import file_sha256
from pecmae.prototypes.neighbours import Neighbours, describe_neighbours
from published import Sizes, published_checkpoints

LARGE = 2**20  # the largest size that a configuration may hold


@pytest.fixture
def directory(tiny_model, tmp_path) -> Path:
    tiny_model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def change_config(folder: Path, **changes) -> None:
    """Set values in config.json; `head__x` is x inside head."""
    config = json.loads((folder / "config.json").read_text())
    for name, value in changes.items():
        *outer, inner = name.split("__")
        target = config
        for key in outer:
            target = target[key]
        target[inner] = value
    (folder / "config.json").write_text(json.dumps(config))


def change_weights(folder: Path, change) -> None:
    """Change the tensors, and the hash with them: what a hash cannot find."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    change_config(folder, sha256={"model.safetensors": file_sha256(folder / "model.safetensors")})


@pytest.mark.parametrize(
    ("place", "changes"),
    [
        ("", {"head__num_classes": 2**62}),
        ("", {"head__prototypes_per_class": 10**9}),
        ("", {"head__prototypes_per_class": LARGE}),
        ("", {"head__adaptor_dim": LARGE}),
        ("", {"head__adaptor_dim": 10**400}),
        ("", {"head__temperature": 1e-300}),
        ("", {"head__temperature": 1e300}),
        ("", {"head__kernel_scale": 1e30}),
        ("", {"normalisation__mean": 1e300}),
        ("", {"normalisation__std": 1e-300}),
        ("", {"normalisation__std": True}),
        ("", {"labels": ["a", "b", "\ud800"]}),
        ("autoencoder", {"embedding_dim": LARGE}),
        ("autoencoder", {"feed_forward_dim": LARGE}),
        ("autoencoder", {"embedding_dim": LARGE, "feed_forward_dim": LARGE}),
        ("autoencoder", {"num_encoder_layers": 10**9}),
        ("autoencoder", {"codec_num_lstm_layers": 10**9}),
        ("autoencoder", {"codec_upsampling_ratios": [2] * 60}),
        ("autoencoder", {"codec_upsampling_ratios": [2.5, 2]}),
        ("autoencoder", {"codec_upsampling_ratios": ["8"]}),
        ("autoencoder", {"codec_num_filters": LARGE}),
        ("autoencoder", {"sampling_rate": 10**12}),
        ("autoencoder", {"segment_seconds": 1e9}),
        ("autoencoder", {"num_inference_steps": 10**6}),
        ("autoencoder", {"guidance_scale": 1e9}),
        ("autoencoder", {"guidance_stop": 1.5}),
    ],
)
def test_sizes_beyond_all_reason_are_refused_before_memory_is_taken(directory, place, changes):
    change_config(directory / place, **changes)
    with pytest.raises((ConfigError, CheckpointError), match=r"(config\.json|model\.safetensors): .*\.$"):
        PECMAE.from_pretrained(directory, device="cpu")


@pytest.mark.parametrize("place", ["", "autoencoder"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_refused_by_name(directory, place, value):
    name = "adaptor.norm2.weight" if not place else "codec_decoder.layers.0.conv.bias"

    def change(tensors):
        tensors[name][-1] = value

    change_weights(directory / place, change)
    with pytest.raises(CheckpointError, match=f"tensor '{name}' holds NaN or infinite values"):
        PECMAE.from_pretrained(directory, device="cpu")


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.int8, torch.bool])
def test_weights_of_other_types_are_refused(directory, dtype):
    change_weights(directory, lambda tensors: tensors.update(prototypes=tensors["prototypes"].to(dtype)))
    with pytest.raises(CheckpointError, match="tensor 'prototypes' is of type"):
        PECMAE.from_pretrained(directory, device="cpu")


def test_numbers_too_large_for_float32_are_refused(directory):
    change_weights(directory, lambda tensors: tensors.update(prototypes=tensors["prototypes"].double() + 1e200))
    with pytest.raises(CheckpointError, match="tensor 'prototypes' holds NaN or infinite values"):
        PECMAE.from_pretrained(directory, device="cpu")


@pytest.fixture
def described(directory, tiny_model) -> Path:
    """A model whose neighbours are known."""
    z, tracks = torch.randn(6, 16, generator=torch.Generator().manual_seed(0)), torch.arange(6) // 2
    found = describe_neighbours(tiny_model.head, z, tracks, ["a", "b", "c"], torch.tensor([0, 1, 2]), segment_seconds=0.4)
    found.save(directory)
    assert Neighbours.load(directory) is not None
    return directory


def metadata_of(path: Path) -> dict[str, str]:
    raw = path.read_bytes()
    return json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])["__metadata__"]


@pytest.mark.parametrize("name", ["nearest_track", "nearest_label", "nearest_offset", "nearest_distance", "wins", "sample_z"])
@pytest.mark.parametrize("mutation", ["shorter", "flat", "other type", "too large", "negative", "nan"])
def test_neighbours_are_checked_like_weights(described, name, mutation):
    path = described / "companion.safetensors"
    arrays, metadata = load_arrays(path), metadata_of(path)
    array = arrays[name].copy()
    if mutation == "nan" and array.dtype.kind != "f":
        pytest.skip("whole numbers have no NaN")
    if mutation == "negative" and name == "sample_z":
        pytest.skip("z has both signs")
    match mutation:
        case "shorter":
            array = array[:-1] if name != "sample_z" else array[:, :-1]
        case "flat":
            array = array.reshape(-1)[:3].reshape(3, 1, 1)
        case "other type":
            array = array.astype(np.int64 if array.dtype.kind == "f" else np.float32)
        case "too large":
            array = array.astype(np.float64 if array.dtype.kind == "f" else np.int64)
            array.reshape(-1)[0] = 2**41
        case "negative":
            array.reshape(-1)[0] = -1
        case "nan":
            array.reshape(-1)[0] = np.nan
    save_arrays(arrays | {name: np.ascontiguousarray(array)}, path, metadata)
    with pytest.raises(CheckpointError, match=r"companion\.safetensors: .*write it again or delete it"):
        Neighbours.load(described)


@pytest.mark.parametrize(
    "changes",
    [
        {"track_names": "5"},
        {"track_names": "[1, 2, 3]"},
        {"track_names": '["a"]'},
        {"track_names": "[" * 100_000},
        {"num_segments": "-5"},
        {"num_segments": "x"},
        {"format_version": "99"},
    ],
)
def test_what_is_said_of_neighbours_is_checked_too(described, changes):
    path = described / "companion.safetensors"
    save_arrays(load_arrays(path), path, metadata_of(path) | changes)
    with pytest.raises(CheckpointError, match=r"companion\.safetensors: "):
        Neighbours.load(described)


@pytest.fixture(scope="module")
def published():
    return published_checkpoints(
        Sizes(dim=64, num_encoder_layers=1, num_summarizer_layers=1, num_denoiser_layers=1, codec_filters=4)
    )


def test_published_tensors_of_any_wrong_shape_are_refused(published):
    weights, codec = published
    unused = (".target_encoder.", ".encodecmae_model.decoder", ".encodecmae_model.head")
    used = [name for name in weights if not any(part in name for part in unused)]
    shapes = [lambda t: t[None], lambda t: t.flatten()[:1], lambda t: t.new_zeros(()), lambda t: t[..., :0]]
    for index, name in enumerate(used[::3]):
        changed = shapes[index % 4](weights[name] if weights[name].ndim else weights[name][None])
        if changed.shape != weights[name].shape:
            with pytest.raises(CheckpointError):
                convert_autoencoder(weights | {name: changed}, codec)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.to(torch.float8_e5m2),
        lambda t: t[:1, :1].expand(2**20, 2**20),
        lambda t: t.to_sparse(),
        lambda t: torch.full_like(t, torch.nan),
        lambda t: "text",
    ],
)
def test_published_tensors_that_are_no_plain_numbers_are_refused(published, change):
    weights, codec = published
    name = "encoder.encodecmae_model.feat_projector.weight"
    with pytest.raises(CheckpointError):
        convert_autoencoder(weights | {name: change(weights[name])}, codec)


def test_a_layer_of_a_billion_is_not_counted_to(published):
    weights, codec = published
    name = "denoiser.encoder_layers.999999999.norm1.weight"
    with pytest.raises(CheckpointError):
        convert_autoencoder(weights | {name: torch.ones(64)}, codec)


@pytest.mark.parametrize("shape", [(6, 16), (6, 1), (0, 1, 16), (), (5, 1, 16)])
def test_a_published_head_of_a_wrong_shape_is_refused(shape):
    tensors = {"protos": torch.zeros(shape), "linear.weight": torch.zeros(3, 6), "linear.bias": torch.zeros(3)}
    with pytest.raises(CheckpointError, match="prototype checkpoint"):
        convert_prototype_head(tensors)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_damaged_pickle_ends_in_a_sentence_whatever_the_unpickler_says(tmp_path):
    torch.save({"state_dict": {"a": torch.arange(4.0)}}, tmp_path / "good.pt")
    with zipfile.ZipFile(tmp_path / "good.pt") as archive:
        names = archive.namelist()
        files = {name: archive.read(name) for name in names}
    (pickled,) = (name for name in names if name.endswith("data.pkl"))
    generator, refused = np.random.default_rng(0), 0
    for _ in range(150):
        data = bytearray(files[pickled])
        for position in generator.integers(len(data), size=3):
            data[position] = generator.integers(256)
        with zipfile.ZipFile(tmp_path / "bad.pt", "w") as archive:
            for name, content in files.items():
                archive.writestr(name, bytes(data) if name == pickled else content)
        try:  # any other error than this ends the test
            read_pickled_tensors(tmp_path / "bad.pt")
        except CheckpointError:
            refused += 1
    assert refused > 75
    (tmp_path / "bad.pt").write_bytes(pickle.dumps({"a": print}))
    with pytest.raises(CheckpointError, match=r"bad\.pt: not a PyTorch file that holds nothing but tensors"):
        read_pickled_tensors(tmp_path / "bad.pt")
