"""Recipes: what ships is whole and honest, what is wrong is said, and every ablation differs where it should."""

from pathlib import Path

import pytest
import torch
import yaml
from drawn_supply import TRAIN, Squares, small_recipe

from steervit.processes import Processes
from steervit.training import recipe as recipes
from steervit.training.build import config_of, count_model, new_model, prepare_model
from steervit.training.data.supply import MixtureSupply
from steervit.training.dry_run import parameter_counts, step_flops
from steervit.training.loop import Trainer
from steervit.training.recipe import HEADER, load

NAMES = sorted(path.stem for path in TRAIN.glob("*.yaml"))
ABLATIONS = [name for name in NAMES if name.startswith("ablation-")]
CPU = Processes()


# What ships --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_recipe_heads_itself_and_comes_back_from_its_own_text(name, tmp_path):
    written = yaml.safe_load((TRAIN / f"{name}.yaml").read_text())
    assert list(written)[: len(HEADER)] == ["about", "command", "hardware", "duration"] + (
        ["hours"] if "hours" in written else ["score"]
    )
    assert all(written[key] for key in HEADER)
    assert f"train {name}" in written["command"]
    made = load(name, TRAIN)
    (tmp_path / "again.yaml").write_text(made.to_yaml())
    assert load(str(tmp_path / "again.yaml")) == made


def test_every_wanted_recipe_is_there_and_none_is_called_like_a_command():
    trunks = {"dinov2-base", "dinov2-base-released", "dinov2-small", "dinov2-large"}
    trunks |= {"siglip-base", "siglip2-base", "mae-base"}
    wanted = {f"steervit-{trunk}" for trunk in trunks} | {
        "nano",
        "nano-words",
        "nano-eyes",
        "nano-surfaces",
        "smoke",
    }
    parts = ("gated-ffn", "ungated", "linear-projector", "late-fusion", "pointing", "roberta-base")
    wanted |= {f"ablation-{part}" for part in (*parts, "data-25", "data-50", "data-100")}
    assert set(NAMES) == wanted
    assert not {"run", "list", "plot", "masks"} & set(NAMES)


def test_paper_and_released_schedule_are_those_of_the_sources():
    paper, released = (
        load("steervit-dinov2-base", TRAIN).train,
        load("steervit-dinov2-base-released", TRAIN).train,
    )
    assert (paper.steps, paper.batch) == (500_000, 12)
    assert paper.schedule == recipes.Schedule(3e-4, 3e-5, 5_000, 40_000)
    assert (released.steps, released.batch) == (500_000, 4 * 12)
    assert released.schedule == recipes.Schedule(6e-4, 6e-5, 0, 25_000)
    for one in (paper, released):
        assert (one.connector_weight_decay, one.weight_decay, one.clip, one.seed) == (0.01, 0.1, 1.0, 42)
        assert one.validate_every == 3_600


@pytest.mark.parametrize("name", ["nano-surfaces"])
def test_a_model_of_the_last_recipe_is_inspected_with_as_the_one_that_ships(name, tmp_path):
    from anomaly.decision.threshold import read_defaults
    from steervit.weights.catalogue import NANO

    content = load(name, TRAIN).export.files["inspection.yaml"]
    (tmp_path / "inspection.yaml").write_text(yaml.safe_dump(content))
    assert read_defaults(tmp_path) == (read_defaults(NANO)[0], None)


# Sizes of the real thing -------------------------------------------------------------------------------

SIX, FFN = 21_242_886, 35_407_884  # the paper's 21.2M and 35.4M


def sizes(name):
    return parameter_counts(count_model(load(name, TRAIN)))


def test_parameter_counts_of_the_shipped_recipes():
    base = sizes("steervit-dinov2-base")
    assert base["cross-attention"] == SIX
    assert base["connector"] == 1024 * 1024 + 1024 + 1024 * 768 + 768
    assert base["head"] == 769
    assert base["text encoder"] == 354_310_144
    assert sizes("ablation-gated-ffn")["cross-attention"] == FFN
    assert sizes("ablation-ungated")["cross-attention"] == SIX - 6
    assert sizes("ablation-linear-projector")["connector"] == 1024 * 768 + 768
    assert sizes("ablation-late-fusion")["cross-attention"] == SIX // 6
    assert sizes("ablation-roberta-base")["connector"] == 768 * 768 + 768 + 768 * 768 + 768
    assert sizes("ablation-roberta-base")["text encoder"] < 0.4 * base["text encoder"]
    for same in ("ablation-pointing", "ablation-data-25", "steervit-mae-base", "steervit-siglip2-base"):
        assert sizes(same)["cross-attention"] == SIX


