"""The app of `pecmae explore` without a browser: who may ask, and what it answers."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from pecmae import PECMAE
from pecmae.data.tracks import EmbeddedTracks
from pecmae.editing.sources import Tracks

testclient = pytest.importorskip("starlette.testclient", reason="starlette is not installed")
pytest.importorskip("uvicorn")

from pecmae.cli.app import main  # noqa: E402
from pecmae.explorer.server import build_app  # noqa: E402
from pecmae.explorer.session import Places, Session  # noqa: E402
from pecmae.explorer.uploads import Uploads  # noqa: E402

TOKEN = "secret-of-the-test"
RATE = 24_000
HOSTILE = '"><img src=x onerror=alert(1)>.wav'


def labelled(model: PECMAE, seed: int, each: int = 6) -> EmbeddedTracks:
    """Tracks of two segments around the prototypes of a model, most of them of the prototype's class."""
    draws = np.random.default_rng(seed)
    centres = model.head.projected_prototypes().numpy()
    numbers = np.repeat(np.arange(len(centres)), each)
    z = np.repeat(centres[numbers], 2, 0) + 0.5 * draws.normal(size=(2 * len(numbers), centres.shape[1]))
    labels = model.head.prototype_labels.numpy()[numbers]
    names = tuple(f"track {number}" for number in range(len(numbers)))
    tracks = torch.arange(len(numbers)).repeat_interleave(2)
    offsets = torch.arange(2).repeat(len(numbers)) * 0.4
    return EmbeddedTracks(torch.from_numpy(z).float(), tracks, torch.from_numpy(labels), names, offsets)


def open_session(model: PECMAE, folder: Path, name: str = "tiny", **options) -> Session:
    temporary = folder / f"temporary-{len(list(folder.glob('temporary-*')))}"
    temporary.mkdir(parents=True)
    (folder / "exports").mkdir(exist_ok=True)
    places = Places(temporary=temporary, exports=folder / "exports", sounds=folder / "sounds", journals=folder / "journals")
    tracks = Tracks(labelled(model, 0), labelled(model, 1), "some tracks")
    return Session(model, tracks, name=name, places=places, num_inference_steps=2, **options)


@pytest.fixture
def session(tiny_model, tmp_path):
    session = open_session(tiny_model, tmp_path)
    yield session
    session.close()


class Client(testclient.TestClient):
    """Asks as the app's own page does."""

    def look(self, path: str, status: int = 200):
        response = self.get(f"/{TOKEN}/{path}")
        assert response.status_code == status, response.text
        return response.json()

    def do(self, path: str, status: int = 200, **values):
        response = self.post(f"/{TOKEN}/{path}", json=values)
        assert response.status_code == status, response.text
        return response.json()

    def edit(self, path: str, status: int = 200, revision: int | None = None, insist: bool = False, **edit):
        """Preview or apply an edit of the model as it stands."""
        revision = self.look("state")["revision"] if revision is None else revision
        more = {"insist": insist} if path == "apply" else {}
        return self.do(path, status, edit=edit, revision=revision, **more)


def client_of(session: Session, **limits) -> Client:
    app = build_app(session, Uploads(session.places.temporary, **limits), token=TOKEN)
    return Client(app, base_url="http://127.0.0.1:8000")


@pytest.fixture
def client(session):
    return client_of(session)


def a_file(seconds: float = 1.0, pitch: float = 220) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, 0.4 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * RATE)) / RATE), RATE, format="WAV")
    return buffer.getvalue()


def drop(client: Client, name: str = "song.wav", data: bytes | None = None, status: int = 200):
    response = client.post(f"/{TOKEN}/tracks", params={"name": name}, content=a_file() if data is None else data)
    assert response.status_code == status, response.text
    return response.json()


def wait_for(condition, seconds: float = 20):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
    return found


def read_track(client: Client, key: str):
    def find():
        rows = client.look("tracks")["rows"]
        return next((row for row in rows if row["id"] == key and row["state"] != "reading"), None)

    return wait_for(find)


