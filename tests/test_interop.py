"""What other ecosystems expect of a model: ONNX, transformers' pipeline, HEAR."""

import importlib
import inspect
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch

import pecmae
from pecmae.errors import AudioError, ConfigError
from pecmae.interop import hear
from pecmae.interop.pipeline import AudioClassificationPipeline

RATE = 24_000


@pytest.fixture(scope="module")
def exported(tiny_model, tmp_path_factory) -> Path:
    pytest.importorskip("onnxscript")
    from pecmae.interop.onnx import export_onnx

    folder = tmp_path_factory.mktemp("onnx") / "model"
    assert export_onnx(tiny_model, folder) == folder / "model.onnx"
    return folder


@pytest.fixture(scope="module")
def session(exported):
    return pytest.importorskip("onnxruntime").InferenceSession(exported / "model.onnx")


@pytest.fixture(scope="module", params=hear.SAMPLE_RATES)
def model(request, tiny_model_dir) -> hear.HearModel:
    return hear.load_model(str(tiny_model_dir), request.param)


class TestONNX:
    @pytest.mark.parametrize("batch", [1, 2, 5])
    def test_the_graph_answers_what_the_model_answers_of_any_number_of_segments(self, session, tiny_model, batch):
        size = tiny_model.autoencoder.config.segment_samples
        generator = torch.Generator().manual_seed(batch)
        wav = 0.3 * torch.randn(batch, size, generator=generator)
        lengths = torch.randint(1, size + 1, (batch,), generator=generator)
        found = session.run(None, {"wav": wav.numpy(), "num_samples": lengths.numpy()})
        z = tiny_model.autoencoder.encode(wav, lengths)
        with torch.no_grad():
            expected = z, tiny_model.head.similarities(z), tiny_model.head(z)
        for ours, theirs in zip(expected, found, strict=True):
            np.testing.assert_allclose(theirs, ours.detach().numpy(), atol=1e-4)

    def test_the_facts_beside_it_are_the_models(self, exported, tiny_model):
        facts = json.loads((exported / "model.json").read_text())
        config, head = tiny_model.autoencoder.config, tiny_model.head.config
        assert facts["labels"] == list(tiny_model.labels)
        assert len(facts["prototypes"]) == head.num_prototypes
        assert (facts["sampling_rate"], facts["segment_samples"]) == (config.sampling_rate, config.segment_samples)
        assert facts["kernel"] == {"scale": head.kernel_scale, "distance": head.distance_reduction}
        assert facts["preparation"] == {"remove_offset": True, "turn_inverted": True, "weigh_segments": True}
        assert facts["outputs"]["logits"] == ["batch", len(tiny_model.labels)]

    def test_the_example_labels_a_file_as_the_model_does(self, exported, session, tiny_model, tone, tmp_path, capsys):
        run_onnx = importlib.import_module("run_onnx")
        soundfile.write(tmp_path / "a.wav", np.stack([tone, tone], 1), RATE, subtype="FLOAT")
        found = run_onnx.main(str(exported), str(tmp_path / "a.wav"))
        assert found == pytest.approx(tiny_model.predict(tmp_path / "a.wav").scores, abs=1e-4)
        assert capsys.readouterr().out.splitlines()[0].startswith(next(iter(found)))
        soundfile.write(tmp_path / "b.wav", tone, 44_100)
        with pytest.raises(SystemExit, match="is at 44100 Hz; resample it to 24000 Hz"):
            run_onnx.main(str(exported), str(tmp_path / "b.wav"))

    def test_the_console_exports_too(self, tiny_model_dir, tmp_path, capsys, monkeypatch):
        pytest.importorskip("onnxscript")
        from pecmae.cli import main

        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as end:
            main(["export", str(tiny_model_dir), "--output", "new/folder"])
        printed = capsys.readouterr()
        assert (end.value.code or 0, printed.out, printed.err) == (0, "new/folder/model.onnx\nnew/folder/model.json\n", "")
        assert (tmp_path / "new/folder/model.onnx").stat().st_size > 10_000

    def test_half_precision_is_refused(self, tiny_model_dir, tmp_path):
        from pecmae.interop.onnx import export_onnx

        model = pecmae.PECMAE.from_pretrained(tiny_model_dir, dtype="bfloat16")
        with pytest.raises(ConfigError, match="dtype='float32'"):
            export_onnx(model, tmp_path)