@pytest.mark.parametrize(("name", "megabytes"), [("small", 48.28), ("base", 92.35), ("large", 235.03)])
def test_what_learns_is_as_large_as_the_published_checkpoints(name, megabytes):
    model = count_model(load(f"steervit-dinov2-{name}", TRAIN))
    counts = parameter_counts(model)
    learned = counts["cross-attention"] + counts["connector"] + counts["head"]
    assert learned * 4 / 1e6 == pytest.approx(megabytes, rel=0.001)


def test_late_fusion_and_frozen_blocks_cost_less():
    cost = {name: step_flops(count_model(load(name, TRAIN)), 12, "steering")
            for name in ("steervit-dinov2-base", "ablation-late-fusion", "ablation-gated-ffn")}  # fmt: skip
    assert cost["ablation-late-fusion"] < 0.6 * cost["steervit-dinov2-base"] < cost["ablation-gated-ffn"]
    assert 2e12 < cost["steervit-dinov2-base"] < 4e12


# Every ablation, tiny ------------------------------------------------------------------------------------

EXTRA = {"ablation-late-fusion": ["model.cross_attn_layers=[4]"]}


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_ablation_trains_and_differs_from_the_base_where_it_should(name, tmp_path):
    base = small_recipe()
    made = small_recipe(name, *EXTRA.get(name, []))
    supply = Squares()
    model = prepare_model(made, tmp_path, supply.expressions)
    counts, before = parameter_counts(model), parameter_counts(new_model(base, model.text_encoder))
    gates = [key for key in model.state_dict() if "gate" in key]
    outcome = Trainer(made, model, supply, tmp_path, CPU, None, lambda text: None).run()
    assert outcome.step == 5
    larger = {key for key in counts if counts[key] > before[key]}
    smaller = {key for key in counts if counts[key] < before[key]}
    expected = {
        "ablation-gated-ffn": ({"cross-attention"}, set(), 4),
        "ablation-ungated": (set(), {"cross-attention"}, 0),
        "ablation-linear-projector": (set(), {"connector"}, 2),
        "ablation-late-fusion": (set(), {"cross-attention"}, 1),
    }.get(name, (set(), set(), 2))
    assert (larger, smaller, len(gates)) == expected
    assert (config_of(made) != config_of(base)) or name.startswith(("ablation-data", "ablation-pointing"))


def mixture(expressions=40):
    import numpy as np

    from steervit.training.data.mixture import Mixture, Source
    from steervit.training.data.records import Record
    from steervit.training.masks.run_length import Box

    class Plain:
        def load(self):
            return np.full((48, 64, 3), 128, np.uint8)

    listed = [Record(Plain(), f"thing {i}", Box(8, 8, 24, 16), "drawn", str(i)) for i in range(expressions)]
    return lambda made: Mixture(
        [Source("drawn", listed)], made.train.batch, made.train.seed, made.data.fraction
    )


def test_the_pointing_target_is_another_target_for_the_same_mask(tmp_path):
    found = []
    for name in ("steervit-dinov2-base", "ablation-pointing"):
        made = small_recipe(name, "data.augment=false")
        drawn = mixture()(made)
        supply = MixtureSupply(made.data, drawn, drawn, prepare_model(made, tmp_path, iter), 4)
        found.append(supply.training(0, 0))
    assert found[0].target.shape == found[1].target.shape == (16,)
    assert torch.equal(found[0].covered, found[1].covered)
    assert torch.equal(found[0].target, found[0].covered)
    assert (found[1].target > 0).all()
    assert found[1].target.argmax() in found[1].covered.nonzero()


@pytest.mark.parametrize(("name", "share"), [("data-25", 0.25), ("data-50", 0.5), ("data-100", 1.0)])
def test_a_share_of_the_data_is_a_share(name, share):
    made = load(f"ablation-{name}", TRAIN)
    drawn = mixture()(made)
    assert len(drawn) == 40 * share
    seen = {drawn.sample(step, slot).image_id for step in range(10) for slot in range(12)}
    assert len(seen) == 40 * share