class TestWhoMayAsk:
    @pytest.mark.parametrize(
        "path", ["/", "/model", "/wrong/model", f"/{TOKEN[:-1]}/model", f"/{TOKEN}x/model", "/explore.html"]
    )
    def test_without_the_secret_nothing_is_answered(self, client, path):
        response = client.get(path)
        assert response.status_code == 403
        assert "open the address that pecmae explore printed" in response.text

    @pytest.mark.parametrize(
        ("host", "status"),
        [
            *(
                ("127.0.0.1:8000", 200),
                ("localhost:8000", 200),
                ("LOCALHOST", 200),
                ("[::1]:8000", 200),
                ("10.0.0.7:8000", 200),
            ),
            *(("evil.example:8000", 403), ("127.0.0.1.evil.example", 403), ("localhost.evil.example", 403), ("", 403)),
            *(("127.0.0.1:x", 403), ("a@127.0.0.1", 200), ("127.0.0.1@evil.example", 403)),
        ],
    )
    def test_a_name_that_somebody_bent_to_this_machine_is_refused(self, client, host, status):
        assert client.get(f"/{TOKEN}/state", headers={"host": host}).status_code == status

    @pytest.mark.parametrize(
        ("origin", "status"),
        [
            ("http://127.0.0.1:8000", 200),
            *((other, 403) for other in ("http://evil.example", "http://127.0.0.1:8001", "null", "http://localhost:8000")),
        ],
    )
    def test_another_origin_is_refused(self, client, origin, status):
        assert client.get(f"/{TOKEN}/state", headers={"origin": origin}).status_code == status

    @pytest.mark.parametrize(
        ("headers", "method", "status"),
        [
            ({"sec-fetch-site": "same-origin"}, "GET", 200),
            ({"sec-fetch-site": "cross-site"}, "GET", 403),
            ({"sec-fetch-site": "same-site"}, "GET", 403),
            ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, "GET", 200),
            ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, "POST", 403),
        ],
    )
    def test_another_site_may_link_to_the_app_and_no_more(self, client, headers, method, status):
        assert client.request(method, f"/{TOKEN}/state", headers=headers).status_code == status

    @pytest.mark.parametrize(
        "path",
        ["../etc/passwd", "..%2f..%2fetc%2fpasswd", "sounds/..%2f..%2fx", "session.py", "tracks/..%2f..%2fx/sound", "%2e%2e/"],
    )
    def test_no_path_leads_out_of_the_app(self, client, path):
        response = client.get(f"/{TOKEN}/{path}")
        assert response.status_code in (400, 403, 404)
        assert "root:" not in response.text

    def test_pages_load_nothing_from_elsewhere_and_tell_nobody_the_address(self, client):
        response = client.get(f"/{TOKEN}/")
        assert response.headers["content-type"].startswith("text/html")
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
        assert response.headers["referrer-policy"] == "no-referrer"
        assert client.get(f"/{TOKEN}", follow_redirects=False).headers["location"] == f"/{TOKEN}/"

    @pytest.mark.parametrize(
        ("content", "kind", "status"),
        [
            (b"{}", "text/plain", 415),
            (b"a=1", "application/x-www-form-urlencoded", 415),
            (b"[1]", "application/json", 400),
            (b"{", "application/json", 400),
            (b"[" * 100_000, "application/json", 400),
            (b" " * 2_000_000, "application/json", 413),
        ],
    )
    def test_only_json_of_some_length_is_read(self, client, content, kind, status):
        response = client.post(f"/{TOKEN}/undo", content=content, headers={"content-type": kind})
        assert response.status_code == status

    def test_a_public_app_needs_no_secret_and_changes_nothing(self, tiny_model, tmp_path):
        session = open_session(tiny_model, tmp_path, read_only=True)
        app = build_app(session, Uploads(session.places.temporary), token=None, names=None)
        public = Client(app, base_url="https://name.example")
        assert public.get("/model").json()["read_only"] is True
        edit = {"kind": "remove", "prototype": 0}
        assert public.post("/preview", json={"edit": edit, "revision": 0}).status_code == 200
        for path in ("apply", "undo", "redo", "export", "recover"):
            response = public.post(f"/{path}", json={"edit": edit, "revision": 0, "name": "x"})
            assert response.status_code == 403
            assert "changes nothing" in response.json()["error"]
        assert public.post("/tracks?name=a.wav", content=a_file()).status_code == 403
        assert not session.editor.history
        assert list((tmp_path / "exports").iterdir()) == []
        session.close()


