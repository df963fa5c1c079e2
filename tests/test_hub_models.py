"""Models and the Hub, end to end: pushed and loaded again, published weights by name, and what a damaged repository says."""

import json
import re
import sys

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard, close_session, constants

from pecmae import PECMAE, Autoencoder, CheckpointError, ConfigError, HubError
from pecmae.autoencoder.model import convert_autoencoder
from pecmae.hub.zoo import ZOO
from pecmae.prototypes.neighbours import describe_neighbours
from published import Sizes, published_checkpoints

pytest_plugins = ["fake_hub"]

# From the original names of the codec's tensors to those of transformers, in which the codec is on the Hub.
CODEC_RENAMES = (
    (r"^(encoder|decoder)\.model\.", r"\1.layers."),
    (r"\.conv\.conv\.", ".conv."),
    (r"\.convtr\.convtr\.", ".conv."),
    (r"\.weight_g$", ".parametrizations.weight.original0"),
    (r"\.weight_v$", ".parametrizations.weight.original1"),
    (r"^quantizer\.vq\.layers\.(\d+)\._codebook\.", r"quantizer.layers.\1.codebook."),
)


@pytest.fixture
def pushed(hub, tiny_model):
    """The tiny model on the Hub."""
    tiny_model.push_to_hub("tester/tiny", token=hub.token)
    return "tester/tiny"


def files_of(hub, repo_id) -> dict[str, bytes]:
    repo = hub.repos[repo_id]
    return repo.commits[repo.refs["main"]]


def test_a_pushed_model_comes_back_the_same(pushed, tiny_model, tone, monkeypatch):
    loaded = PECMAE.from_pretrained(pushed, device="cpu")
    expected = tiny_model.predict(tone, sampling_rate=24_000)
    assert loaded.labels == tiny_model.labels
    np.testing.assert_array_equal(loaded.predict(tone, sampling_rate=24_000).logits, expected.logits)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    again = PECMAE.from_pretrained(pushed, device="cpu")
    np.testing.assert_array_equal(again.predict(tone, sampling_rate=24_000).logits, expected.logits)


def test_a_pushed_model_has_a_card(pushed, hub, tiny_model):
    card = ModelCard(files_of(hub, pushed)["README.md"].decode())
    assert card.data.library_name == "pecmae"
    assert card.data.pipeline_tag == "audio-classification"
    assert all(label in card.text for label in tiny_model.labels)