# Reading -------------------------------------------------------------------------------------------------


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


def test_a_recipe_states_only_its_difference(tmp_path):
    folder = write(
        tmp_path,
        base="score: high\ntrain: {steps: 7, batch: 2}\ndata: {sources: {a: {weight: 1}, b: {weight: 2}}}",
        mine="extends: base\ntrain: {batch: 4}\ndata: {sources: {b: null}}",
        third="extends: mine\ntrain: {steps: 9}",
    )
    mine = load("mine", folder)
    assert (mine.train.steps, mine.train.batch, mine.name) == (7, 4, "mine")
    assert mine.score == ""  # another's score is not its own
    assert mine.data.sources == {"a": {"weight": 1}}
    assert (load("third", folder).train.steps, load("third", folder).train.batch) == (9, 4)
    assert load(str(folder / "third.yaml")) == load("third", folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trian: {steps: 1}", r"unknown key 'trian'.*did you mean train"),
        ("train: {stpes: 1}", r"unknown key 'train.stpes'.*did you mean steps"),
        ("train: {schedule: {peek: 1}}", r"'train.schedule.peek'.*did you mean peak"),
        ("train: {steps: many}", "train.steps to be a whole number, got 'many'"),
        ("train: {steps: 1.5}", "train.steps to be a whole number"),
        ("train: {clip: yes}", "train.clip to be a number, got True"),
        ("model: {gated: 1}", "model.gated to be true or false, got 1"),
        ("model: {connector: mlpp}", "model.connector to be one of mlp, linear, got 'mlpp'"),
        ("model: {cross_attn_layers: 3}", "cross_attn_layers to be a list"),
        ("model: {cross_attn_layers: [1, x]}", r"cross_attn_layers\[1\] to be a whole number"),
        ("train: 5", "train to be a table"),
        ("train: {steps: 0}", "train.steps to be at least 1, got 0"),
        ("train: {averaging: 1}", "train.averaging to be below 1, got 1"),
        ("data: {windows: {at_defects: -0.5}}", "data.windows.at_defects to be at least 0, got -0.5"),
        (
            "export: {files: {../x.yaml: {a: 1}}}",
            r"names such as notes.yaml under export.files, got '../x.yaml'",
        ),
        ("export: {files: {recipe.yaml: {a: 1}}}", "under export.files, got 'recipe.yaml'"),
        ("export: {files: {x.yaml: 3}}", r"export.files.x.yaml to be a table of keys, got 3"),
        ("data: {sources: [a]}", "data.sources to be a table"),
        ("- a\n- b", "expected keys and values, found a list"),
        ("a: [", "not readable YAML"),
        ("extends: bsae", "no recipe called 'bsae', did you mean base"),
        ("extends: mine", "circle: mine -> mine"),
    ],
)
def test_mistakes_are_named(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        load("mine", write(tmp_path, base="about: x", mine=text))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("train.steps=12", lambda r: r.train.steps == 12),
        ("train.schedule.peak=1e-3", lambda r: r.train.schedule.peak == 0.001),
        ("train.steps=1e3", lambda r: r.train.steps == 1000),
        ("model.gated=false", lambda r: r.model.gated is False),
        ("model.cross_attn_layers=[0, 2]", lambda r: r.model.cross_attn_layers == (0, 2)),
        (
            "data.sources.prepared.coco=/data/my coco",
            lambda r: r.data.sources["prepared"]["coco"] == "/data/my coco",
        ),
        ("data.sources={rendered: {}}", lambda r: r.data.sources == {"rendered": {}}),
    ],
)
def test_settings_are_typed(setting, value):
    assert value(load("steervit-dinov2-base", TRAIN, [setting]))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.stps=1", "did you mean steps"),
        ("train.steps", "expected a setting key=value"),
        ("train.steps=x", "a whole number"),
        ("train.steps.more=1", "'steps' is a value"),
        ("train.steps=[", "not readable YAML"),
    ],
)
def test_wrong_settings_are_named(setting, message):
    with pytest.raises(ValueError, match=message):
        load("steervit-dinov2-base", TRAIN, [setting])


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean smoke"):
        load("smok", TRAIN)