class TestFiles:
    def test_a_dropped_file_is_labelled_and_can_be_heard(self, client, tiny_model, tmp_path):
        key = drop(client)["id"]
        row = read_track(client, key)
        (tmp_path / "same.wav").write_bytes(a_file())
        prediction = tiny_model.predict(tmp_path / "same.wav")
        assert (row["name"], row["label"], row["score"]) == ("song.wav", prediction.label, pytest.approx(prediction.score))
        details = wait_for(lambda: (d := client.look(f"tracks/{key}"))["sound"] == "ready" and d)
        assert [segment["start"] for segment in details["segments"]] == pytest.approx([0, 0.4, 0.8])
        assert [segment["seconds"] for segment in details["segments"]] == pytest.approx([0.4, 0.4, 0.2])
        reasons = details["reasons"]
        parts = [part["part"] for part in reasons["prototypes"]] + [reasons["others"], reasons["bias"]]
        assert sum(parts) == pytest.approx(reasons["total"], abs=1e-5)
        sound = client.get(f"/{TOKEN}/tracks/{key}/sound", headers={"range": "bytes=0-99"})
        assert (sound.status_code, len(sound.content), sound.headers["content-type"]) == (206, 100, "audio/mpeg")

    @pytest.mark.parametrize("name", [HOSTILE, "../../evil.wav", "C:\\music\\a.wav", "b\u202egnp.wav", "x" * 300 + ".wav"])
    def test_the_name_of_a_file_reaches_no_disk(self, client, session, name):
        row = read_track(client, drop(client, name)["id"])
        assert row["state"] == "ready"
        assert row["name"] == name.replace("\\", "/").rpartition("/")[2]
        files = [path.name for path in session.places.temporary.iterdir()]
        assert all(name.partition(".")[0].isalnum() and len(name) < 32 for name in files)

    def test_a_file_that_is_no_audio_says_so_by_its_own_name(self, client, session):
        row = read_track(client, drop(client, "notes.wav", b"no sound at all" * 10)["id"])
        assert row["state"] == "failed"
        assert "notes.wav" in row["problem"]
        assert str(session.places.temporary) not in row["problem"]
        assert "no audio by its name" in drop(client, "page.html", status=400)["error"]
        assert "being read" not in client.look("tracks/f1", 400)["error"]

    def test_files_are_limited_in_size_and_number(self, session):
        size = len(a_file())
        client = client_of(session, largest_file=size, largest_total=2 * size, most_files=3)
        assert "MB" in drop(client, data=a_file(1.1), status=400)["error"]
        drop(client)
        drop(client)
        assert "MB" in drop(client, status=400)["error"]
        drop(client, data=b"")
        assert "3 files" in drop(client, status=400)["error"]
        assert len([path for path in session.places.temporary.iterdir() if path.suffix == ".wav"]) == 3

    @pytest.mark.parametrize("key", ["m99", "m-1", "f1", "x", "m", "m٣"])
    def test_a_track_that_is_not_there_is_a_sentence(self, client, key):
        assert key in client.look(f"tracks/{key}", 400)["error"]

    def test_the_sound_of_a_labelled_file_is_made_when_it_is_looked_at(self, tiny_model, tmp_path):
        (tmp_path / "song.wav").write_bytes(a_file())
        session = open_session(tiny_model, tmp_path)
        object.__setattr__(session.editor.tracks, "paths", (tmp_path / "song.wav",) * 36)
        client = client_of(session)
        assert client.get(f"/{TOKEN}/tracks/m3/sound").status_code == 404
        wait_for(lambda: client.look("tracks/m3")["sound"] == "ready")
        assert client.get(f"/{TOKEN}/tracks/m3/sound").headers["content-type"] == "audio/mpeg"
        session.close()


