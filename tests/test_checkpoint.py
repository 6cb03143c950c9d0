"""Checkpoints: the published file is read, ours round-trips bit for bit, and no file ever runs code."""

import builtins
import io
import json
import os
import pickle
import sys
import zipfile
from pathlib import Path
from random import Random

import pytest
import torch

from steervit.weights.checkpoint import (
    Checkpoint,
    CheckpointError,
    read_checkpoint,
    write_pth,
    write_safetensors,
)
from steervit.weights.pickles import plain, resolved

GOLDEN = Path(__file__).parent / "golden"
PUBLISHED = GOLDEN / "steervit" / "steervit.pth"
# Written by OmegaConf 2.3.0 with an AdamW state, a step and a numpy scalar beside the weights.
OMEGACONF = GOLDEN / "omegaconf.pth"


class Call:
    """Pickles as a call of `function(*arguments)`, which an ordinary unpickler carries out."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.fixture
def content():
    return torch.load(PUBLISHED, weights_only=True)


def saved(path: Path, content) -> Path:
    torch.save(content, path)
    return path


def assert_same(one: Checkpoint, other: Checkpoint) -> None:
    assert one.config == other.config
    assert one.state.keys() == other.state.keys()
    for name, tensor in one.state.items():
        assert tensor.dtype == other.state[name].dtype
        assert tensor.shape == other.state[name].shape
        assert tensor.contiguous().view(torch.uint8).equal(other.state[name].contiguous().view(torch.uint8))


def test_published_file_is_read(content):
    checkpoint = read_checkpoint(PUBLISHED)
    assert_same(checkpoint, Checkpoint(content["config"], content["state_dict"]))
    assert checkpoint.config["vision_encoder"]["model_name"] == "test_vit"
    assert checkpoint.layers == [1, 3, 5]
    assert checkpoint.gates[1] == pytest.approx(-1.0701583)
    assert checkpoint.parameters == sum(tensor.numel() for tensor in content["state_dict"].values())


def test_omegaconf_file_is_read_without_omegaconf():
    assert "omegaconf" not in sys.modules
    checkpoint = read_checkpoint(OMEGACONF)
    assert "omegaconf" not in sys.modules
    vision = checkpoint.config["vision_encoder"]
    assert vision["cross_attn_layers"] == [1] and vision["use_ffn"] is False and vision["resolution"] == 160
    assert checkpoint.config["training"] == {
        "lr": 3e-4,
        "resume": None,
        "size": 160,  # written as ${vision_encoder.resolution}
        "home": "${oc.env:HOME}",  # needs a resolver: left as it is written
    }
    json.dumps(checkpoint.config)
    assert checkpoint.layers == [1]


@pytest.mark.parametrize("source", [PUBLISHED, OMEGACONF])
def test_round_trips_are_bit_identical(tmp_path, source):
    first = read_checkpoint(source)
    write_safetensors(tmp_path / "ours", first)
    assert sorted(path.name for path in (tmp_path / "ours").iterdir()) == ["config.json", "model.safetensors"]
    second = read_checkpoint(tmp_path / "ours")
    write_pth(tmp_path / "back.pth", second)
    assert_same(first, second)
    assert_same(first, read_checkpoint(tmp_path / "back.pth"))
    assert_same(first, read_checkpoint(tmp_path / "ours" / "model.safetensors"))
    assert torch.load(tmp_path / "back.pth", weights_only=True).keys() == {"state_dict", "config"}


def test_single_file_and_half_precision(tmp_path):
    first = read_checkpoint(OMEGACONF)
    half = Checkpoint(first.config, {name: tensor.bfloat16() for name, tensor in first.state.items()})
    write_safetensors(tmp_path / "half.safetensors", half)
    assert json.loads((tmp_path / "half.json").read_text())["format_version"] == 1
    assert_same(half, read_checkpoint(tmp_path / "half.safetensors"))


def test_a_checkpoint_can_replace_the_file_it_was_read_from(tmp_path):
    path = write_pth(tmp_path / "model.pth", read_checkpoint(OMEGACONF))
    write_pth(path, read_checkpoint(path))
    folder = write_safetensors(tmp_path, read_checkpoint(path)).parent
    write_safetensors(folder, read_checkpoint(folder))
    assert_same(read_checkpoint(folder), read_checkpoint(OMEGACONF))


def test_wrapped_names_and_foreign_weights(tmp_path, content):
    wrapped = {f"module._orig_mod.{name}": tensor for name, tensor in content["state_dict"].items()}
    wrapped["module.vision_model.trunk.norm.weight"] = torch.ones(3)
    path = saved(tmp_path / "x.pth", {**content, "state_dict": wrapped})
    assert_same(read_checkpoint(path), read_checkpoint(PUBLISHED))


ATTACKS = {
    "os.system": (os.system, "touch {marker}"),
    "eval": (builtins.eval, "open({marker!r}, 'w')"),
    "exec": (builtins.exec, "open({marker!r}, 'w')"),
    "open": (io.open, "{marker}", "w"),
    "getattr": (builtins.getattr, "{marker}", "upper"),
    "pickle.loads": (pickle.loads, b"cos\nsystem\n(S'touch {marker}'\ntR."),
}


@pytest.mark.parametrize("where", ["top", "config", "deep", "state", "training"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path, content, attack, where):
    marker = tmp_path / "it ran".replace(" ", "-")
    function, *arguments = ATTACKS[attack]
    filled = [
        argument.decode().replace("{marker}", str(marker)).encode()
        if isinstance(argument, bytes)
        else argument.format(marker=str(marker))
        for argument in arguments
    ]
    call = Call(function, *filled)
    if where == "top":
        content = call
    elif where == "config":
        content["config"] = call
    elif where == "deep":
        content["config"]["vision_encoder"]["cross_attn_layers"] = [{"a": (call,)}]
    elif where == "state":
        content["state_dict"]["connector.mlp.0.bias"] = call
    else:
        content["optimizer"] = {"state": call}
    path = saved(tmp_path / "evil.pth", content)
    with pytest.raises(CheckpointError, match=rf"not opened: it asks for .*{function.__name__}"):
        read_checkpoint(path)
    assert not marker.exists()


def test_the_attacks_are_real(tmp_path):
    # A witness that the files above are dangerous: an ordinary unpickler does run them.
    marker = tmp_path / "marker"
    pickle.loads(pickle.dumps(Call(os.system, f"touch {marker}")))
    assert marker.exists()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_pickle_protocol_is_refused_alike(tmp_path, protocol):
    marker = tmp_path / "marker"
    torch.save({"x": Call(os.system, f"touch {marker}")}, tmp_path / "x.pth", pickle_protocol=protocol)
    with pytest.raises(CheckpointError, match=r"it asks for (posix|nt)\.system"):
        read_checkpoint(tmp_path / "x.pth")
    assert not marker.exists()


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"cos\nsystem\n(S'touch {marker}'\ntR.", "os.system"),
        (b"(S'touch {marker}'\nios\nsystem\n.", "os.system"),
        (b"\x82\x01.", "registered extension"),
        (b"cbuiltins\neval\nctorch\nFloatStorage\n\x86.", "builtins.eval"),
    ],
)
def test_hand_written_pickles_are_refused(tmp_path, data, named):
    marker = tmp_path / "marker"
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
        archive.writestr("x/data.pkl", data.replace(b"{marker}", str(marker).encode()))
        archive.writestr("x/version", "3\n")
    with pytest.raises(CheckpointError, match=named):
        read_checkpoint(tmp_path / "x.pth")
    assert not marker.exists()


def test_what_other_libraries_allow_is_still_refused(tmp_path, content):
    # torch's own list of safe names is open to every library in the process; ours is not.
    with torch.serialization.safe_globals([Path, type(tmp_path)]):
        path = saved(tmp_path / "x.pth", {**content, "where": tmp_path})
        with pytest.raises(CheckpointError, match=r"PosixPath|WindowsPath"):
            read_checkpoint(path)


def test_the_second_wall_holds_without_the_first(tmp_path, content, monkeypatch):
    # Should a zip be built so that the listing sees another pickle than torch does.
    marker = tmp_path / "marker"
    monkeypatch.setattr("steervit.weights.pickles.refuse_unknown_globals", lambda *_: None)
    for function, *arguments in (
        (os.system, f"touch {marker}"),
        (builtins.eval, f"open({str(marker)!r}, 'w')"),
    ):
        path = saved(tmp_path / "evil.pth", {**content, "config": Call(function, *arguments)})
        with pytest.raises(CheckpointError, match="damaged pickle"):
            read_checkpoint(path)
    assert not marker.exists()


def test_allowed_names_are_only_allowed_while_reading():
    with torch.serialization.safe_globals([dict]):
        before = set(torch.serialization.get_safe_globals())
        read_checkpoint(OMEGACONF)
        assert set(torch.serialization.get_safe_globals()) == before


@pytest.mark.parametrize("keep", [0, 1, 5, 100, 0.5, 0.99])
def test_a_file_cut_short(tmp_path, keep):
    data = PUBLISHED.read_bytes()
    (tmp_path / "cut.pth").write_bytes(data[: keep if isinstance(keep, int) else int(keep * len(data))])
    with pytest.raises(CheckpointError, match="download it again"):
        read_checkpoint(tmp_path / "cut.pth")


@pytest.mark.parametrize("at", [0.3, 0.7])
def test_one_flipped_bit_is_noticed(tmp_path, at):
    for source, target in ((PUBLISHED, tmp_path / "x.pth"), (None, tmp_path / "model.safetensors")):
        if source is None:
            write_safetensors(tmp_path, read_checkpoint(PUBLISHED))
            source = target
        data = bytearray(source.read_bytes())
        data[int(at * len(data))] ^= 4
        target.write_bytes(data)
        with pytest.raises(CheckpointError, match="damaged"):
            read_checkpoint(target)


@pytest.mark.parametrize("seed", range(4))
def test_random_damage_is_refused_or_without_effect(tmp_path, seed):
    # Bytes between the parts of a zip may change without meaning; all other damage is told in one way.
    whole, original, random = OMEGACONF.read_bytes(), read_checkpoint(OMEGACONF), Random(seed)
    refused = 0
    for _ in range(60):
        data = bytearray(whole)
        at = random.randrange(len(data))
        data[at : at + random.choice([0, 1, 1, 40])] = random.randbytes(random.choice([0, 1, 1, 9]))
        (tmp_path / "x.pth").write_bytes(data)
        try:
            assert_same(read_checkpoint(tmp_path / "x.pth"), original)
        except CheckpointError:
            refused += 1
    assert refused > 20


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("x.pth", b"<!DOCTYPE html><html>", "download it again"),
        ("x.pth", b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "git lfs pull"),
        ("x.pth", pickle.dumps({"state_dict": {}}), "before version 1.6"),
        ("x.safetensors", b"\x00" * 40, "download it again"),
    ],
)
def test_files_of_another_kind(tmp_path, name, data, says):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(CheckpointError, match=says):
        read_checkpoint(tmp_path / name)


def test_paths_that_are_no_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected a \.pth"):
        read_checkpoint(tmp_path / "nothing.pth")
    with pytest.raises(CheckpointError, match=r"expected model\.safetensors and config\.json"):
        read_checkpoint(tmp_path)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("photo.png", b"1")
    with pytest.raises(CheckpointError, match=r"expected one data\.pkl"):
        read_checkpoint(tmp_path / "x.zip")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c.pop("state_dict"), "state_dict"),
        (lambda c: c.pop("config"), "expected a 'config'"),
        (lambda c: c["config"].pop("text_encoder"), "text_encoder"),
        (lambda c: c["config"].pop("vision_encoder"), "model_name"),
        (lambda c: c["config"].update(vision_encoder={"model_name": 3}), "model_name"),
        (lambda c: c["state_dict"].pop("lin_seg_head.bias"), r"lacks lin_seg_head\.bias"),
        (
            lambda c: c["state_dict"].pop("vision_model.trunk.blocks.3.gated_cross_attn.attn_gate"),
            r"lacks vision_model\.trunk\.blocks\.3",
        ),
        (lambda c: c.update(state_dict={"fc.weight": torch.ones(2)}), "not a whole SteerViT"),
        (lambda c: c["state_dict"].update({"connector.mlp.9.bias": torch.ones(2)}), "not a name"),
        (lambda c: c["state_dict"].update({"lin_seg_head.bias": 3}), "floating-point tensor"),
        (
            lambda c: c["state_dict"].update({"lin_seg_head.bias": torch.ones(1).int()}),
            "floating-point tensor",
        ),
        (lambda c: c["config"].update(x=torch.ones(2)), r"holds a torch\.Tensor"),
    ],
)
def test_what_is_missing_is_named(tmp_path, content, change, says):
    change(content)
    with pytest.raises(CheckpointError, match=says):
        read_checkpoint(saved(tmp_path / "x.pth", content))


def test_settings_of_our_format(tmp_path):
    write_safetensors(tmp_path, read_checkpoint(OMEGACONF))
    config = json.loads((tmp_path / "config.json").read_text())
    assert list(config)[:2] == ["format_version", "weights_sha256"]
    for text, says in (
        (json.dumps({**config, "format_version": 2}), "update steer-anomaly"),
        (json.dumps({**config, "weights_sha256": "0" * 64}), "does not belong to config.json"),
        ("{", "not readable JSON"),
        ("[]", "expected a JSON object"),
    ):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(CheckpointError, match=says):
            read_checkpoint(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"needs its settings beside it: expected .*config\.json"):
        read_checkpoint(tmp_path)


def test_settings_without_end_are_refused():
    circle: dict = {}
    circle["self"] = circle
    bomb: list = ["x"]
    for _ in range(60):
        bomb = [bomb, bomb]
    for value in (circle, bomb):
        with pytest.raises(CheckpointError, match="contains itself"):
            plain(value)


def test_references_of_omegaconf():
    root = {"a": {"b": 3, "c": "${a.b}", "d": "${a.c}"}, "e": ["${a.d}", "${nowhere}"]}
    assert resolved(root, root) == {"a": {"b": 3, "c": 3, "d": 3}, "e": [3, "${nowhere}"]}
    circle = {"f": "${g}", "g": "${f}"}
    assert resolved(circle, circle)["f"].startswith("${")
