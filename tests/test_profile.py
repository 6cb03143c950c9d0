"""Profiles: what goes in comes out, profiles are joined as they may be, and no other file is believed."""

import hashlib
import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from anomaly.decision.calibration import Calibration
from anomaly.decision.gate import Look, learn
from anomaly.decision.profile import Profile, Provenance, extend, merge
from anomaly.decision.profile_file import ProfileError, _checksum, load, save
from anomaly.decision.promise import Scoring, TooFewParts, promised
from anomaly.errors import SteerAnomalyError


def digests(n, start=0):
    return tuple(hashlib.sha256(str(i).encode()).hexdigest() for i in range(start, start + n))


def looks(n, start=0):
    return tuple(Look(0.4 + 0.001 * i, 0.2, 0.3, 0.0, 0.0, 640.0, 1.5, 1.0) for i in range(start, start + n))


def made(n=20, start=0, *, target=0.2, scoring=None, **changes):
    scoring = scoring or Scoring()
    scores = np.random.default_rng(start).random(n)
    values = {
        "object": "bottle",
        "model": "nano",
        "hashes": {"model.safetensors": digests(1, 900)[0]},
        "prompts": ("the crack in the {object}", "rust and/or dirt"),
        "settings": {
            "omega": 1.0,
            "scales": "1,2",
            "image_size": [256, 256],
            "contrast": [],
            "company": None,
        },
        "settings_hash": "ab" * 32,
        "calibration": Calibration(tuple(scores), tuple(scores + 1), tuple(range(n)), scoring),
        "promise": promised(n, target, 0.95, scoring),
        "provenance": Provenance("2026-01-02T03:04:05+00:00", "0.1.0", digests(3, 500), digests(n, start)),
        "looks": looks(n, start),
        "gate": learn(looks(n, start)),
        "references": {
            "bank": np.arange(12, dtype=np.float16).reshape(3, 4),
            "rows": np.array([0, 1, 2], np.int64),
        },
    }
    return Profile(**values | changes)


def same(a, b):
    assert {
        name: value
        for name, value in vars(a).items()
        if name not in ("references", "threshold", "mask_level")
    } == {
        name: value
        for name, value in vars(b).items()
        if name not in ("references", "threshold", "mask_level")
    }
    assert set(a.references) == set(b.references)
    for name in a.references:
        assert a.references[name].dtype == b.references[name].dtype
        assert np.array_equal(a.references[name], b.references[name])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "bottle.profile"


def rewritten(path, change=lambda content: None, *, checked=True, tensors=None, **metadata):
    """Change the JSON in a saved profile; `checked` forges the checksum too."""
    with safe_open(path, framework="np") as file:
        known = file.metadata()
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    content = json.loads(known["profile"])
    change(content)
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    arrays = arrays if tensors is None else tensors
    checksum = _checksum(text, arrays) if checked else known["checksum"]
    save_file(arrays, path, {"profile": text, "checksum": checksum} | metadata)


def test_what_is_saved_is_read(path):
    for profile in (
        made(),
        made(references={}, looks=(), gate=None),
        made(calibration=Calibration(tuple(range(20)))),
        made(scoring=Scoring("cross-fitted", folds=5)),
        made(object="Flasche, grün"),
    ):
        save(profile, path)
        same(load(path), profile)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_the_threshold_is_the_promises():
    profile = made(100, target=0.05)
    assert profile.promise.rank == 2
    assert profile.threshold == sorted(profile.calibration.scores)[-2]
    assert profile.mask_level == pytest.approx(profile.threshold + 1)
    assert profile.threshold < profile.reached < profile.threshold + 1e-12
    assert made(100).at(0.5).promise.rank > 2
    with pytest.raises(TooFewParts):
        profile.at(0.001)


def test_it_describes_itself():
    words = made().describe()
    for part in ("Profile of: bottle", "Model nano (model.safetensors", "20 pictures of 20 parts (held out)",
                 "bank 3 x 4", "asked: at most 20 %", "with 95 % confidence", "the crack in the {object}"):  # fmt: skip
        assert part in words