class TestSounds:
    def test_a_prototype_is_made_audible_once(self, client, session):
        key = client.do("sounds", prototype=2, seed=1)["sound"]
        assert client.do("sounds", prototype=2, seed=1)["sound"] == key
        assert client.do("sounds", prototype=2, seed=0)["sound"] != key
        wait_for(lambda: client.look(f"sounds?keys={key}")["states"][key] == "ready")
        assert client.get(f"/{TOKEN}/sounds/{key}").headers["content-type"] == "audio/mpeg"
        assert client.get(f"/{TOKEN}/sounds/{key}/picture").content.startswith(b"\x89PNG")
        made = session.sounds.file(key)
        written = made.stat().st_mtime_ns
        wait_for(lambda: client.look("state")["sounds_waiting"] == 0)
        client.do("sounds", prototype=2, seed=1)
        wait_for(lambda: client.look("state")["sounds_waiting"] == 0)
        assert made.stat().st_mtime_ns == written

    def test_a_sound_follows_its_prototype_and_not_its_row(self, client):
        key = client.do("sounds", prototype=5)["sound"]
        client.edit("apply", kind="remove", prototype=0, insist=True)
        assert client.do("sounds", prototype=5)["sound"] == key
        client.edit("apply", kind="move", prototype=5, places=[{"track": "m0", "segment": 1}], insist=True)
        assert client.do("sounds", prototype=5)["sound"] != key

    def test_sounds_are_kept_for_the_next_start(self, client, tiny_model, tmp_path):
        key = client.do("sounds", prototype=1)["sound"]
        wait_for(lambda: client.look(f"sounds?keys={key}")["states"][key] == "ready")
        other = open_session(tiny_model, tmp_path)
        wait_for(lambda: other.sounds.state(key) == "ready")
        other.close()

    def test_a_sound_that_cannot_be_made_says_why(self, client, session, monkeypatch):
        monkeypatch.setattr(session.sounds, "_decoded", lambda z, seed: 1 / 0)
        key = client.do("sounds", prototype=1)["sound"]
        found = wait_for(lambda: (f := client.look(f"sounds?keys={key}"))["states"][key] == "failed" and f)
        assert found["problems"][key] == "division by zero"

    @pytest.mark.parametrize(
        "values", [{"prototype": 77}, {"segment": 9999}, {"track": "m0", "segment": 2}, {"prototype": 0, "seed": -1}, {}]
    )
    def test_what_is_not_there_cannot_be_heard(self, client, values):
        assert client.do("sounds", 400, **values)["error"]

    def test_a_walk_goes_through_where_the_label_flips(self, client):
        track = client.look("tracks/m0")
        rival = track["reasons"]["rival"]
        walk = client.do("walk", track="m0", segment=0, rival=rival)
        assert walk["shares"] == sorted(walk["shares"])
        assert (walk["shares"][0], walk["shares"][-1], len(walk["sounds"])) == (0, 1, len(walk["shares"]))
        winners = [max(scores, key=scores.get) for scores in walk["scores"]]
        at = walk["shares"].index(walk["flips"])
        assert winners[at] == rival
        assert set(winners[:at]) == {walk["label"]}
        assert walk["sounds"][0] == client.do("sounds", track="m0", segment=0)["sound"]
        assert walk["sounds"][-1] == client.do("sounds", prototype=walk["prototype"])["sound"]
        assert "already" in client.do("walk", 400, track="m0", segment=0, rival=walk["label"])["error"]


EDITS = {
    "remove": {"kind": "remove", "prototype": 3},
    "merge": {"kind": "merge", "prototypes": [4, 5]},
    "move": {"kind": "move", "prototype": 0, "places": [{"segment": 2}, {"segment": 5}]},
    "change class": {"kind": "change class", "prototype": 0, "label": "rock"},
    "rename class": {"kind": "rename class", "label": "rock", "name": "<b>rock</b>"},
    "set weight": {"kind": "set weight", "prototype": 1, "label": "jazz", "weight": 0},
    "add": {"kind": "add", "label": "jazz", "places": [{"track": "m1", "segment": 0}]},
    "add class": {"kind": "add class", "label": "pop", "places": [{"track": f"m{n}", "segment": 0} for n in range(5)]},
    "refit": {"kind": "refit", "penalty": 0.01},
    "take out": {"kind": "take out", "count": 2, "refit": True},
}


