"""Directories are written whole or not at all; what is read back is checked."""

import errno
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from pecmae.autoencoder.published import read_pickled_tensors
from pecmae.core.configs import read_json_config
from pecmae.core.files import file_sha256, finish_saving, save_directory_atomically, write_json
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


def test_a_folder_stays_the_folder_it_is(tmp_path):
    """A repository, a mount point or the current folder: neither replaced nor emptied, its permissions and links kept."""
    target = tmp_path / "model"
    (target / "refs" / "empty").mkdir(parents=True)
    (target / "elsewhere").symlink_to(tmp_path)
    (target / "config.json").write_text("old")
    (target / "config.json").chmod(0o640)
    target.chmod(0o750)
    before = target.stat()
    with save_directory_atomically(target) as folder:
        (folder / "config.json").write_text("new")
        (folder / "autoencoder").mkdir()
        (folder / "autoencoder" / "config.json").write_text("new")
    after = target.stat()
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert (target / "refs" / "empty").is_dir()
    assert (target / "elsewhere").is_symlink()
    assert (target / "config.json").stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in target.iterdir()) == ["autoencoder", "config.json", "elsewhere", "refs"]
    assert (target / "autoencoder" / "config.json").read_text() == "new"


def test_the_current_folder_can_be_saved_into(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with save_directory_atomically(".") as folder:
        (folder / "config.json").write_text("new")
    assert Path.cwd() == tmp_path
    assert Path("config.json").read_text() == "new"


@pytest.mark.parametrize("moved", [0, 1, 2])
def test_a_save_that_died_between_two_files_is_finished_by_the_next_reader(tmp_path, monkeypatch, moved):
    target = tmp_path / "model"
    target.mkdir()
    for name in ("a", "b", "c"):
        (target / name).write_text("old")
    path_class, moves = type(target), []
    replace = path_class.replace

    def die_after_some(self, other):
        if len(moves) == moved:
            raise KeyboardInterrupt
        moves.append(other)
        return replace(self, other)

    def write() -> None:
        with save_directory_atomically(target) as folder:
            for name in ("a", "b", "c"):
                (folder / name).write_text("new")

    monkeypatch.setattr(path_class, "replace", die_after_some)
    with pytest.raises(KeyboardInterrupt):
        write()
    monkeypatch.undo()
    finish_saving(target)
    assert {path.name: path.read_text() for path in target.iterdir()} == dict.fromkeys("abc", "new")


def test_what_is_in_the_way_inside_is_refused_before_anything_is_moved(tmp_path):
    target = tmp_path / "model"
    (target / "b").mkdir(parents=True)
    (target / "a").write_text("old")

    def write(name: str) -> None:
        with save_directory_atomically(target) as folder:
            (folder / "a").write_text("new")
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text("new")

    with pytest.raises(IsADirectoryError, match="b: a folder is in the place of a file"):
        write("b")
    (target / "c").write_text("a file")
    with pytest.raises(NotADirectoryError, match="c: a file is in the place of a folder"):
        write("c/x")
    assert (target / "a").read_text() == "old"
    assert sorted(path.name for path in target.iterdir()) == ["a", "b", "c"]


def test_a_full_disk_is_named_by_the_directory(tmp_path):
    def write(target: Path) -> None:
        with save_directory_atomically(target) as folder:
            raise OSError(errno.ENOSPC, "No space left on device", *([str(folder / "x")] if target.exists() else []))

    for target in (tmp_path / "new", tmp_path):
        with pytest.raises(OSError, match="No space left") as caught:
            write(target)
        assert caught.value.filename == str(target)


def test_json_is_written_without_nan(tmp_path):
    write_json(tmp_path / "x.json", {"loss": [float("nan"), 1.5, (float("inf"), "NaN")]})
    assert json.loads((tmp_path / "x.json").read_text()) == {"loss": [None, 1.5, [None, "NaN"]]}


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
        (b"", "is empty, as after a power cut"),
        (b"\0" * 50, "is empty, as after a power cut"),
        (b'{"format_version": 1, "x": 1e400}', "1e400 is no finite number"),
        (b'{"format_version": 1, "x": NaN}', "NaN is no finite number"),
        (b'{"format_version": 1, "x": -Infinity}', "-Infinity is no finite number"),
        (b'{"format_version": 1, "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deep"),
        (b'{"format_version": 1, "x": ' + b"9" * 10_000 + b"}", "not valid JSON"),
        (b" " * (16 << 20) + b"{}", "larger than 16 MB"),
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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3536360\n", "pointer of git-lfs.*git lfs pull"),
        (b"\n<!DOCTYPE html><title>x</title>", "is a web page"),
    ],
)
def test_what_stands_in_the_place_of_weights_is_named(tmp_path, content, message):
    for name, read in (("model.safetensors", lambda path: load_weights(path, "0" * 64)), ("weights.pt", read_pickled_tensors)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=message):
            read(tmp_path / name)


def test_missing_weights_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="there is no such file"):
        load_weights(tmp_path / "model.safetensors", None)