def test_what_does_not_belong_together_is_refused():
    for changes, words in (
        ({"looks": looks(3)}, "20 looks, one per calibration score, got 3"),
        ({"provenance": Provenance("now", "0", (), digests(3))}, "20 picture hashes"),
        ({"provenance": Provenance("now", "0", (), ("/home/x.png",) * 20)}, "64 digits in hex"),
        ({"provenance": Provenance("now", "0", digests(1), digests(20))}, "1 that are both"),
        ({"promise": promised(19, None, 0.95)}, "a promise for 20 parts"),
        ({"references": {"bank": np.array([np.nan], np.float32)}}, "finite references"),
        ({"references": {"bank": np.array([1j])}}, "bank of complex128"),
    ):
        with pytest.raises(SteerAnomalyError, match=words):
            made(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "/home/someone/model"},
        {"model": "../model"},
        {"model": "C:\\models\\mine"},
        {"prompts": ("the {object.__class__.__init__}",)},
        {"prompts": ("the {0}",)},
        {"settings": {"where": ["~/x"]}},
        {"settings": {"https://example.org/x": 1}},
        {"object": "bottle\x1b[2J"},
        {"object": "a" * 3000},
    ],
)
def test_paths_and_placeholders_are_neither_written_nor_read(path, changes):
    with pytest.raises(ProfileError, match="holds no paths and no code"):
        save(made(**changes), path)
    assert not path.exists()
    save(made(), path)
    value = next(iter(changes.items()))
    rewritten(path, lambda content: content.update([value]))
    with pytest.raises(ProfileError, match="holds no paths and no code"):
        load(path)


def test_a_model_of_the_hub_is_no_path(path):
    save(made(model="someone/steervit_dinov2-base"), path)
    assert load(path).model == "someone/steervit_dinov2-base"


@pytest.mark.parametrize("kept", [0, 4, 100, 0.5, -1])
def test_truncated_files(path, kept):
    save(made(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept) if isinstance(kept, float) else kept])
    with pytest.raises(ProfileError, match="missing, truncated or of another kind"):
        load(path)


def test_other_files(path, tmp_path):
    for folder_or_nothing in (path, tmp_path):
        with pytest.raises(ProfileError, match="missing, truncated or of another kind"):
            load(folder_or_nothing)
    for start in (pickle.dumps({"a": 1}), b"PK\x03\x04 an archive"):
        path.write_bytes(start)
        with pytest.raises(ProfileError, match="could run code; it was not opened"):
            load(path)
    save_file({"weight": np.ones(3, np.float32)}, path)
    with pytest.raises(ProfileError, match="missing: checksum, profile"):
        load(path)
    save(made(), path)
    rewritten(path, more="1")
    with pytest.raises(ProfileError, match="unknown: more"):
        load(path)


def test_another_version_says_what_to_do(path):
    save(made(), path)
    rewritten(path, lambda content: content.update(version=1), checked=False)
    with pytest.raises(ProfileError, match="version 2, got version 1; use the steer-anomaly that wrote it"):
        load(path)


def test_edits_by_hand_are_found(path):
    save(made(), path)
    rewritten(path, lambda content: content["promise"].update(rank=2), checked=False)
    with pytest.raises(ProfileError, match="edited by hand or damaged"):
        load(path)
    save(made(), path)
    rewritten(path, checked=False, tensors={"bank": np.zeros((3, 4), np.float16), "rows": np.arange(3)})
    with pytest.raises(ProfileError, match="edited by hand or damaged"):
        load(path)
    save(made(), path)
    raw = path.read_bytes()
    path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    with pytest.raises(ProfileError, match="edited by hand or damaged"):
        load(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.update(code="import os"),
        lambda c: c.pop("gate"),
        lambda c: c["calibration"]["scores"].__setitem__(0, float("nan")),
        lambda c: c["calibration"]["scores"].__setitem__(0, float("inf")),
        lambda c: c["calibration"]["scores"].__setitem__(0, "0.5"),
        lambda c: c["calibration"]["scores"].pop(),
        lambda c: c["calibration"].update(more=1),
        lambda c: c["calibration"]["scoring"].update(kind=["held out"]),
        lambda c: c["calibration"]["scoring"].update(kind="perfect"),
        lambda c: c["promise"].update(threshold=0.0),
        lambda c: c["promise"].update(rank=99),
        lambda c: c["promise"].update(rank="1"),
        lambda c: c["promise"].pop("confidence"),
        lambda c: c["promise"].update(bound=0.01),
        lambda c: c["provenance"].update(host="x"),
        lambda c: c["provenance"].update(calibration=[1] * 20),
        lambda c: c["looks"][0].pop("dark"),
        lambda c: c["gate"].update(colour={"low": 0, "high": 1}),
        lambda c: c.update(hashes=["x"]),
        lambda c: c.update(prompts=3),
        lambda c: c.update(object=None),
        lambda c: c.update(settings=[]),
        lambda c: c.update(format="something else"),
    ],
)
def test_a_forged_checksum_does_not_make_a_profile(path, change):
    save(made(), path)
    rewritten(path, change)
    with pytest.raises(ProfileError, match=r"bottle\.profile: "):
        load(path)


