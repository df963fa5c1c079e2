import time
import pytest
from fake_hub import TOKEN, hub, isolated_hub_cache
from pecmae import hub as H
from pecmae.errors import HubError
from huggingface_hub import constants, HfApi
FILES={"config.json":b"{}","model.safetensors":b"abcdefgh"*100,"autoencoder/config.json":b"x"}
def show(f):
    t=time.time()
    try: r=f()
    except Exception as e: r=f"{type(e).__name__}: {e}"
    print(f"{time.time()-t:.2f}", r)
def test_all(hub, monkeypatch, tmp_path):
    sha=hub.add("o/m",FILES,tag="v1"); hub.add("o/p",FILES,private=True)
    show(lambda:H.resolve_model("o/m")); print(hub.requests); hub.requests.clear()
    show(lambda:H.resolve_model("o/m")); print(hub.requests)
    show(lambda:H.resolve_model("o/m",revision="v1"))
    show(lambda:H.resolve_model("o/m",revision="v2"))
    show(lambda:H.resolve_model("o/x"))
    show(lambda:H.resolve_model("o/p"))
    show(lambda:H.resolve_model("o/p",token=TOKEN))
    show(lambda:H.resolve_model("o/m",token=True))
    show(lambda:H.resolve_model("o/--m"))
    show(lambda:H.resolve_directory("o/m",required=["nope.json"]))
    show(lambda:H.resolve_directory("o/m",required=["config.json"],subfolder="autoencoder"))
    for mode in ("503","401","gated"):
        hub.fail(mode); show(lambda:H.resolve_model("o/m",cache_dir=tmp_path/mode)); hub.heal()
    for mode in ("gone","corrupted","truncated"):
        hub.fail(mode,"model.safetensors"); show(lambda:H.resolve_model("o/m",cache_dir=tmp_path/mode)); hub.heal()
    print(hub.requests[-30:])
    show(lambda:H.resolve_model("o/m",cache_dir=tmp_path/"l",local_files_only=True))
    monkeypatch.setattr(constants,"HF_HUB_OFFLINE",True)
    show(lambda:H.resolve_model("o/m"))
    show(lambda:H.resolve_model("o/m",cache_dir=tmp_path/"k"))
    show(lambda:H.resolve_directory("o/m", required=["zzz"]))
    monkeypatch.setattr(constants,"HF_HUB_OFFLINE",False)
    (tmp_path/"up").mkdir(); (tmp_path/"up"/"config.json").write_text("{}"); (tmp_path/"up"/"README.md").write_text("---\nlicense: mit\n---\nhi")
    hub.requests.clear()
    api=HfApi(token=TOKEN); print(api.create_repo("tester/new",exist_ok=True)); print(api.upload_folder(repo_id="tester/new",folder_path=tmp_path/"up",commit_message="m"))
    print(hub.requests)
    show(lambda:api.create_tag("tester/new",tag="t"))
    show(lambda:H.resolve_directory("tester/new",required=["README.md"],revision="t"))
    hub.stop()
    show(lambda:H.resolve_model("o/m"))
    show(lambda:H.resolve_model("o/m",cache_dir=tmp_path/"q"))
    for x in ("./x","/abs/x","~/x","some/dir/","a\\b","x/weights.pt","bare",""," ","a/b/c","C:\\x", "pecmae-gtzan-10","encodecmae-diffusion-4s",None):
        show(lambda:H.resolve_model(x))
