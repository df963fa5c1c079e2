import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from pecmae import PECMAE
from pecmae.cli.app import main
from pecmae.explain.gallery import Gallery, build_gallery
from pecmae.explain.report import build_report, describe_track
from pecmae.explain.sounds import PrototypeSounds
from test_report import tiny_neighbours


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("sounds")


@pytest.fixture
def gallery(tiny_model, tone, cache) -> Gallery:
    sounds = PrototypeSounds(tiny_model, cache)
    return build_gallery(tiny_model, name="tiny", neighbours=tiny_neighbours(tiny_model, tone), sounds=sounds, seeds=(0, 1))


def test_every_prototype_has_its_sounds(gallery):
    assert [(view.label, view.number) for view in gallery.prototypes] == [(c, k) for c in gallery.labels for k in range(2)]
    for view in gallery.prototypes:
        assert {sound.seed for sound in view.sounds} == {0, 1}
    assert set(gallery.sounds) == {f"sound-{m}-{seed}" for m in range(6) for seed in (0, 1)}


@pytest.mark.filterwarnings("ignore::pecmae.AudioWarning")
def test_the_most_typical_sound_comes_first(gallery, tiny_model, cache):
    sounds = PrototypeSounds(tiny_model, cache)
    for view in gallery.prototypes:
        distances = []
        for sound in view.sounds:
            z = torch.from_numpy(tiny_model.embed(sounds.get(view.index, sound.seed), sampling_rate=24_000))
            distances.append(tiny_model.head.distances(z)[0, view.index].item())
        assert distances == sorted(distances)
        assert [sound.distance for sound in view.sounds] == pytest.approx(distances)


@pytest.mark.filterwarnings("ignore::pecmae.AudioWarning")
def test_survival_is_what_the_model_says_of_the_sounds(gallery, tiny_model, cache):
    sounds = PrototypeSounds(tiny_model, cache)
    survived = 0
    for view in gallery.prototypes:
        labels = [tiny_model.predict(sounds.get(view.index, seed), sampling_rate=24_000).label for seed in (0, 1)]
        assert view.survived == labels.count(view.label)
        survived += view.survived
    assert gallery.survival == survived / 12


def test_health_is_the_companions(gallery, tiny_model, tone):
    neighbours = tiny_neighbours(tiny_model, tone)
    assert [view.wins for view in gallery.prototypes] == neighbours.wins.tolist()
    assert [view.dead for view in gallery.prototypes] == (neighbours.wins == 0).tolist()
    assert gallery.dead == int((neighbours.wins == 0).sum())
    assert gallery.prototypes[3].nearest[0]["track"] == neighbours.nearest(3)[0]["track"]


def test_purity_is_that_of_the_health_report(gallery, tiny_model, tone):
    # Three tracks, one a class: the nearest segments of each prototype are one of each.
    assert [view.purity for view in gallery.prototypes] == pytest.approx([1 / 3] * 6)


def test_duplicates_are_found(tiny_model, cache):
    head = tiny_model.head
    before = head.prototypes.detach().clone()
    with torch.no_grad():
        head.prototypes[1] = head.prototypes[0] + 1e-4
    try:
        views = build_gallery(tiny_model, name="", sounds=PrototypeSounds(tiny_model, cache), seeds=(0,)).prototypes
    finally:
        with torch.no_grad():
            head.prototypes.copy_(before)
    assert [view.duplicates for view in views] == [("blues 1",), ("blues 0",), (), (), (), ()]


def test_what_is_missing_is_said(tiny_model, cache):
    gallery = build_gallery(tiny_model, name="tiny", sounds=PrototypeSounds(tiny_model, cache), seeds=(0,))
    assert gallery.num_segments is None
    assert {view.wins for view in gallery.prototypes} == {None}
    html = gallery.to_html()
    assert "holds no companion.safetensors" in html
    assert "Purity" not in html


def test_the_numbers_of_the_page_are_those_of_its_json(gallery):
    html = gallery.to_html()
    stored = json.loads(re.search(r'id="page">(.*?)</script>', html, re.DOTALL)[1])
    assert stored == json.loads(json.dumps(gallery.to_dict()))
    for field in ("survived", "wins"):
        shown = [int(number) for number in re.findall(rf'data-field="{field}">(\d+) ', html)]
        assert shown == [view[field] for view in stored["prototypes"]]


def test_a_hostile_track_name_is_text(gallery):
    html = gallery.to_html()
    assert "&lt;/script&gt;&lt;b&gt;.wav" in html
    assert "<b>.wav" not in html


def test_hostile_labels_are_text(tiny_model, tone, tmp_path):
    labels = ("<b>blues</b>", '" onfocus="alert(1)', "</script><script>alert(1)</script>")
    model = PECMAE(tiny_model.autoencoder, tiny_model.head, labels)
    sounds = PrototypeSounds(model, tmp_path)
    soundfile.write(tmp_path / "tone.wav", tone, 24_000)
    pages = [
        build_gallery(model, name="<i>", neighbours=tiny_neighbours(model, tone), sounds=sounds, seeds=(0,)).to_html(),
        build_report(model, [describe_track(model, tmp_path / "tone.wav")], name="<i>", sounds=sounds).to_html(),
    ]
    for html in pages:
        assert not re.search(r"<b>blues|<i>|<script>alert", html)
        assert '" onfocus="' not in html
        json.loads(re.search(r'id="page">(.*?)</script>', html, re.DOTALL)[1])


def test_the_map_is_the_same_each_time(gallery, tiny_model, tone, cache):
    again = build_gallery(
        tiny_model, name="", neighbours=tiny_neighbours(tiny_model, tone), sounds=PrototypeSounds(tiny_model, cache), seeds=(0,)
    )
    np.testing.assert_allclose(gallery.prototype_places, again.prototype_places)
    assert 0 < gallery.variance_shown <= 1
    assert gallery.embedding_places.shape == (5, 2)


def test_an_interrupted_run_continues(tiny_model, tmp_path, monkeypatch):
    sounds, asked, sonify_each = PrototypeSounds(tiny_model, tmp_path), [], PECMAE.sonify_each

    def stopped_once(self, pairs, **options):
        asked.append(list(pairs))
        for index, samples in enumerate(sonify_each(self, pairs, **options)):
            if len(asked) == 1 and index == 8:
                raise KeyboardInterrupt
            yield samples

    monkeypatch.setattr(PECMAE, "sonify_each", stopped_once)
    with pytest.raises(KeyboardInterrupt):
        build_gallery(tiny_model, name="", sounds=sounds, seeds=(0, 1))
    build_gallery(tiny_model, name="", sounds=sounds, seeds=(0, 1))
    # All at once, and then what the first run had not kept.
    assert asked == [[(m, seed) for seed in (0, 1) for m in range(6)], [(m, 1) for m in range(2, 6)]]


def test_the_console_writes_the_page(capsys, tiny_model_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_info:
        main(["gallery", "--model", str(tiny_model_dir), "--seeds", "1", "--cache", "cache"])
    assert exit_info.value.code == 0
    assert "wrote gallery.html" in capsys.readouterr().err
    assert Path("gallery.html").read_text().count('class="card"') == 6
