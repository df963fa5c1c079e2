"""The shortest walk of z that flips a label, worked out by hand and heard."""

import json

import numpy as np
import pytest
import torch

from pecmae import PecmaeError, PrototypeHead, PrototypeHeadConfig
from pecmae.prototypes.counterfactuals import STOPS, shortest_walk

RATE = 24_000
LABELS = ("left", "right")


def line(places: list[float], per_class: int | tuple[int, ...] = 1, classes: int = 2) -> PrototypeHead:
    """A head without adaptor, whose prototypes lie on the first axis of a plane."""
    config = PrototypeHeadConfig(
        embedding_dim=2, num_classes=classes, prototypes_per_class=per_class, adaptor=False, distance_reduction="sum"
    )
    head = PrototypeHead(config)
    with torch.no_grad():
        head.prototypes.copy_(torch.tensor([[place, 0.0] for place in places]))
    return head.eval()


def test_the_label_flips_half_way_between_two_prototypes():
    walk = shortest_walk(line([-1.0, 1.0]), LABELS, torch.tensor([[-1.0, 0.0]]), "right")
    assert (walk.label, walk.rival) == ("left", "right")
    assert walk.share == pytest.approx(0.5, abs=1e-4)
    assert walk.distance == pytest.approx(1.0, abs=1e-4)
    np.testing.assert_allclose(walk.z[:, 0, 0], [-1, -0.75, -0.5, -0.25, 0], atol=1e-3)
    margins = walk.logits[:, 1] - walk.logits[:, 0]
    assert (margins[:-1] < 0).all()
    assert 0 <= margins[-1] < 1e-3


def test_the_prototype_of_the_shortest_walk_is_taken_and_not_the_nearest():
    # The nearest of "right" lies behind one of "left", where the label never flips early; the other is further and better.
    head = line([0.0, 1.9, 2.0, -1.0], per_class=2)
    walk = shortest_walk(head, LABELS, torch.tensor([[0.2, 0.0]]), "right")
    assert walk.prototypes.tolist() == [3]
    assert walk.distance < 1.2


def test_a_tracks_segments_walk_together_by_their_weights():
    head = line([-1.0, 1.0])
    z = torch.tensor([[-1.0, 0.0], [0.9, 0.0]])
    both = shortest_walk(head, LABELS, z, "right", weights=np.array([1.0, 0.3]))
    alone = shortest_walk(head, LABELS, z, "right", weights=np.array([1.0, 0.0]))
    assert both.share < alone.share == pytest.approx(0.5, abs=1e-3)
    assert both.z.shape == (len(STOPS), 2, 2)


def test_what_cannot_be_is_said():
    head, z = line([-1.0, 1.0]), torch.tensor([[-1.0, 0.0]])
    with pytest.raises(ValueError, match="'up' is not a class of this model; choose from left, right"):
        shortest_walk(head, LABELS, z, "up")
    with pytest.raises(ValueError, match="called 'left' already"):
        shortest_walk(head, LABELS, z, "left")
    with torch.no_grad():
        head.linear.bias.copy_(torch.tensor([10.0, 0.0]))
    with pytest.raises(PecmaeError, match="no way to a prototype of 'right'"):
        shortest_walk(head, LABELS, z, "right")


@pytest.mark.filterwarnings("ignore::pecmae.AudioWarning")
def test_a_walk_is_heard_from_one_noise_and_heard_again(tiny_model, tone):
    prediction = tiny_model.predict(tone, sampling_rate=RATE)
    rival = list(prediction.scores)[1]
    options = {"sampling_rate": RATE, "num_inference_steps": 2}
    found = tiny_model.counterfactual(tone, rival, **options)
    assert (found.label, found.rival) == (prediction.label, rival)
    assert found.scores[0] == pytest.approx(prediction.scores, abs=1e-5)
    assert found.scores[-1][rival] == pytest.approx(found.scores[-1][found.label], abs=0.01)
    assert found.sounds.shape == (5, 9600)
    # One noise: the same again under the same seed, another under another.
    again, other = (tiny_model.counterfactual(tone, rival, seed=seed, **options) for seed in (0, 1))
    np.testing.assert_array_equal(found.sounds, again.sounds)
    assert np.abs(found.sounds - other.sounds).max() > 1e-3
    latents = tiny_model.autoencoder.draw_latents(1, torch.Generator().manual_seed(0))
    z = torch.from_numpy(tiny_model.embed(tone, sampling_rate=RATE))
    first = tiny_model.autoencoder.decode(
        z[found.segment : found.segment + 1], latents=latents, num_inference_steps=2, scheduler=tiny_model.solver
    )
    np.testing.assert_allclose(found.sounds[0], first[0], atol=1e-5)
    labels = [tiny_model.predict(sound, sampling_rate=RATE).label for sound in found.sounds]
    assert list(found.heard_as) == labels
    json.dumps(found.to_dict())
    assert found._repr_html_().count("<audio") == 5


def test_one_segment_can_walk_alone(tiny_model, tone):
    segment_logits = tiny_model.predict(tone, sampling_rate=RATE).segment_logits
    label = tiny_model.labels[int(segment_logits[1].argmax())]
    rival = next(name for name in tiny_model.labels if name != label)
    found = tiny_model.counterfactual(tone, rival, segment=1, sampling_rate=RATE, num_inference_steps=1)
    assert (found.segment, found.label) == (1, label)
    with pytest.raises(ValueError, match="segment=3 does not exist; the track has 3"):
        tiny_model.counterfactual(tone, rival, segment=3, sampling_rate=RATE)
