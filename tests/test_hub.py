"""From a name, a directory or a Hub id to local files, and what is said when that fails. The Hub is a server on loopback."""

import dataclasses
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import HfApi, constants

from pecmae.errors import HubError
from pecmae.hub.resolve import (
    PublishedAutoencoder,
    cached_conversion_directory,
    download_published_autoencoder,
    is_path_like,
    resolve_autoencoder,
    resolve_directory,
    resolve_model,
)
from pecmae.hub.zoo import ZOO

pytest_plugins = ["fake_hub"]

FILES = {"config.json": b'{"format_version": 1}', "model.safetensors": bytes(range(256)) * 4, "README.md": b"# card"}
BUNDLE = FILES | {"autoencoder/config.json": FILES["config.json"], "autoencoder/model.safetensors": b"weights"}
REQUIRED = ("config.json", "model.safetensors")


@pytest.fixture
def offline(monkeypatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def go_offline(monkeypatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def message_of(call: Callable[[], object]) -> str:
    """The message of the `HubError` that `call` raises: one line, one sentence."""
    with pytest.raises(HubError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


# --- what is downloaded ---------------------------------------------------------------------------------------------


def test_a_first_download_brings_the_models_files_and_nothing_else(hub):
    commit = hub.add("org/model", {**BUNDLE, "huge.bin": b"0" * 100_000})
    folder = resolve_model("org/model")
    assert folder.name == commit
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found == BUNDLE  # the card goes along when the model is pushed again
    assert not any("huge.bin" in request for request in hub.requests)


def test_a_second_load_asks_only_for_the_commit(hub):
    hub.add("org/model", FILES)
    first = resolve_model("org/model")
    hub.requests.clear()
    assert resolve_model("org/model") == first
    assert hub.requests == ["GET /api/models/org/model/revision/main"]


def test_a_new_commit_is_noticed(hub):
    hub.add("org/model", FILES)
    resolve_model("org/model")
    hub.add("org/model", FILES | {"model.safetensors": b"retrained"})
    assert (resolve_model("org/model") / "model.safetensors").read_bytes() == b"retrained"


def test_revisions_are_tags_branches_and_commits(hub):
    first = hub.add("org/model", FILES, tag="v1")
    hub.add("org/model", FILES | {"model.safetensors": b"second"})
    hub.add("org/model", FILES | {"model.safetensors": b"trial"}, branch="trial")

    def weights(revision: str | None) -> bytes:
        return (resolve_model("org/model", revision=revision) / "model.safetensors").read_bytes()

    assert weights("v1") == weights(first) == FILES["model.safetensors"]
    assert weights("trial") == b"trial"
    assert weights(None) == weights("main") == b"second"


def test_a_subfolder_is_downloaded_alone_and_returned(hub):
    hub.add("org/model", BUNDLE)
    folder = resolve_directory("org/model", required=REQUIRED, subfolder="autoencoder")
    assert folder.name == "autoencoder"
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    assert not (folder.parent / "model.safetensors").exists()


def test_force_download_fetches_again(hub):
    hub.add("org/model", FILES)
    folder = resolve_model("org/model")
    # A damaged cache: the blob behind the link changes.
    (folder / "model.safetensors").resolve().write_bytes(b"damaged")
    assert (resolve_model("org/model") / "model.safetensors").read_bytes() == b"damaged"
    assert (resolve_model("org/model", force_download=True) / "model.safetensors").read_bytes() == FILES["model.safetensors"]


def test_cache_dir_is_where_the_files_go(hub, isolated_hub_cache, tmp_path):
    hub.add("org/model", FILES)
    folder = resolve_model("org/model", cache_dir=tmp_path / "mine")
    assert folder.is_relative_to(tmp_path / "mine")
    assert not isolated_hub_cache.exists()


def test_a_token_opens_a_private_repository(hub):
    hub.add("org/secret", FILES, private=True)
    assert "token" in message_of(lambda: resolve_model("org/secret"))
    assert (resolve_model("org/secret", token=hub.token) / "config.json").is_file()


# --- without a network ----------------------------------------------------------------------------------------------


def test_what_is_cached_works_offline_and_asks_nothing(hub, monkeypatch):
    hub.add("org/model", FILES)
    folder = resolve_model("org/model")
    go_offline(monkeypatch)
    hub.requests.clear()
    assert resolve_model("org/model") == folder
    assert hub.requests == []


def test_what_is_cached_works_with_local_files_only_and_asks_nothing(hub):
    hub.add("org/model", FILES)
    folder = resolve_model("org/model")
    hub.requests.clear()
    assert resolve_model("org/model", local_files_only=True) == folder
    assert hub.requests == []


def test_what_is_cached_works_when_the_server_is_gone(hub):
    hub.add("org/model", FILES)
    folder = resolve_model("org/model")
    hub.stop()
    start = time.monotonic()
    assert resolve_model("org/model") == folder
    assert time.monotonic() - start < 1


def test_what_is_cached_works_while_the_server_is_out_of_service(hub):
    hub.add("org/model", FILES)
    folder = resolve_model("org/model")
    hub.fail("503")
    assert resolve_model("org/model") == folder


def test_offline_and_not_cached_names_the_switch(offline):
    assert "HF_HUB_OFFLINE=1" in message_of(lambda: resolve_model("org/model"))


def test_local_files_only_and_not_cached_names_the_option(hub):
    hub.add("org/model", FILES)
    assert "without local_files_only=True" in message_of(lambda: resolve_model("org/model", local_files_only=True))
    assert hub.requests == []


def test_a_partly_cached_model_is_incomplete_offline(hub, monkeypatch):
    hub.add("org/model", FILES)
    resolve_directory("org/model", required=["config.json"])
    go_offline(monkeypatch)
    assert "only a part is in the cache" in message_of(lambda: resolve_model("org/model"))


def test_forcing_a_download_offline_is_a_contradiction(hub, monkeypatch):
    hub.add("org/model", FILES)
    resolve_model("org/model")
    assert "drop one" in message_of(lambda: resolve_model("org/model", force_download=True, local_files_only=True))
    go_offline(monkeypatch)
    assert "drop one" in message_of(lambda: resolve_model("org/model", force_download=True))


def test_a_refused_connection_fails_at_once_and_names_the_address():
    start = time.monotonic()
    message = message_of(lambda: resolve_model("org/model"))
    assert time.monotonic() - start < 1
    assert "http://127.0.0.1:9 cannot be reached" in message


# --- what the server can answer -------------------------------------------------------------------------------------


def test_a_missing_repository_is_named_and_a_token_suggested(hub):
    message = message_of(lambda: resolve_model("org/nothing"))
    assert message.startswith("org/nothing: there is no such repository")
    assert "hf auth login" in message


def test_a_missing_revision_is_named(hub):
    hub.add("org/model", FILES)
    assert "no revision 'v9'" in message_of(lambda: resolve_model("org/model", revision="v9"))


@pytest.mark.parametrize("missing", REQUIRED)
def test_a_missing_file_is_named(hub, missing):
    hub.add("org/model", {name: data for name, data in FILES.items() if name != missing})
    assert f"no file '{missing}'" in message_of(lambda: resolve_model("org/model"))


def test_a_missing_file_in_a_subfolder_is_named_with_the_folder(hub):
    hub.add("org/model", FILES)
    message = message_of(lambda: resolve_directory("org/model", required=REQUIRED, subfolder="autoencoder"))
    assert message.startswith("org/model/autoencoder (revision main): there is no file 'config.json'")


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("503", "status 503; try again later"),
        ("401", "refuses access"),
        ("gated", "accept its terms"),
    ],
)
def test_a_server_that_refuses_is_explained(hub, mode, expected):
    hub.add("org/model", FILES)
    hub.fail(mode)
    assert expected in message_of(lambda: resolve_model("org/model"))


def test_a_listed_file_that_is_gone_is_explained(hub):
    hub.add("org/model", FILES)
    hub.fail("gone", "model.safetensors")
    assert "lists a file that it does not have" in message_of(lambda: resolve_model("org/model"))


def test_a_body_that_always_breaks_off_is_explained(hub, monkeypatch):
    hub.add("org/model", FILES)
    hub.fail("truncated", "model.safetensors")
    monkeypatch.setattr(time, "sleep", lambda _: None)  # huggingface_hub waits a second before each of its retries
    assert "broke off" in message_of(lambda: resolve_model("org/model"))
    hub.heal()
    assert (resolve_model("org/model") / "model.safetensors").read_bytes() == FILES["model.safetensors"]


def test_token_true_without_a_stored_token_is_explained(hub):
    hub.add("org/model", FILES)
    assert "no token is stored" in message_of(lambda: resolve_model("org/model", token=True))


@pytest.mark.parametrize("model_id", ["org/--model", "org/mo del", "org/" + "x" * 100])
def test_a_bad_repository_id_is_explained_without_a_request(hub, model_id):
    assert "is not a Hub id" in message_of(lambda: resolve_model(model_id))
    assert hub.requests == []


# --- paths and names ------------------------------------------------------------------------------------------------

PATHS = [
    "./x",
    "../x",
    "/abs/x",
    "~/x",
    "some/dir/",
    "dir\\x",
    "C:\\models\\x",
    "a/b/c",
    "org/weights.pt",
    "x.safetensors",
    ".",
]


@pytest.mark.parametrize("path", PATHS)
def test_what_looks_like_a_path_is_one(path):
    assert is_path_like(path)


@pytest.mark.parametrize("name", ["org/model", "org/model-10.v2", "mini"])
def test_what_looks_like_an_id_is_none(name):
    assert not is_path_like(name)
    assert is_path_like(Path(name))


@pytest.mark.parametrize("path", PATHS[:-1])
def test_a_path_that_does_not_exist_never_goes_to_the_network(hub, path):
    with pytest.raises(FileNotFoundError, match="there is no such directory") as caught:
        resolve_model(path)
    assert str(caught.value).startswith(path)
    assert hub.requests == []


def test_a_path_object_never_goes_to_the_network(hub):
    with pytest.raises(FileNotFoundError):
        resolve_model(Path("org/model"))
    assert hub.requests == []


@pytest.fixture
def model_directory(tmp_path) -> Path:
    directory = tmp_path / "org" / "model"
    directory.mkdir(parents=True)
    for name in REQUIRED:
        (directory / name).write_bytes(FILES[name])
    return directory


def test_a_directory_is_returned_as_it_is(model_directory):
    assert resolve_model(model_directory) == model_directory
    assert resolve_model(f"{model_directory}{os.sep}") == model_directory


def test_a_directory_that_exists_wins_over_a_hub_id(hub, model_directory, monkeypatch):
    hub.add("org/model", FILES)
    monkeypatch.chdir(model_directory.parents[1])
    assert resolve_model("org/model") == Path("org/model")
    assert hub.requests == []


def test_a_home_directory_is_expanded(model_directory, monkeypatch):
    monkeypatch.setenv("HOME", str(model_directory.parent))
    assert resolve_model("~/model") == model_directory


def test_a_directory_without_a_file_is_explained(model_directory):
    (model_directory / "model.safetensors").unlink()
    assert "no file 'model.safetensors'" in message_of(lambda: resolve_model(model_directory))


def test_a_file_in_place_of_a_directory_is_explained(model_directory):
    assert "this is a file" in message_of(lambda: resolve_model(model_directory / "config.json"))


def test_an_unknown_name_lists_the_known_ones(hub):
    message = message_of(lambda: resolve_model("mnii"))
    assert "'mnii'" in message
    assert "mini-styles, encodecmae-diffusion-4s" in message
    assert hub.requests == []


@pytest.mark.parametrize("name", ["", " "])
def test_an_empty_name_is_not_the_current_directory(name):
    assert "names no model" in message_of(lambda: resolve_model(name))


@pytest.fixture
def embedded(model_directory, monkeypatch) -> Path:
    """A stand-in for the embedded model."""
    (model_directory / "autoencoder").mkdir()
    directories = {"mini": model_directory, "mini-styles": model_directory.parent / "styles"}
    shutil.copytree(model_directory, directories["mini-styles"])
    monkeypatch.setattr("pecmae.hub.resolve.embedded_directory", directories.__getitem__)
    return model_directory


@pytest.mark.parametrize("name", [None, "mini", "pecmae-mini"])
def test_nothing_and_mini_are_the_embedded_model(embedded, name, offline):
    assert resolve_model(name) == embedded
    assert resolve_autoencoder(name, convert=never) == embedded / "autoencoder"


def test_the_other_embedded_models_share_its_autoencoder(embedded, offline):
    assert resolve_model("mini-styles") == embedded.parent / "styles"
    assert resolve_autoencoder("pecmae-mini-styles", convert=never) == embedded / "autoencoder"


def test_a_model_directory_called_mini_is_that_directory(embedded, model_directory, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mini").mkdir()
    assert resolve_model("mini") == embedded  # an unrelated folder of this name does not hide the embedded model
    (tmp_path / "mini" / "config.json").write_bytes(b"{}")
    (tmp_path / "mini" / "model.safetensors").write_bytes(b"")
    assert resolve_model("mini") == Path("mini")


def test_an_installation_without_the_embedded_model_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr("pecmae.hub.resolve.embedded_directory", lambda name: tmp_path / "absent")
    assert "missing from this installation" in message_of(resolve_model)


def test_an_autoencoder_is_not_a_model():
    assert "Autoencoder.from_pretrained" in message_of(lambda: resolve_model("encodecmae-diffusion-4s"))


def test_a_model_without_weights_says_how_to_make_them(hub):
    message = message_of(lambda: resolve_model("pecmae-gtzan-20"))
    assert "pecmae fit" in message
    assert "--prototypes-per-class 20" in message
    assert hub.requests == []


# --- published autoencoders -----------------------------------------------------------------------------------------


def never(*_: object) -> None:
    raise AssertionError("converted although it should not be")


def write_converted(published: PublishedAutoencoder, folder: Path) -> None:
    """Stands for the converter: what it writes shows which files it was given."""
    (folder / "config.json").write_bytes(published.config_gin.read_bytes())
    (folder / "model.safetensors").write_bytes(
        published.weights.read_bytes() + (published.codec_directory / "model.safetensors").read_bytes()
    )


@pytest.fixture
def published_hub(hub):
    entry = ZOO["encodecmae-diffusion-4s"]
    hub.add(entry.repo_id, {entry.weights_file: b"pickle ", entry.config_file: b"gin", "models/other/weights.pt": b"0"})
    hub.add(entry.codec_repo_id, {"config.json": b"{}", "model.safetensors": b"codec", "pytorch_model.bin": b"0"})
    return hub


def test_a_published_autoencoder_comes_with_its_codec_and_nothing_else(published_hub):
    published = download_published_autoencoder(ZOO["encodecmae-diffusion-4s"])
    assert published.weights.read_bytes() == b"pickle "
    assert published.config_gin.read_bytes() == b"gin"
    assert sorted(path.name for path in published.codec_directory.iterdir()) == ["config.json", "model.safetensors"]
    assert published.commit in published_hub.repos["lpepino/encodecmae2wav"].commits
    assert not any("other" in request or "pytorch_model" in request for request in published_hub.requests)


def test_a_published_autoencoder_is_converted_once(published_hub, monkeypatch):
    folder = resolve_autoencoder("encodecmae-diffusion-4s", convert=write_converted)
    assert (folder / "model.safetensors").read_bytes() == b"pickle codec"
    assert resolve_autoencoder("encodecmae-diffusion-4s", convert=never) == folder
    go_offline(monkeypatch)
    assert resolve_autoencoder("encodecmae-diffusion-4s", convert=never) == folder


def test_a_new_commit_is_converted_anew(published_hub):
    entry = ZOO["encodecmae-diffusion-4s"]
    old = resolve_autoencoder(entry.name, convert=write_converted)
    commit = published_hub.add(entry.repo_id, {entry.weights_file: b"better ", entry.config_file: b"gin"})
    new = resolve_autoencoder(entry.name, convert=write_converted)
    assert (new / "model.safetensors").read_bytes() == b"better codec"
    assert new == cached_conversion_directory(entry, commit) != old


def test_a_conversion_that_fails_leaves_nothing_behind(published_hub, isolated_hub_cache):
    def fail(published: PublishedAutoencoder, folder: Path) -> None:
        (folder / "config.json").write_bytes(b"half")
        raise ValueError("unknown tensor")

    with pytest.raises(ValueError, match="unknown tensor"):
        resolve_autoencoder("encodecmae-diffusion-4s", convert=fail)
    assert list((isolated_hub_cache.parent / "pecmae").iterdir()) == []
    resolve_autoencoder("encodecmae-diffusion-4s", convert=write_converted)


def test_force_download_converts_again(published_hub):
    folder = resolve_autoencoder("encodecmae-diffusion-4s", convert=write_converted)
    (folder / "model.safetensors").write_bytes(b"damaged")
    resolve_autoencoder("encodecmae-diffusion-4s", convert=write_converted, force_download=True)
    assert (folder / "model.safetensors").read_bytes() == b"pickle codec"


def test_a_cache_dir_of_the_users_holds_the_conversion_too(published_hub, tmp_path):
    folder = resolve_autoencoder("encodecmae-diffusion-4s", convert=write_converted, cache_dir=tmp_path)
    assert folder.is_relative_to(tmp_path)


def test_a_published_autoencoder_without_its_codec_is_explained(published_hub):
    del published_hub.repos["facebook/encodec_24khz"]
    message = message_of(lambda: resolve_autoencoder("encodecmae-diffusion-4s", convert=never))
    assert message.startswith("facebook/encodec_24khz: there is no such repository")


def test_an_entry_that_is_not_published_is_refused():
    entry = dataclasses.replace(ZOO["encodecmae-diffusion-4s"], codec_repo_id=None)
    assert "not a published autoencoder" in message_of(lambda: download_published_autoencoder(entry))


# --- upload ---------------------------------------------------------------------------------------------------------


def test_what_is_pushed_can_be_loaded_and_tagged(hub, model_directory):
    api = HfApi(token=hub.token)
    api.create_repo("tester/new", exist_ok=True)
    api.create_repo("tester/new", exist_ok=True)
    api.upload_folder(repo_id="tester/new", folder_path=model_directory, commit_message="first")
    api.create_tag("tester/new", tag="v1")
    (model_directory / "model.safetensors").write_bytes(b"retrained")
    api.upload_folder(repo_id="tester/new", folder_path=model_directory, commit_message="second")
    assert (resolve_model("tester/new") / "model.safetensors").read_bytes() == b"retrained"
    assert (resolve_model("tester/new", revision="v1") / "model.safetensors").read_bytes() == FILES["model.safetensors"]