class TestEdits:
    @pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
    def test_what_is_previewed_is_what_is_done(self, client, session, edit):
        seen = client.edit("preview", **edit)
        assert session.editor.history == ()
        before = session.editor.draft
        client.edit("apply", **edit, insist=True)
        assert session.editor.compare(before, session.editor.draft).to_dict() == json.loads(json.dumps(seen["effect"]))
        model = client.look("model")
        assert [done["text"] for done in model["history"]] == [seen["text"]]
        assert len(model["prototypes"]) == seen["prototypes"][1]

    @pytest.mark.parametrize(
        "edit",
        [
            {"kind": "explode"},
            {"kind": "remove"},
            {"kind": "remove", "prototype": "3"},
            {"kind": "remove", "prototype": True},
            {"kind": "merge", "prototypes": [1]},
            {"kind": "move", "prototype": 1, "places": []},
            {"kind": "move", "prototype": 1, "places": [3]},
            {"kind": "move", "prototype": 1, "places": [{"segment": 10**9}]},
            {"kind": "add class", "label": "pop", "places": [{"track": "m1", "segment": 0}], "count": 0},
            {"kind": "set weight", "prototype": 1, "label": "jazz", "weight": 1e60},
            {"kind": "take out", "count": 99},
            {"kind": "rename class", "label": "jazz", "name": "rock"},
        ],
    )
    def test_what_cannot_be_done_is_a_sentence(self, client, session, edit):
        assert client.edit("apply", 400, **edit)["error"].endswith(".")
        assert session.editor.history == ()

    def test_a_harmful_edit_is_done_only_when_somebody_insists(self, client, session):
        # Everything becomes jazz.
        edit = {"kind": "set weight", "prototype": 2, "label": "jazz", "weight": 1000.0}
        assert client.edit("preview", **edit)["refused"] is True
        answer = client.edit("apply", 409, **edit)
        assert answer["refused"] is True
        assert answer["effect"]["difference"] < 0
        assert session.editor.history == ()
        client.edit("apply", **edit, insist=True)
        assert client.look("model")["history"][0]["insisted"] is True

    def test_undo_and_redo_lead_back_and_forth(self, client, session):
        first = client.look("model")
        client.edit("apply", **EDITS["merge"], insist=True)
        merged = client.look("model")
        assert merged["saved"] is False
        client.do("undo", revision=1)
        again = client.look("model")
        assert again["prototypes"] == first["prototypes"]
        assert again["undone"] == [merged["history"][0]["text"]]
        client.do("redo", revision=2)
        assert client.look("model")["prototypes"] == merged["prototypes"]
        assert "nothing to do again" in client.do("redo", 400, revision=3)["error"]

    def test_tracks_that_an_edit_changed_are_marked(self, client):
        key = drop(client)["id"]
        read_track(client, key)
        effect = client.edit("preview", **EDITS["change class"])["effect"]
        client.edit("apply", **EDITS["change class"], insist=True)
        marked = {row["id"] for row in client.look("tracks")["rows"] if row["changed"]}
        assert {f"m{change['track']}" for change in effect["changed"]} == marked - {key}
        assert marked

    def test_a_page_that_saw_another_model_is_told_to_look_again(self, client):
        client.edit("apply", **EDITS["merge"], insist=True)
        for path in ("preview", "apply"):
            assert client.edit(path, 409, revision=0, **EDITS["remove"])["stale"] is True
        assert client.do("undo", 409, revision=0)["stale"] is True
        assert len(client.look("model")["history"]) == 1

    def test_an_exported_model_answers_as_the_screen_said(self, client, session, tiny_model, tmp_path):
        tiny_model.save_pretrained(tmp_path / "model")
        client.edit("apply", **EDITS["remove"], insist=True)
        client.edit("apply", **EDITS["rename class"], insist=True)
        shown = {row["id"]: (row["label"], row["score"]) for row in client.look("tracks")["rows"]}
        directory = Path(client.do("export", revision=2, name="tiny-edited")["directory"])
        assert client.look("model")["saved"] is True
        edited = PECMAE.from_pretrained(directory, device="cpu", dtype="float32")
        for index in range(36):
            prediction = edited.classify(session.shelf.embedding(f"m{index}"))
            assert (prediction.label, prediction.score) == (
                shown[f"m{index}"][0],
                pytest.approx(shown[f"m{index}"][1], rel=1e-4),
            )
        assert "edited" in (directory / "README.md").read_text()

    @pytest.mark.parametrize("name", ["../evil", "/tmp/evil", ".hidden", "", "a/b", "a\\b", None, "x" * 101, "a\nb"])
    def test_a_model_is_exported_beside_the_others_and_nowhere_else(self, client, tmp_path, name):
        assert client.do("export", 400, revision=0, name=name)["error"]
        assert list((tmp_path / "exports").iterdir()) == []

    def test_what_is_no_edited_model_is_not_written_over(self, client, tmp_path):
        (tmp_path / "exports" / "mine").mkdir()
        client.edit("apply", **EDITS["remove"], insist=True)
        assert "choose another name" in client.do("export", 400, revision=1, name="mine")["error"]
        client.do("export", revision=1, name="other")
        client.do("export", revision=2, name="other")

    def test_pruning_says_how_many_can_go(self, client, session):
        found = client.do("pruning")
        falls = [point["falls"] for point in found["curve"]]
        assert [point["prototypes"] for point in found["curve"]] == list(range(5, 5 - len(falls), -1))
        count = 2
        seen = client.edit("preview", kind="take out", count=count)
        assert seen["effect"]["difference"] == pytest.approx(found["curve"][count - 1]["difference"])


