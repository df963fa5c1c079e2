"""Directories are written whole or not at all; what is read back is checked."""

import hashlib
import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from pecmae.core.configs import read_json_config
from pecmae.core.files import file_sha256, save_directory_atomically
from pecmae.core.weights import load_weights
from pecmae.errors import CheckpointError, ConfigError


def test_a_new_directory_appears_with_all_its_files(tmp_path):
    target = tmp_path / "deep" / "model"
    with save_directory_atomically(target) as folder:
        assert folder.parent.parent == target.parent
        (folder / "config.json").write_text("{}")
        assert not target.exists()
    assert [path.name for path in target.iterdir()] == ["config.json"]
    assert [path.name for path in target.parent.iterdir()] == ["model"]


def test_an_error_leaves_the_old_directory_and_no_rest(tmp_path):
    target = tmp_path / "model"
    target.mkdir()
    (target / "config.json").write_text("old")

    def write_and_fail() -> None:
        with save_directory_atomically(target) as folder:
            (folder / "config.json").write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_and_fail()
    assert (target / "config.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_saving_again_replaces_the_files_and_keeps_the_users_own(tmp_path):
    target = tmp_path / "model"
    (target / "notes").mkdir(parents=True)
    (target / "config.json").write_text("old")
    (target / "notes" / "mine.txt").write_text("keep me")
    with save_directory_atomically(target) as folder:
        (folder / "config.json").write_text("new")
    assert (target / "config.json").read_text() == "new"
    assert (target / "notes" / "mine.txt").read_text() == "keep me"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_failed_rename_brings_the_old_directory_back(tmp_path, monkeypatch):
    target = tmp_path / "model"
    target.mkdir()
    (target / "config.json").write_text("old")
    path_class = type(target)
    rename = path_class.rename

    def fail_for_the_new(self, other):
        if self.name == "new":
            raise OSError("no space left on device")
        return rename(self, other)

    def write() -> None:
        with save_directory_atomically(target) as folder:
            (folder / "config.json").write_text("new")

    monkeypatch.setattr(path_class, "rename", fail_for_the_new)
    with pytest.raises(OSError, match="no space left"):
        write()
    assert (target / "config.json").read_text() == "old"


def test_a_link_to_a_directory_keeps_pointing_to_it(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    link.symlink_to(real)
    with save_directory_atomically(link) as folder:
        (folder / "config.json").write_text("new")
    assert link.is_symlink()
    assert (real / "config.json").read_text() == "new"


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "model").write_text("a file")
    with pytest.raises(NotADirectoryError, match="choose another directory"), save_directory_atomically(tmp_path / "model"):
        pass
    assert (tmp_path / "model").read_text() == "a file"


def test_a_configuration_of_this_version_is_read_whole(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"format_version": 2, "labels": ["a"]}))
    assert read_json_config(path, format_version=2) == {"format_version": 2, "labels": ["a"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"format_version": 3}', "format version 3 is newer than 2.*pip install --upgrade pecmae"),
        (b'{"labels": []}', "no format_version"),
        (b'{"format_version": true}', "no format_version"),
        (b'{"format_version": "1"}', "no format_version"),
        (b'{"format_version": 0}', "no format_version"),
        (b'["a", "list"]', "no JSON object"),
        (b'{"format_version": 1', "not valid JSON"),
        (b"\xff\xfe\x00", "not valid JSON"),
        (b"", "not valid JSON"),
    ],
)
def test_other_configurations_are_refused_by_name(tmp_path, content, message):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        read_json_config(path, format_version=2)
    assert str(path) in str(caught.value)


def test_a_missing_configuration_is_an_error_not_a_default(tmp_path):
    with pytest.raises(ConfigError, match="there is no such file"):
        read_json_config(tmp_path / "config.json", format_version=1)


def test_the_hash_is_the_sha256_of_the_bytes(tmp_path):
    data = np.random.default_rng(0).bytes((1 << 20) + 17)
    (tmp_path / "file").write_bytes(data)
    assert file_sha256(tmp_path / "file") == hashlib.sha256(data).hexdigest()


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"w": np.arange(6, dtype=np.float32).reshape(2, 3)}, path)
    return path


def test_weights_with_the_right_hash_are_loaded(weights):
    tensors = load_weights(weights, file_sha256(weights).upper())
    assert tensors["w"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_one_flipped_bit_is_found_by_the_hash_alone(weights):
    expected = file_sha256(weights)
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert load_weights(weights, None)["w"].shape == (2, 3)
    with pytest.raises(CheckpointError, match=r"damaged or of another model.*force_download=True"):
        load_weights(weights, expected)


def test_truncated_weights_are_refused_even_without_a_hash(weights):
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match="no readable safetensors file"):
        load_weights(weights, None)


def test_missing_weights_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="there is no such file"):
        load_weights(tmp_path / "model.safetensors", None)
