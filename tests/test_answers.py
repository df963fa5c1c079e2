"""A model's answers depend on its weights, its input and its options: on nothing that the process around it does or did."""

import json
import multiprocessing
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from pecmae import PECMAE, Autoencoder, PrototypeHead, PrototypeHeadConfig
from pecmae.prototypes.head import Dropout

RATE = 24_000


@pytest.fixture
def default_dtype():
    """Sets torch's default type, for the test alone."""
    before = torch.get_default_dtype()
    yield torch.set_default_dtype
    torch.set_default_dtype(before)


@pytest.fixture
def model(tiny_model_dir):
    """A model of its own, that a test may change."""
    return PECMAE.from_pretrained(tiny_model_dir, device="cpu")


def test_a_model_left_in_training_mode_answers_as_in_evaluation(model, tone):
    expected, sound = model.predict(tone, sampling_rate=RATE), model.sonify("jazz")
    model.train()
    for _ in range(2):
        np.testing.assert_array_equal(model.predict(tone, sampling_rate=RATE).logits, expected.logits)
        np.testing.assert_array_equal(model.explain(tone, sampling_rate=RATE).logits, expected.logits)
        np.testing.assert_array_equal(model.sonify("jazz"), sound)
    assert model.training  # and stays so


def test_learning_still_drops():
    torch.manual_seed(0)
    layer = Dropout(0.5)
    assert (layer(torch.ones(64, requires_grad=True)) == 0).any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_default_type_of_torch_changes_neither_a_loaded_model_nor_a_sound(
    default_dtype, model, tiny_model_dir, tone, tmp_path, dtype
):
    expected, sound = model.predict(tone, sampling_rate=RATE).logits, model.sonify("jazz", seed=1)
    default_dtype(dtype)
    loaded = PECMAE.from_pretrained(tiny_model_dir, device="cpu", dtype="float32")
    assert {tensor.dtype for tensor in (*loaded.parameters(), *loaded.buffers())} == {torch.float32}
    np.testing.assert_array_equal(loaded.predict(tone, sampling_rate=RATE).logits, expected)
    np.testing.assert_array_equal(loaded.sonify("jazz", seed=1), sound)
    loaded.save_pretrained(tmp_path / "again")
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (tiny_model_dir / "model.safetensors").read_bytes()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rounded_models_answer_with_sums_in_float32(model, tone, dtype):
    expected = model.predict(tone, sampling_rate=RATE)
    rounded = model.to(dtype)
    explained = rounded.explain(tone, sampling_rate=RATE)  # its parts sum to the logits, or it would raise
    np.testing.assert_allclose(explained.logits, expected.logits, atol=0.05)
    assert rounded.sonify("jazz").dtype == np.float32


def test_autocast_changes_no_answer(model, tone):
    expected, sound = model.predict(tone, sampling_rate=RATE).logits, model.sonify("jazz")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        np.testing.assert_array_equal(model.predict(tone, sampling_rate=RATE).logits, expected)
        np.testing.assert_array_equal(model.sonify("jazz"), sound)


def test_a_day_of_segments_is_explained(model):
    rows = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
    z = rows[torch.randint(64, (21_600,), generator=torch.Generator().manual_seed(1))]
    prediction = model.classify(z)
    exact = prediction.segment_logits.astype(np.float64).mean(0)
    np.testing.assert_allclose(prediction.logits, exact, rtol=2e-7)


def test_eight_threads_predict_and_sonify_as_one_does(model, tone):
    jobs = [(label, seed) for label in model.labels for seed in range(8)]
    tones = [np.roll(tone, 100 * seed) for _, seed in jobs]
    sounds = [model.sonify(label, seed=seed) for label, seed in jobs]
    logits = [model.predict(samples, sampling_rate=RATE).logits for samples in tones]
    with ThreadPoolExecutor(8) as pool:
        heard = pool.map(lambda job: model.sonify(job[0], seed=job[1]), jobs)
        labelled = pool.map(lambda samples: model.predict(samples, sampling_rate=RATE).logits, tones)
        for expected, found in zip([*sounds, *logits], [*heard, *labelled], strict=True):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork")
def test_a_forked_worker_answers_after_its_parent_did(tiny_model_dir):
    code = """
import multiprocessing, sys, warnings
import numpy as np, torch
warnings.simplefilter("ignore")
from pecmae import PECMAE
torch.set_num_threads(2)
model, tone = PECMAE.from_pretrained(sys.argv[1], device="cpu"), np.sin(np.arange(9600) / 9)
def work(seed):
    return model.predict(tone, sampling_rate=24000).label, model.sonify("jazz", seed=seed).shape
first = work(0)
torch.randn(2000, 2000) @ torch.randn(2000, 2000)  # the threads are there
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map_async(work, [0, 1]).get(timeout=60) == [first, first]
"""
    result = subprocess.run([sys.executable, "-c", code, str(tiny_model_dir)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_guides_no_sound_and_has_no_label(model, value):
    with pytest.raises(ValueError, match=r"guidance_scale=.* is no number"):
        model.sonify("jazz", guidance_scale=value)
    z = torch.zeros(2, 16)
    z[1, 3] = value
    with pytest.raises(ValueError, match="z holds NaN or infinite values"):
        model.classify(z)
    with pytest.raises(ValueError, match="z holds NaN or infinite values"):
        model.autoencoder.decode(z)
    with pytest.raises(ValueError, match="do not normalise"):
        PrototypeHead(PrototypeHeadConfig(embedding_dim=4, num_classes=2), mean=value)


@pytest.mark.parametrize("steps", [0, -1, 2.5, float("nan")])
def test_steps_are_counted_in_whole_numbers(model, steps):
    with pytest.raises(ValueError, match="num_inference_steps"):
        model.sonify("jazz", num_inference_steps=steps)


def test_z_alone_gives_json_without_a_duration(model):
    found = model.classify(torch.zeros(2, 16)).to_dict()
    assert json.loads(json.dumps(found, allow_nan=False))["duration"] is None
    with pytest.raises(ValueError, match="one row of 16 values a segment"):
        model.classify(torch.zeros(2, 15))


@pytest.mark.parametrize("kind", [PECMAE, Autoencoder])
@pytest.mark.parametrize(
    ("option", "nearest"),
    [("revison", "revision"), ("torch_dtype", "dtype"), ("dtpe", "dtype"), ("device_map", "device"), ("cachedir", "cache_dir")],
)
def test_a_misspelt_option_is_refused_with_the_right_name(kind, tiny_model_dir, option, nearest):
    for source in (None, tiny_model_dir, "owner/name"):
        with pytest.raises(TypeError, match=rf"from_pretrained has no option '{option}'; did you mean {nearest}\?"):
            kind.from_pretrained(source, **{option: "x"})


def test_an_option_like_no_other_is_refused_with_all_names(tiny_model_dir):
    with pytest.raises(TypeError, match="choose from device, dtype, autoencoder, revision, cache_dir"):
        PECMAE.from_pretrained(tiny_model_dir, q=1)
    with pytest.raises(TypeError, match="dtpe"):
        PECMAE.from_pretrained(tiny_model_dir).save_pretrained("out", dtpe="float16")