def test_a_key_that_is_there_twice(path):
    save(made(), path)
    with safe_open(path, framework="np") as file:
        text = file.metadata()["profile"]
    twice = '{"version": 1, ' + text[1:]
    save_file({}, path, {"profile": twice, "checksum": _checksum(twice, {})})
    with pytest.raises(ProfileError, match="a key that is there twice"):
        load(path)


def test_a_failed_write_leaves_the_old_profile(path):
    save(made(), path)
    before = path.read_bytes()
    with pytest.raises(ProfileError):
        save(made(object="/x"), path)
    assert path.read_bytes() == before


def test_merging_joins_scores_looks_and_the_promise():
    first, second = made(20), made(30, start=20)
    both = merge(first, second)
    assert both.calibration.scores == first.calibration.scores + second.calibration.scores
    assert both.calibration.peaks == first.calibration.peaks + second.calibration.peaks
    assert (both.promise.n, both.calibration.n) == (50, 50)
    assert both.promise == promised(50, 0.2, 0.95)
    assert both.gate == learn(both.looks)
    assert both.provenance.calibration == digests(50)
    assert both.provenance.references == first.provenance.references


def test_a_picture_in_both_counts_once():
    both = merge(made(20), made(20))
    assert both.calibration.scores == made(20).calibration.scores
    assert both.promise.n == 20


def test_profiles_that_cannot_be_merged():
    first = made()
    for changes, words in (
        ({"object": "can"}, "the same object, got bottle and can"),
        ({"hashes": {"model.safetensors": digests(1)[0]}}, "the same model's files"),
        ({"settings_hash": "cd" * 32}, "the same settings"),
        ({"references": {}}, "the same references"),
        ({"target": 0.3}, "the same false-alarm rate"),
        ({"scoring": Scoring("same batches", batch=8)}, "the same way of scoring"),
    ):
        with pytest.raises(SteerAnomalyError, match=words):
            merge(first, made(start=100, **changes))
    other = made()
    shifted = replace(
        other, calibration=replace(other.calibration, scores=(9.0, *other.calibration.scores[1:]))
    )
    with pytest.raises(SteerAnomalyError, match="of the picture 5feceb66, as before, got 9"):
        merge(first, shifted)


def test_extending_with_new_pictures(path):
    more = Calibration((0.5, 0.6, 0.7, 0.7), (1.5, 1.6, 1.7, 1.7), (4, 4, 8, 9))
    pictures = (*digests(3, 100), digests(3, 100)[2])
    longer = extend(made(), more, pictures, looks(4, 100))
    assert longer.calibration.scores[20:] == (0.5, 0.6, 0.7)
    assert (longer.calibration.n, longer.promise.n) == (22, 22)
    assert len(longer.looks) == 23
    save(longer, path)
    same(load(path), longer)


def test_pictures_that_cannot_extend():
    new = Calibration((0.5,), (1.5,))
    for profile, more, pictures, seen, words in (
        (made(), new, digests(2, 100), looks(1), "1 picture hashes"),
        (made(), new, digests(1, 100), (), "1 looks"),
        (made(), Calibration((0.5,)), digests(1, 100), looks(1), "heatmap maxima"),
        (made(), new, digests(1, 500), looks(1), "no references of the profile"),
        (
            made(),
            replace(new, scoring=Scoring("same batches")),
            digests(1, 100),
            looks(1),
            "held out, got such scored",
        ),
        (
            made(scoring=Scoring("cross-fitted", folds=20)),
            new,
            digests(1, 100),
            looks(1),
            "cannot be extended",
        ),
    ):
        with pytest.raises(SteerAnomalyError, match=words):
            extend(profile, more, pictures, seen)