class TestViews:
    def test_decisions_hang_on_a_prototype_when_they_change_without_it(self, client):
        model = client.look("model")
        for view in model["prototypes"]:
            effect = client.edit("preview", kind="remove", prototype=view["id"])["effect"]
            about = client.look(f"prototypes/{view['id']}")
            # Removing keeps what the average training track gets; hanging keeps that of the measured tracks.
            assert view["decisions"] == len(about["hanging"])
            assert abs(view["decisions"] - len(effect["changed"])) <= 2
        assert sum(view["decisions"] for view in model["prototypes"]) > 0

    def test_places_stay_while_prototypes_move(self, client):
        before = {view["id"]: view["place"] for view in client.look("model")["prototypes"]}
        client.edit("apply", **EDITS["move"], insist=True)
        after = {view["id"]: view["place"] for view in client.look("model")["prototypes"]}
        assert [key for key in before if before[key] != after[key]] == [0]
        assert [view["id"] for view in client.look("model")["prototypes"] if view["touched"]] == [0]

    def test_health_is_told_of_each_prototype(self, client):
        model = client.look("model")
        assert sum(view["wins"] for view in model["prototypes"]) == model["num_segments"] == 72
        assert all(view["dead"] == (view["wins"] == 0) for view in model["prototypes"])
        assert all(0 <= view["purity"] <= 1 for view in model["prototypes"])
        client.edit("apply", kind="move", prototype=1, places=[{"segment": 7}], insist=True)
        client.edit("apply", kind="move", prototype=0, places=[{"segment": 7}], insist=True)
        twins = {view["id"]: view["twins"] for view in client.look("model")["prototypes"]}
        assert (twins[0], twins[1], twins[2]) == ([1], [0], [])

    def test_the_nearest_segments_are_those_of_the_head(self, client, session):
        near = client.look("prototypes/4")["nearest"]
        similarities = session.editor.model.head.similarities(session.editor.tracks.training.z)[:, 4].detach()
        assert near[0]["similarity"] == pytest.approx(float(similarities.max()), rel=1e-4)
        assert near[0]["segment"] == int(similarities.argmax())
        assert len({item["track"] for item in near}) == 5


class TestRecovery:
    def test_a_history_that_nobody_saved_is_offered_and_taken_up(self, client, session, tiny_model, tmp_path):
        client.edit("apply", **EDITS["merge"], insist=True)
        client.edit("apply", **EDITS["set weight"], insist=True)
        texts = [done["text"] for done in client.look("model")["history"]]
        assert client.look("model")["unsaved"] is None
        other = open_session(tiny_model, tmp_path)
        again = client_of(other)
        assert again.look("model")["unsaved"]["edits"] == texts
        again.do("recover", revision=0)
        assert [done["text"] for done in again.look("model")["history"]] == texts
        assert other.editor.draft.digest == session.editor.draft.digest
        assert again.look("model")["unsaved"] is None
        other.close()

    @pytest.mark.parametrize("end", ["discard", "export", "undo"])
    def test_what_is_saved_or_thrown_away_is_not_offered_again(self, client, tiny_model, tmp_path, end):
        client.edit("apply", **EDITS["merge"], insist=True)
        if end == "discard":
            other = open_session(tiny_model, tmp_path)
            client_of(other).do("recover", revision=0, discard=True)
            assert not other.editor.history
            other.close()
        elif end == "export":
            client.do("export", revision=1, name="edited")
        else:
            client.do("undo", revision=1)
        last = open_session(tiny_model, tmp_path)
        assert client_of(last).look("model")["unsaved"] is None
        last.close()

    def test_new_edits_do_not_bury_what_is_offered(self, client, tiny_model, tmp_path):
        client.edit("apply", **EDITS["merge"], insist=True)
        second = open_session(tiny_model, tmp_path)
        client_of(second).edit("apply", **EDITS["remove"], insist=True)
        assert "edits already" in client_of(second).do("recover", 400, revision=1)["error"]
        second.close()
        assert len(list((tmp_path / "journals").rglob("*.json"))) == 2

    @pytest.mark.parametrize(
        "text", ["", "{", "[]", '{"format_version": 1, "when": 1, "log": {"edits": []}}', '{"format_version": 9}']
    )
    def test_a_damaged_history_is_passed_over(self, client, session, tiny_model, tmp_path, text):
        client.edit("apply", **EDITS["merge"], insist=True)
        (file,) = (tmp_path / "journals").rglob("*.json")
        file.with_name("9999999999999999999.json").write_text(text)
        other = open_session(tiny_model, tmp_path)
        assert len(client_of(other).look("model")["unsaved"]["edits"]) == 1
        other.close()

    def test_a_history_of_another_model_is_not_offered(self, client, tmp_path, tiny_model):
        client.edit("apply", **EDITS["merge"], insist=True)
        head = type(tiny_model.head)(tiny_model.head.config, mean=0.2, std=0.7)
        other = open_session(tiny_model.with_head(head, tiny_model.labels), tmp_path)
        assert client_of(other).look("model")["unsaved"] is None
        other.close()