def test_the_autoencoder_inside_a_pushed_bundle_can_be_loaded_alone(hub, tiny_autoencoder):
    tiny_autoencoder.push_to_hub("tester/autoencoder", token=hub.token)
    loaded = Autoencoder.from_pretrained("tester/autoencoder", device="cpu")
    features = torch.randn(1, 30, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(loaded.encode_frames(features), tiny_autoencoder.encode_frames(features), rtol=0, atol=0)


@pytest.mark.parametrize("file", ["model.safetensors", "autoencoder/model.safetensors"])
def test_weights_corrupted_on_the_way_are_noticed_and_fetched_again(pushed, hub, file):
    hub.fail("corrupted", f"/{file}")
    with pytest.raises(CheckpointError, match=r"damaged.*force_download=True"):
        PECMAE.from_pretrained(pushed, device="cpu")
    hub.heal()
    PECMAE.from_pretrained(pushed, device="cpu", force_download=True)


def test_a_model_of_a_newer_format_is_refused_with_advice(pushed, hub):
    files = files_of(hub, pushed)
    config = json.loads(files["config.json"]) | {"format_version": 99}
    hub.add(pushed, files | {"config.json": json.dumps(config).encode()})
    with pytest.raises(ConfigError, match=r"format version 99 is newer.*upgrade"):
        PECMAE.from_pretrained(pushed, device="cpu")


@pytest.fixture
def published_hub(hub, tmp_path):
    """The published repositories at a small size, in their authors' layouts; returns the autoencoder they must become."""
    from transformers import EncodecConfig, EncodecModel

    entry = ZOO["encodecmae-diffusion-4s"]
    sizes = Sizes(dim=64, num_encoder_layers=1, num_summarizer_layers=1, num_denoiser_layers=1, codec_filters=4)
    weights, codec = published_checkpoints(sizes)
    torch.save({"state_dict": weights}, tmp_path / "weights.pt")
    gin = f"MAX_AUDIO_DURATION = {sizes.seconds}\nNUM_ENCODER_LAYERS = 1\nNUM_DENOISER_LAYERS = 1\n"
    hub.add(entry.repo_id, {entry.weights_file: (tmp_path / "weights.pt").read_bytes(), entry.config_file: gin.encode()})
    renamed = {}
    for name, tensor in codec.items():
        for pattern, replacement in CODEC_RENAMES:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    model = EncodecModel(EncodecConfig(num_filters=sizes.codec_filters))
    model.load_state_dict(renamed)
    model.save_pretrained(tmp_path / "codec")
    hub.add(entry.codec_repo_id, tmp_path / "codec")
    return convert_autoencoder(weights, codec, segment_seconds=float(sizes.seconds))


def test_a_published_autoencoder_by_name_becomes_sound_and_works_offline_afterwards(published_hub, hub, monkeypatch):
    z = torch.randn(1, 64, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(1, 300, 128, generator=torch.Generator().manual_seed(1))
    expected = published_hub.decode(z, num_inference_steps=2, latents=noise)
    monkeypatch.setitem(sys.modules, "transformers", None)  # not needed for it
    loaded = Autoencoder.from_pretrained("encodecmae-diffusion-4s", device="cpu", dtype="float32")
    assert expected.shape == (1, 96_000)
    assert expected.abs().max() > 0
    torch.testing.assert_close(loaded.decode(z, num_inference_steps=2, latents=noise), expected, rtol=0, atol=1e-6)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.requests.clear()
    again = Autoencoder.from_pretrained("encodecmae-diffusion-4s", device="cpu", dtype="float32")
    torch.testing.assert_close(again.decode(z, num_inference_steps=2, latents=noise), expected, rtol=0, atol=1e-6)
    assert hub.requests == []


FIGURE = "class-normalised accuracy 0.99"


@pytest.fixture
def published_by_hand(tiny_model, tmp_path):
    """A model directory whose card has figures, another licence and a person's notes, with all that may lie beside it."""
    folder = tmp_path / "mine"
    tiny_model.save_pretrained(folder, model_card_kwargs={"training_data": FIGURE})
    card = folder / "README.md"
    card.write_text(card.read_text().replace("license: apache-2.0", "license: cc-by-nc-4.0") + "\n## My notes\nField work.\n")
    z, tracks = torch.randn(6, 16, generator=torch.Generator().manual_seed(0)), torch.arange(6) // 2
    describe_neighbours(tiny_model.head, z, tracks, ["a", "b", "c"], torch.tensor([0, 1, 2]), segment_seconds=0.4).save(folder)
    (folder / "splits.json").write_text("{}")
    return folder


def test_pushing_keeps_the_card_and_takes_along_what_lies_beside_the_weights(published_by_hand, hub):
    PECMAE.from_pretrained(published_by_hand, device="cpu").push_to_hub("again", token=hub.token)
    files = files_of(hub, "tester/again")
    card = files["README.md"].decode()
    assert ModelCard(card).data.license == "cc-by-nc-4.0"
    assert all(text in card for text in (FIGURE, "Field work.", 'PECMAE.from_pretrained("tester/again")'))
    assert {"companion.safetensors", "splits.json"} <= files.keys()
    # From the Hub to the Hub: nothing is lost on the way back either.
    PECMAE.from_pretrained("tester/again", device="cpu").push_to_hub("tester/third", token=hub.token)
    third = files_of(hub, "tester/third")
    assert third.keys() == files.keys()
    assert third["README.md"].decode() == card.replace("tester/again", "tester/third")


def test_saving_in_place_keeps_the_card_until_the_weights_change(published_by_hand):
    card = published_by_hand / "README.md"
    model = PECMAE.from_pretrained(published_by_hand, device="cpu")
    model.save_pretrained(published_by_hand, dtype="float16")
    assert all(text in card.read_text() for text in (FIGURE, "Field work."))
    model.head.prototypes.data += 1
    model.save_pretrained(published_by_hand)
    assert FIGURE not in card.read_text()
    assert "Field work." in card.read_text()
    assert ModelCard(card.read_text()).data.license == "cc-by-nc-4.0"


def test_saving_over_another_card_keeps_the_notes_there_and_brings_the_figures(published_by_hand, tmp_path):
    (tmp_path / "clone").mkdir()
    (tmp_path / "clone" / "README.md").write_text("---\nlicense: mit\n---\n# Of the clone\n")
    PECMAE.from_pretrained(published_by_hand, device="cpu").save_pretrained(tmp_path / "clone")
    card = (tmp_path / "clone" / "README.md").read_text()
    assert all(text in card for text in (FIGURE, "# Of the clone"))
    assert ModelCard(card).data.license == "mit"


def test_an_autoencoders_card_is_kept_too(tiny_autoencoder, tmp_path, hub):
    tiny_autoencoder.save_pretrained(tmp_path / "a", model_card_kwargs={"training_data": FIGURE})
    loaded = Autoencoder.from_pretrained(tmp_path / "a", device="cpu")
    loaded.push_to_hub("tester/a", token=hub.token)
    card = files_of(hub, "tester/a")["README.md"].decode()
    assert FIGURE in card
    assert 'Autoencoder.from_pretrained("tester/a")' in card


def test_a_misspelt_option_of_pushing_makes_no_repository(tiny_model, hub):
    with pytest.raises(TypeError, match=r"'privat'; did you mean private\?"):
        tiny_model.push_to_hub("tester/none", privat=True, token=hub.token)
    assert "tester/none" not in hub.repos


@pytest.mark.parametrize("kind", [PECMAE, Autoencoder])
def test_another_librarys_model_is_refused_by_its_configuration_alone(hub, kind):
    hub.add(
        "someone/ast", {"config.json": b'{"model_type": "audio-spectrogram-transformer"}', "model.safetensors": b"x" * 1000}
    )
    with pytest.raises(ConfigError, match=r"someone/ast: is a audio-spectrogram-transformer model of another library"):
        kind.from_pretrained("someone/ast")
    assert not any(request.endswith("model.safetensors") for request in hub.requests)


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "nonsense://127.0.0.1:9"])
def test_a_proxy_that_cannot_be_used_matters_only_where_something_is_fetched(pushed, hub, monkeypatch, proxy):
    PECMAE.from_pretrained(pushed, device="cpu")
    for name in ("ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    close_session()  # huggingface_hub's client keeps the proxies that it began with
    try:
        assert PECMAE.from_pretrained(pushed, device="cpu").labels == ("blues", "jazz", "rock")
        with pytest.raises(HubError, match=r"org/other .*: not in the cache, and the proxy that is set cannot be used"):
            PECMAE.from_pretrained("org/other")
    finally:
        monkeypatch.undo()
        close_session()


def test_a_conversion_that_cannot_be_kept_is_one_sentence(published_hub, isolated_hub_cache):
    (isolated_hub_cache.parent / "pecmae").write_text("in the way")
    with pytest.raises(HubError, match=r"the converted autoencoder cannot be kept there"):
        Autoencoder.from_pretrained("encodecmae-diffusion-4s", device="cpu")
