"""Conversion is strict: what is missing, unknown, different or no checkpoint at all is named."""

import pytest
import torch

from pecmae import Autoencoder, CheckpointError
from pecmae.autoencoder.model import convert_autoencoder, convert_autoencoder_files
from pecmae.autoencoder.published import convert_codec, read_gin, read_pickled_tensors
from pecmae.prototypes.published import convert_prototype_head
from published import PARITY, published_checkpoints, write_published


@pytest.fixture(scope="module")
def published() -> tuple[dict, dict]:
    return published_checkpoints(PARITY)


def test_files_convert_to_a_directory_that_loads(tmp_path):
    model = convert_autoencoder_files(*write_published(tmp_path))
    model.save_pretrained(tmp_path / "converted")
    loaded = Autoencoder.from_pretrained(tmp_path / "converted", dtype="float32")
    assert loaded.config == model.config
    assert loaded.config.segment_seconds == 4.0
    assert (loaded.config.num_encoder_layers, loaded.config.num_encoder_heads) == (3, 2)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name])


def test_ten_seconds_are_read_from_the_configuration(published):
    model = convert_autoencoder(*published, segment_seconds=10.0)
    assert model.config.segment_frames == 750


def test_the_codec_may_come_in_transformers_layout(published):
    autoencoder, codec = published
    renamed = {name.removeprefix("codec_"): tensor for name, tensor in convert_codec(codec).items()}
    assert "encoder.layers.0.conv.parametrizations.weight.original0" in renamed
    expected = convert_autoencoder(autoencoder, codec).state_dict()
    for name, tensor in convert_autoencoder(autoencoder, renamed).state_dict().items():
        assert torch.equal(tensor, expected[name])


@pytest.mark.parametrize("name", ["in_adapter.bias", "denoiser.encoder_layers.1.norm1.weight", "encoder.pos_encoder.scale"])
def test_a_missing_tensor_is_named(published, name):
    autoencoder = {key: tensor for key, tensor in published[0].items() if key != name}
    with pytest.raises(CheckpointError, match=f"tensor '{name}' is missing"):
        convert_autoencoder(autoencoder, published[1])


def test_an_unknown_tensor_is_named(published):
    with pytest.raises(CheckpointError, match=r"unknown tensor 'cross_attention\.weight'"):
        convert_autoencoder({**published[0], "cross_attention.weight": torch.zeros(1)}, published[1])
    with pytest.raises(CheckpointError, match=r"unknown tensor 'vocoder\.weight'"):
        convert_codec({**published[1], "vocoder.weight": torch.zeros(1)})


def test_a_tensor_of_another_shape_is_named(published):
    with pytest.raises(CheckpointError, match=r"'denoiser.out_adapter.bias' has shape \(3,\) instead of \(128,\)"):
        convert_autoencoder({**published[0], "out_adapter.bias": torch.zeros(3)}, published[1])


def test_another_codec_is_noticed(published):
    name = "encoder.model.0.conv.conv.bias"
    with pytest.raises(CheckpointError, match="differs from the codec encoder inside the autoencoder checkpoint"):
        convert_autoencoder(published[0], {**published[1], name: published[1][name] + 1})


def test_layers_that_do_not_share_their_feed_forward_are_refused(published):
    name = "denoiser.encoder_layers.1.ff_layer.2.bias"
    with pytest.raises(CheckpointError, match="the layers of a stack share one feed-forward"):
        convert_autoencoder({**published[0], name: published[0][name] + 1}, published[1])


def test_a_configuration_of_another_model_is_noticed(tmp_path):
    weights, config, codec = write_published(tmp_path)
    config.write_text(config.read_text().replace("NUM_DENOISER_LAYERS = 3", "NUM_DENOISER_LAYERS = 8"))
    with pytest.raises(CheckpointError, match=r"NUM_DENOISER_LAYERS = 8 but .* has 3 layers"):
        convert_autoencoder_files(weights, config, codec)


def test_a_duration_that_is_no_number_is_named(tmp_path):
    weights, config, codec = write_published(tmp_path)
    config.write_text("MAX_AUDIO_DURATION = 'four'\n")
    with pytest.raises(CheckpointError, match=r"config\.gin: MAX_AUDIO_DURATION = 'four' is no number"):
        convert_autoencoder_files(weights, config, codec)


def test_gin_files(tmp_path):
    path = tmp_path / "config.gin"
    path.write_text("import x\nA = 3\n  B='base'  \nC = @reference\nscope/name.D = 1\n# E = 5\n")
    assert read_gin(path) == {"A": 3, "B": "base"}
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(CheckpointError, match="not a text file"):
        read_gin(path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_gin(tmp_path / "absent.gin")


class Dangerous:
    def __reduce__(self):
        return print, ("code ran while loading",)


def test_pickles_run_no_code(tmp_path, capfd):
    torch.save({"state_dict": Dangerous()}, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match=r"weights\.pt: not a PyTorch file that holds nothing but tensors"):
        read_pickled_tensors(tmp_path / "weights.pt")
    assert "code ran" not in capfd.readouterr().out


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut off"])
def test_a_file_that_is_no_checkpoint_is_named(tmp_path, content):
    (tmp_path / "weights.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match="not a PyTorch file"):
        read_pickled_tensors(tmp_path / "weights.pt")


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"state_dict": {"name": 1}}])
def test_a_pickle_of_something_else_is_named(tmp_path, content):
    weights, config, codec = write_published(tmp_path)
    for path, what in ((weights, "autoencoder"), (codec, "codec")):
        original = path.read_bytes()
        torch.save(content, path)
        with pytest.raises(CheckpointError, match=f"{what} checkpoint: the file holds something else than tensors by name"):
            convert_autoencoder_files(weights, config, codec)
        path.write_bytes(original)


def test_prototype_heads_are_converted_strictly():
    state = {"protos": torch.zeros(4, 1, 3), "linear.weight": torch.zeros(2, 4), "linear.bias": torch.zeros(2)}
    head = convert_prototype_head(state, mean=0.5, std=2.0)
    assert (head.config.num_classes, head.config.prototypes_per_class, head.config.adaptor) == (2, 2, False)
    assert (float(head.mean), float(head.std)) == (0.5, 2.0)
    with pytest.raises(CheckpointError, match=r"'linear\.bias' is missing"):
        convert_prototype_head({name: state[name] for name in ("protos", "linear.weight")})
    with pytest.raises(CheckpointError, match=r"unknown tensor 'conv\.weight'"):
        convert_prototype_head({**state, "conv.weight": torch.zeros(1)})
