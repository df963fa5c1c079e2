"""What "auto" stands for, that it changes no label, and that what is saved is never rounded by it."""

import numpy as np
import pytest
import torch

from pecmae import PECMAE, Autoencoder, CheckpointError
from pecmae.autoencoder.config import AutoencoderConfig
from pecmae.core.devices import has_native_bfloat16, pick_loading_dtype
from test_mini import CLIPS

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def native(monkeypatch):
    """A machine that computes with bfloat16."""
    monkeypatch.setattr("pecmae.core.devices.has_native_bfloat16", lambda device: True)


@pytest.mark.parametrize("name", ["_is_avx512_bf16_supported", "_is_amx_tile_supported"])
@pytest.mark.parametrize("supported", [True, False])
def test_the_processor_decides(monkeypatch, name, supported):
    for check in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, check, lambda check=check: check == name and supported, raising=False)
    assert has_native_bfloat16(CPU) is supported


def test_a_torch_without_the_questions_means_float32(monkeypatch):
    for check in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, check, raising=False)
    assert pick_loading_dtype("auto", CPU, 768) == torch.float32


@pytest.mark.parametrize("supported", [True, False])
def test_emulation_on_a_gpu_does_not_count(monkeypatch, supported):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or supported)
    assert has_native_bfloat16(GPU) is supported


def test_narrow_models_stay_exact(native):
    assert pick_loading_dtype("auto", CPU, 16) == torch.float32
    assert pick_loading_dtype("auto", CPU, 128) == torch.bfloat16


def test_what_is_asked_for_is_what_one_gets(native):
    assert pick_loading_dtype("float32", CPU, 768) == torch.float32
    assert pick_loading_dtype(torch.float16, CPU, 768) == torch.float16
    with pytest.raises(ValueError, match="dtype='int3' is not known; choose one of float32, bfloat16, float16, or auto"):
        pick_loading_dtype("int3", CPU, 768)


def test_labels_and_z_of_the_example_clips_survive_bfloat16(native):
    exact, fast = PECMAE.from_pretrained(dtype="float32"), PECMAE.from_pretrained(device="cpu")
    assert (exact.autoencoder.dtype, fast.autoencoder.dtype) == (torch.float32, torch.bfloat16)
    for clip in CLIPS:
        z, other = exact.embed_track(clip).z, fast.embed_track(clip).z
        assert other.dtype == torch.float32
        assert torch.nn.functional.cosine_similarity(z, other).min() > 0.999
        assert fast.classify(other).label == exact.classify(z).label


def test_sounds_are_made_in_float32(native):
    model = PECMAE.from_pretrained(device="cpu")
    features = model.autoencoder.generate(torch.zeros(1, model.autoencoder.config.embedding_dim), num_inference_steps=2)
    sound = model.autoencoder.features_to_wav(features)
    assert features.dtype == sound.dtype == torch.float32
    assert not torch.equal(sound.bfloat16().float(), sound)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """An autoencoder wide enough to be rounded."""
    torch.manual_seed(0)
    sizes = {"num_encoder_layers": 1, "num_summarizer_layers": 1, "num_denoiser_layers": 1, "num_heads": 2}
    config = AutoencoderConfig(
        segment_seconds=0.4, feature_dim=8, codec_num_filters=2, codec_decoder_num_filters=2, codec_num_lstm_layers=1,
        embedding_dim=64,
        feed_forward_dim=64, num_encoder_heads=2, **sizes,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("wide") / "model"
    Autoencoder(config).save_pretrained(folder)
    return folder


def test_a_model_that_was_rounded_for_speed_is_saved_exactly(native, directory, tmp_path):
    loaded = Autoencoder.from_pretrained(directory, device="cpu")
    assert loaded.dtype == torch.bfloat16
    loaded.summarizer.cls.data.fill_(0.5)  # what was changed since is kept
    loaded.save_pretrained(tmp_path / "copy")
    before, after = (Autoencoder.from_pretrained(path, dtype="float32").state_dict() for path in (directory, tmp_path / "copy"))
    for name, tensor in before.items():
        assert after[name].dtype == torch.float32
        assert torch.equal(after[name], torch.full_like(tensor, 0.5) if name == "summarizer.cls" else tensor)


def test_rounded_weights_whose_file_is_gone_are_not_saved(native, directory, tmp_path):
    Autoencoder.from_pretrained(directory, dtype="float32").save_pretrained(tmp_path / "model")
    loaded = Autoencoder.from_pretrained(tmp_path / "model", device="cpu")
    (tmp_path / "model" / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="load it with dtype='float32' to save it"):
        loaded.save_pretrained(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_noise_levels_are_told_apart_in_bfloat16(native, directory):
    denoiser = Autoencoder.from_pretrained(directory, device="cpu").denoiser
    first = denoiser.time_embedding[0]
    with torch.no_grad():
        first.weight.fill_(64.0), first.bias.zero_()
        tokens = denoiser.embed_time(torch.tensor([0.900, 0.901])).float()
    assert np.abs(np.diff(tokens.detach().numpy(), axis=0)).max() > 0