def start(model: Path, home: Path, *arguments: str) -> tuple[subprocess.Popen, str]:
    """Start the command; returns the process and the address that it printed."""
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "TMPDIR": str(home), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "pecmae", "explore", "--model", str(model), "--no-browser", *arguments]
    process = subprocess.Popen(command, env=environment, cwd=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    address = process.stdout.readline().strip()
    assert address.startswith("http://127.0.0.1:"), process.communicate()
    return process, address


@pytest.fixture(scope="module")
def described_model(tiny_model, tmp_path_factory) -> Path:
    """A model whose directory keeps training segments."""
    from pecmae.prototypes.neighbours import describe_neighbours

    directory = tmp_path_factory.mktemp("described") / "tiny"
    tiny_model.save_pretrained(directory)
    tracks = labelled(tiny_model, 0)
    describe_neighbours(tiny_model.head, tracks.z, tracks.tracks, tracks.names, tracks.track_labels, segment_seconds=0.4).save(
        directory
    )
    return directory


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
class TestCommand:
    def ask(self, address: str, path: str, **values):
        import urllib.request

        data = json.dumps(values).encode() if values else None
        request = urllib.request.Request(address + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=20) as response:
            return json.load(response)

    def test_a_killed_app_loses_no_edit_and_ctrl_c_ends_it_cleanly(self, described_model, tmp_path):
        (tmp_path / "song.wav").write_bytes(a_file())
        process, address = start(described_model, tmp_path, "song.wav")
        assert self.ask(address, "model")["name"] == "tiny"
        assert self.ask(address, "tracks")["rows"][0]["name"] == "song.wav"
        edit = {"kind": "set weight", "prototype": 1, "label": "jazz", "weight": 0.25}
        self.ask(address, "apply", edit=edit, revision=0, insist=True)
        process.kill()
        process.communicate()
        process, address = start(described_model, tmp_path)
        assert self.ask(address, "model")["unsaved"]["edits"] == ["let blues 2 give +0.25 to jazz"]
        self.ask(address, "recover", revision=0)
        folders = {path.name for path in tmp_path.glob("pecmae-explore-*")}
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 0
        assert "Traceback" not in errors
        assert "offered at the next start" in errors
        # That of the killed one stays; this one's is gone.
        assert len(folders) - len(list(tmp_path.glob("pecmae-explore-*"))) == 1

    def test_a_taken_port_is_a_sentence(self, described_model, capsys):
        import socket

        with socket.create_server(("127.0.0.1", 0)) as taken:
            arguments = ["--model", str(described_model), "--no-browser", "--port", str(taken.getsockname()[1])]
            with pytest.raises(SystemExit) as end:
                main(["explore", *arguments])
        assert end.value.code == 1
        assert "choose another --port" in capsys.readouterr().err

    def test_a_model_that_keeps_no_training_data_asks_for_labelled_audio(self, tiny_model_dir, capsys):
        with pytest.raises(SystemExit) as end:
            main(["explore", "--model", str(tiny_model_dir), "--no-browser"])
        assert end.value.code == 1
        assert "give labelled audio" in capsys.readouterr().err

    def test_without_its_extra_it_says_what_to_install(self, monkeypatch, capsys):
        from importlib import util

        from pecmae.cli import support

        monkeypatch.setattr(support, "find_spec", lambda name: None if name == "starlette" else util.find_spec(name))
        with pytest.raises(SystemExit) as end:
            main(["explore"])
        assert end.value.code == 2
        assert "pip install 'pecmae[app]'" in capsys.readouterr().err