class TestPipeline:
    @pytest.fixture
    def classify(self, tiny_model) -> AudioClassificationPipeline:
        return pecmae.pipeline("audio-classification", model=tiny_model, top_k=2)

    def test_one_track_in_any_of_transformers_shapes(self, classify, tiny_model, tone, tmp_path):
        soundfile.write(tmp_path / "a.wav", tone, RATE, subtype="FLOAT")
        scores = tiny_model.predict(tone, sampling_rate=RATE).scores
        expected = [{"score": pytest.approx(score, abs=1e-5), "label": label} for label, score in list(scores.items())[:2]]
        for given in (tone, {"raw": tone, "sampling_rate": RATE}, {"array": tone.tolist(), "sampling_rate": RATE, "path": None},
                      str(tmp_path / "a.wav"), {"path": str(tmp_path / "a.wav")}):  # fmt: skip
            assert classify(given) == expected

    def test_samples_of_another_rate_are_resampled(self, classify, tone):
        slower = soxr.resample(tone, RATE, 16_000)
        (first, _), (other, _) = classify([tone, {"raw": slower, "sampling_rate": 16_000}])
        assert first["label"] == other["label"]
        assert first["score"] == pytest.approx(other["score"], abs=0.02)

    def test_several_tracks_and_how_many_classes(self, classify, tone, tiny_model):
        assert [len(answer) for answer in classify([tone, tone[:9600]], top_k=3)] == [3, 3]
        assert classify([]) == []
        assert len(classify(tone, top_k=99)) == len(tiny_model.labels)

    def test_what_does_not_fit_is_named(self, classify, tone, tmp_path):
        with pytest.raises(ValueError, match="needs their 'sampling_rate'"):
            classify({"raw": tone})
        with pytest.raises(ValueError, match=r"needs 'raw' or 'array' .* got 'sound'"):
            classify({"sound": tone})
        with pytest.raises(ValueError, match="top_k=0"):
            classify(tone, top_k=0)
        with pytest.raises(ValueError, match="'text-generation' is not one of this package"):
            pecmae.pipeline("text-generation")
        (tmp_path / "a.wav").write_text("no sound")
        with pytest.raises(AudioError, match=r"a\.wav: is text"):
            classify(str(tmp_path / "a.wav"))


class TestHEAR:
    """The rules of HEAR's validator, which needs TensorFlow to run."""

    def sounds(self, model: hear.HearModel, seconds: float, count: int = 2) -> torch.Tensor:
        return 0.3 * torch.randn(count, round(seconds * model.sample_rate), generator=torch.Generator().manual_seed(0))

    def test_functions_have_the_arguments_and_the_model_the_sizes_of_the_interface(self, model):
        assert next(iter(inspect.signature(hear.load_model).parameters)) == "model_file_path"
        assert inspect.signature(hear.load_model).parameters["model_file_path"].default == ""
        for function in (hear.get_scene_embeddings, hear.get_timestamp_embeddings):
            assert list(inspect.signature(function).parameters) == ["audio", "model"]
        assert isinstance(model, torch.nn.Module)
        assert model.scene_embedding_size == model.timestamp_embedding_size == 16

    @pytest.mark.parametrize("seconds", [0.1, 0.4, 1.5])
    def test_shapes_types_and_moments(self, model, seconds):
        audio = self.sounds(model, seconds)
        scene = hear.get_scene_embeddings(audio, model)
        assert (scene.shape, scene.dtype) == ((2, 16), torch.float32)
        z, moments = hear.get_timestamp_embeddings(audio, model)
        assert z.shape == (*moments.shape, 16)
        assert (z.dtype, len(moments)) == (torch.float32, 2)
        assert moments[0, 0] == 500
        assert (moments.diff() == 1000).all()
        assert z.isfinite().all()

    def test_a_sound_has_the_embedding_it_has_alone(self, model):
        audio = self.sounds(model, 1.5, count=3)
        torch.testing.assert_close(
            hear.get_scene_embeddings(audio, model)[1:2], hear.get_scene_embeddings(audio[1:2], model), atol=1e-5, rtol=1e-4
        )

    def test_the_scene_is_the_mean_of_the_segments(self, tiny_model, tiny_model_dir):
        model = hear.load_model(str(tiny_model_dir), 48_000)
        audio = self.sounds(model, 1.0, count=1)
        track = tiny_model.embed_track(audio[0].numpy(), sampling_rate=48_000)
        expected = np.average(track.z.numpy(), 0, track.weights)
        np.testing.assert_allclose(hear.get_scene_embeddings(audio, model)[0], expected, atol=2e-3)

    def test_what_does_not_fit_is_named(self, tiny_model_dir):
        with pytest.raises(ValueError, match="sample_rate=24000 is none of HEAR's"):
            hear.load_model(str(tiny_model_dir), 24_000)
        with pytest.raises(ValueError, match=r"must be \(sounds, samples\), got the shape \(5,\)"):
            hear.get_scene_embeddings(torch.zeros(5), hear.load_model(str(tiny_model_dir)))
