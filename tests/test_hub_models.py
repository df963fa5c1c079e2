"""Models and the Hub, end to end: pushed and loaded again, published weights by name, and what a damaged repository says."""

import json
import re
import sys

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard, constants

from pecmae import PECMAE, Autoencoder, CheckpointError, ConfigError
from pecmae.autoencoder.model import convert_autoencoder
from pecmae.hub.zoo import ZOO
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
