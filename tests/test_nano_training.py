"""Training nano by the general engine: cached features, windows, averaging, going on, export."""

import numpy as np
import pytest
import torch
from drawn_recipes import TINY_SCENES, TRAIN
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from anomaly.evidence.self_similarity import standard_scores
from steervit import SteerViT
from steervit.nano import windows as scene_supply
from steervit.nano.filters import FEATURES, channels, mirror, oddness
from steervit.nano.hybrid import SEEN
from steervit.nano.scene_cache import CachedScenes, FeatureCache
from steervit.nano.scenes.shards import read_shard
from steervit.nano.scenes.vocabulary import defect_kinds
from steervit.processes import Processes
from steervit.training import run
from steervit.training.data.batches import collate
from steervit.training.data.workers import run_all
from steervit.training.dry_run import dry_run
from steervit.training.logs import read_metrics
from steervit.training.loop import Trainer
from steervit.training.losses import (
    kinds_loss,
    naming_loss,
    overlap_loss,
    presence_loss,
    segmentation_loss,
    shown_loss,
)
from steervit.training.optim import Average, parameter_groups, set_trainable
from steervit.training.recipe import load
from steervit.training.state import load_newest
from steervit.training.step import SteeringStep

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("drawn_once")]


def tiny(*settings, recipe="nano"):
    return load(recipe, TRAIN, [*TINY_SCENES, "train.schedule.warmup=2", *settings])


def prepared(tmp_path, *settings):
    """The model and supply of a tiny nano."""
    return run._on_windows(tiny(*settings), tmp_path, lambda text: None)


def trained(out, *settings, **how):
    return run.train(tiny(*settings), out, device="cpu", say=lambda text: None, **how)


# Cached features ---------------------------------------------------------------------------------------


def test_a_whole_window_gives_the_logits_of_the_image(tmp_path):
    model, supply = prepared(
        tmp_path, "data.windows={side: 99, sentences: 3, feature_dropout: 0.0}", "data.augment=false"
    )
    batch = collate([supply.training(0, slot) for slot in range(2)])
    assert batch.pixels.shape == (2, 64, FEATURES) and len(batch.texts) == 6
    shard = scene_supply.draw_scenes(tiny(), run.default_folder())[0].records[0]
    scenes = list(read_shard(shard))
    numbers = [supply.scenes.locate(0, slot)[1] for slot in range(2)]
    pixels = torch.stack([torch.from_numpy(scenes[n].image).permute(2, 0, 1) / 255 for n in numbers])
    ids = model.text_encoder.tokenizer(batch.texts, padding=True, return_tensors="pt")
    step = SteeringStep(model)
    logits = step(batch.pixels, ids["input_ids"], ids["attention_mask"].bool(), batch.patches).logits
    expected = model(pixels.repeat_interleave(3, 0), batch.texts, return_segmentation_logits=True)
    assert expected.std() > 0.01
    assert (logits - expected).abs().max() < 2e-2  # features are kept in float16
    for text, target, scene in zip(
        batch.texts, batch.targets, [n for n in numbers for _ in "abc"], strict=True
    ):
        mask = next(one.mask for one in scenes[scene].sentences if one.text == text)
        assert target.sum().item() * 64 == pytest.approx(mask.sum(), rel=0.05, abs=2)


def test_windows_are_cut_alike_and_the_first_sentence_asks_for_everything(tmp_path):
    _, supply = prepared(tmp_path, "data.windows={side: 3, sentences: 2, feature_dropout: 0.0}")
    kinds = {}
    for number in range(len(supply.scenes)):
        place = divmod(number, 4)
        window, again = supply.training(*place), supply.training(*place)
        assert all(torch.equal(a, b) for a, b in zip(window[:3], again[:3], strict=True))
        source, index = supply.scenes.locate(*place)
        scenes = supply.scenes.sources[source].records
        said = {one.text: one for one in scenes.sentences(index)}
        assert said[window.texts[0]].kind == "all"
        whole = scenes.features(index).flatten(0, 1)[window.patches]
        target = scenes.target(index, said[window.texts[1]]).flatten()[window.patches]
        axes = [
            axes
            for axes in ([], [0], [1], [0, 1])
            if torch.equal(mirror(whole.view(3, 3, -1), axes).flatten(0, 1), window.features)
        ]
        assert len(axes) == 1
        assert torch.equal(target.view(3, 3).flip(axes[0]).flatten(), window.targets[1])
        kinds.setdefault(bool(axes[0]), set()).add(said[window.texts[1]].kind)
    assert "position" not in kinds[True]


def test_patches_are_told_the_one_kind_they_show(tmp_path):
    _, supply = prepared(tmp_path, "data.windows={side: 8, sentences: 6}", "data.augment=false")
    seen, kind_names = set(), [*defect_kinds(), ""]
    for number in range(12):
        window, (_, index) = supply.training(*divmod(number, 4)), supply.scenes.locate(*divmod(number, 4))
        records = supply.scenes.sources[0].records
        covered = {s.names: records.target(index, s).flatten() for s in records.sentences(index) if s.names}
        said = {one.text: one.names for one in records.sentences(index)}
        assert [kind_names[number] for number in window.named] == [said[text] for text in window.texts]
        for patch, kind in enumerate(window.kinds.tolist()):
            there = {name for name, fractions in covered.items() if fractions[patch] > 0.1}
            clear = {name for name in there if covered[name][patch] > 0.3}
            assert kind == (defect_kinds().index(*clear) if clear and len(there) == 1 else -1)
            seen.add(kind)
    assert -1 in seen and len(seen) > 3


def test_kinds_are_learned_from_patches_sentences_and_both(tmp_path):
    recipe = tiny("train.kinds=2", "train.presence=4", "model.fusion=late", "model.cross_attn_layers=[3]")
    model, supply = run._on_windows(recipe, tmp_path, lambda text: None)
    made = Trainer(recipe, model, supply, tmp_path, Processes())
    batch = collate([supply.training(0, slot) for slot in range(4)])
    output = made.forward.output(batch)
    logits = output.logits.unflatten(0, (4, -1))
    assert output.kinds.shape == (4, 36, supply.kinds)
    assert output.named.shape == (*batch.named.shape, supply.kinds)
    told = [kinds_loss(output.kinds, batch.kinds), kinds_loss(output.named, batch.named),
            naming_loss(logits, batch.kinds, batch.named)]  # fmt: skip
    assert all(part > 0 for part in told)
    plain = segmentation_loss(output.logits, batch.targets) + 4 * presence_loss(output.logits, batch.targets)
    assert made.forward.loss(output, batch, batch.targets).item() == pytest.approx(
        (plain + 2 * sum(told)).item()
    )


def test_silenced_features_take_their_mean(tmp_path):
    model, supply = prepared(tmp_path, "data.windows={side: 4, sentences: 1, feature_dropout: 0.5}")
    window = supply.training(0, 0)
    silent = (window.features == model.trunk.patch_embed.mean).all(0)
    by_channel = channels().bincount(silent.float()) / channels().bincount()
    assert set(by_channel.tolist()) == {0.0, 1.0}  # all cells of a channel are silent, or none
    assert 30 < by_channel.sum() < 70


def test_scenes_whose_defects_are_too_well_hidden_are_left_out(tmp_path):
    _, supply = prepared(tmp_path, "data.windows.salience=0.0")
    everything = supply.scenes.sources[0].records
    _, supply = prepared(tmp_path, "data.windows.salience=0.8")
    chosen = supply.scenes.sources[0].records
    assert 0 < len(chosen) < len(everything)
    judged = [_rank(everything, i) for i in range(len(everything))]
    expected = [value for value in judged if not value < 0.8]
    assert [_rank(chosen, i) for i in range(len(chosen))] == pytest.approx(expected, nan_ok=True)
    assert any(np.isnan(expected)) and not all(np.isnan(expected))
    ((path, _),) = everything._files
    before = path.read_bytes()
    with safe_open(path, "pt") as file:
        said = file.metadata()
    save_file(load_file(path) | {"salience": torch.full((12,), 0.7)}, path, said)
    with pytest.raises(ValueError, match="found none"):
        prepared(tmp_path, "data.windows.salience=0.8")
    path.write_bytes(before)


def _rank(scenes, index):
    """The chance that a patch with a defect is odder than one without, ties counting half; NaN without both."""
    odd = standard_scores(oddness(scenes.features(index).flatten(0, 1)))
    covered = scenes.target(index, scenes.sentences(index)[0]).flatten() > 0.15
    pairs = odd[covered][:, None] - odd[~covered][None]
    wide = covered.float().mean() > 0.1  # such defects are never too well hidden
    if wide or not pairs.numel():
        return float("nan")
    return ((pairs > 0).float() + 0.5 * (pairs == 0)).mean().item()


def test_patches_at_the_border_are_learned_as_well(tmp_path):
    _, supply = prepared(tmp_path, "data.windows={side: 4, sentences: 1}")
    drawn = torch.zeros(64)
    for number in range(120):
        drawn[supply.training(*divmod(number, 4)).patches] += 1
    corners, middle = drawn.view(8, 8)[::7, ::7].mean(), drawn.view(8, 8)[3:5, 3:5].mean()
    assert corners > 0.12 * middle  # starts drawn evenly would give 0.04 / 0.64


def test_windows_are_laid_where_a_defect_is(tmp_path):
    _, anywhere = prepared(tmp_path, "data.windows={side: 2, sentences: 1}")
    _, there = prepared(tmp_path, "data.windows={side: 2, sentences: 1, at_defects: 0.99}")
    places = [divmod(number, 4) for number in range(60)]
    seen = [np.mean([bool(supply.training(*place).targets[0].max() > 0.3) for place in places])
            for supply in (anywhere, there)]  # fmt: skip
    assert seen[0] < 0.4 and seen[1] > seen[0] + 0.2
    once, again = there.training(0, 0), there.training(0, 0)
    assert torch.equal(once.targets, again.targets)


def test_features_are_computed_again_only_where_they_are_stale_or_missing(tmp_path):
    model, _ = prepared(tmp_path)
    index = run.default_folder()
    shards = scene_supply.draw_scenes(tiny("data.sources.rendered.scenes=110"), index)[0].records
    assert len(shards) == 2
    cache = FeatureCache(model.trunk.patch_embed, 64, tmp_path / "features")
    scenes = CachedScenes(cache, shards)
    assert len(scenes) == 110
    written = {shard: cache.file(shard).stat().st_mtime_ns for shard in shards}
    cache.file(shards[1]).write_bytes(cache.file(shards[1]).read_bytes()[:1000])
    assert [cache.holds(shard) for shard in shards] == [True, False]
    CachedScenes(cache, shards)
    assert cache.file(shards[0]).stat().st_mtime_ns == written[shards[0]]
    assert cache.holds(shards[1])

    class Other(type(model.trunk.patch_embed)):
        def features(self, images):
            return super().features(images) * 1.1

    other = Other(64, 8, embed_dim=16)
    assert not FeatureCache(other, 64, tmp_path / "features").holds(shards[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["data.sources={squares: {kind: lvis, root: x}}"], "'squares': data.windows trains on rendered"),
        (["data.sources.rendered.sizes=3"], "did you mean size"),
        (["train.averaging=1.5"], "train.averaging to be below 1"),
        (["train.kinds=1", "model.fusion=early", "model.cross_attn_layers=[1]"], "needs model.fusion: late"),
    ],
)
def test_mistakes_are_named(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        trained(tmp_path / "run", *settings)


def test_a_trunk_without_fixed_filters_is_refused(tmp_path):
    model, _ = prepared(tmp_path)
    model.trunk.patch_embed = nn.Identity()
    with pytest.raises(ValueError, match=r"set model\.trunk to steervit_nano"):
        scene_supply.read_scenes(tiny(), [], model, tmp_path)


# Averaging, going on, export ---------------------------------------------------------------------------


def test_the_average_is_an_exponential_one(tmp_path):
    model, _ = prepared(tmp_path)
    set_trainable(model, "all")
    average, expected = Average(model, 0.75), None
    for value in (1.0, 5.0, 2.0):
        with torch.no_grad():
            model.head.bias.fill_(value)
        average.update()
        expected = value if expected is None else 0.75 * expected + 0.25 * value
    assert average.model.head.bias.item() == pytest.approx(expected)
    assert model.head.bias.item() == 2.0


@pytest.mark.parametrize("kinds", [0, 2])
def test_training_goes_on_bit_for_bit(tmp_path, kinds):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    late = (f"train.kinds={kinds}", "model.fusion=late", "model.cross_attn_layers=[3]") if kinds else ()
    trained(whole, "train.steps=6", *late)
    trained(cut, "train.steps=4", *late)
    trained(cut, "train.steps=6", *late, resume=True)
    numbers = [[line.get("loss") for line in read_metrics(out) if "loss" in line] for out in (whole, cut)]
    assert numbers[0] == numbers[1] and len(numbers[0]) == 6
    a, b = (load_newest(out / "state") for out in (whole, cut))
    assert bool(a["kinds"]) == bool(kinds)
    for part in ("learned", "average", "buffers", *["kinds"] * bool(kinds)):
        assert a[part] and all(torch.equal(tensor, b[part][name]) for name, tensor in a[part].items()), part
    assert not torch.equal(a["learned"]["head.weight"], a["average"]["head.weight"])


def test_eyes_are_given_to_a_trained_nano_and_only_steering_and_trunk_learn(tmp_path):
    trained(tmp_path / "words")
    start = tmp_path / "words" / "last"
    sources = "{good: {kind: rendered, good: true, size: 64, scenes: 4, stored: true}, " \
        "patched: {kind: rendered, patched: true, size: 64, scenes: 8, stored: true}}"  # fmt: skip
    settings = (f"data.sources={sources}", "data.windows.side=8", f"model.start={start}", "train.shown=0.5",
                "model.trunk=steervit_nano_hybrid", "train.trainable=steering+trunk", "train.presence=4")  # fmt: skip
    model, supply = prepared(tmp_path, *settings)
    blind, images = SteerViT.from_pretrained(start), torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(
            model.trunk(images), blind.trunk(images), atol=1e-4
        )  # what it sees has no say yet
    assert not (model.trunk.patch_embed.seen_std == 1).any()
    assert torch.equal(model.trunk.patch_embed.std, blind.trunk.patch_embed.std)
    assert {len(supply.training(0, slot).features[0]) for slot in range(4)} == {FEATURES + SEEN}
    trained(tmp_path / "eyes", *settings)
    made = SteerViT.from_pretrained(tmp_path / "eyes" / "last")
    learned = {name for name, one in made.state_dict().items()
               if not torch.allclose(one, model.state_dict()[name], atol=1e-3)}  # fmt: skip
    assert any(name.startswith("trunk.patch_embed.look.") for name in learned)
    assert not any(".eyes." in name or name.startswith("text_encoder.") for name in learned)


def test_the_exported_model_is_the_average_in_half_precision(tmp_path):
    trained(tmp_path / "run")
    last = tmp_path / "run" / "last"
    kept = load_newest(tmp_path / "run" / "state")["average"]
    assert {tensor.dtype for tensor in load_file(last / "trunk.safetensors").values()} == {torch.float16}
    model = SteerViT.from_pretrained(last)
    for name, tensor in kept.items():
        assert torch.allclose(model.state_dict()[name], tensor, atol=1e-3, rtol=1e-3), name
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.isfinite(model.get_heatmaps(image, ["the crack"])).all()


def test_dry_runs_draw_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    said = dry_run(tiny(), "cpu")
    assert "rendered: 12 scenes, 100.0% of the draws, 1 for validation" in said
    assert not list(tmp_path.rglob("*.npz"))


class Write:
    def __init__(self, folder):
        self.folder = folder

    def __call__(self, number):
        if number == 3:
            raise ValueError("three")
        (self.folder / str(number)).write_text("")


def test_several_processes_share_the_work_and_tell_what_went_wrong(tmp_path):
    run_all(Write(tmp_path), range(3), 2, "writing")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2"]
    with pytest.raises(ValueError, match="three"):
        run_all(Write(tmp_path), [3, 4], 1, "writing")


# Going on from a trained model ---------------------------------------------------------------------------


def test_training_can_start_from_a_trained_model(tmp_path):
    trained(tmp_path / "first", "export.precision=fp32")
    start = tmp_path / "first" / "last"
    model, _ = prepared(tmp_path, f"model.start={start}")
    saved = SteerViT.from_pretrained(start)
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in saved.state_dict().items())
    trained(tmp_path / "second", f"model.start={start}")
    found = [
        [line["validation"]["all"] for line in read_metrics(tmp_path / one) if "validation" in line]
        for one in ("first", "second")
    ]
    assert found[1][0] == pytest.approx(found[0][-1], abs=1e-3)
    with pytest.raises(ValueError, match="cross_attn_layers"):
        prepared(tmp_path, f"model.start={start}", "model.cross_attn_layers=[0, 2]")


def test_the_overlap_loss_counts_a_thin_mask_as_much_as_a_wide_one():
    logits = torch.tensor([[0.0, 0.0, -50.0, -50.0], [50.0, 50.0, 50.0, 50.0], [0.0, 0.0, 0.0, 0.0]])
    covered = torch.tensor([[0.125, 0.0, 0.0, 0.0], [0.25, 0.5, 1.0, 0.3], [0.0, 0.0, 0.0, 0.0]])
    by_hand = ((1 - 2 * 0.25 / (1.0 + 0.5)) + 0) / 2  # half found of half there; all of all; nothing to find
    assert overlap_loss(logits, covered).item() == pytest.approx(by_hand, abs=1e-6)
    assert overlap_loss(logits[2:], covered[2:]) == 0
    random = np.random.default_rng(0)
    found, there = random.random((4, 30)), random.random((4, 30))
    expected = np.mean(
        [1 - 2 * (f * t).sum() / (f.sum() + t.sum()) for f, t in zip(found, there, strict=True)]
    )
    logits = torch.tensor(np.log(found / (1 - found)))
    assert overlap_loss(logits, torch.tensor(there) / 4).item() == pytest.approx(expected, abs=1e-5)


def test_the_text_tower_learns_at_its_own_rate(tmp_path):
    recipe = tiny("train.text_rate=0.25", "train.overlap=1", "train.schedule.peak=1e-3")
    model, supply = run._on_windows(recipe, tmp_path, lambda text: None)
    made = Trainer(recipe, model, supply, tmp_path, Processes())
    text = {id(one) for one in model.text_encoder.parameters()}
    shares = {
        id(one): group["share"] for group in parameter_groups(model, recipe.train) for one in group["params"]
    }
    assert all(shares[one] == 0.25 for one in text) and set(shares.values()) == {0.25, 1.0}
    made._update(collate([supply.training(0, slot) for slot in range(4)]), 1e-3)
    rates = {id(one): group["lr"] for group in made.optimiser.param_groups for one in group["params"]}
    assert all(rate == (2.5e-4 if one in text else 1e-3) for one, rate in rates.items())


def test_the_shown_loss_wants_defective_images_above_good_ones():
    logits, covered = torch.full((3, 9), -2.0), torch.zeros(3, 9)
    logits[0, :6], covered[0, 2] = 3.0, 0.5
    covered[2, 0] = 0.2  # neither good nor clearly defective
    soft = lambda x: np.log1p(np.exp(x))  # noqa: E731
    by_hand = (soft(-3) + soft(-2)) / 2 + soft(1 - 5)
    assert shown_loss(logits, covered).item() == pytest.approx(by_hand, abs=1e-5)
    assert shown_loss(logits[:1], covered[:1]) == 0 and shown_loss(logits[1:], covered[1:]) == 0
    random = np.random.default_rng(0)
    logits, covered = random.normal(size=(5, 20)), np.zeros((5, 20))
    covered[:2, 3] = 1
    score = np.sort(logits, 1)[:, -6:].mean(1)
    pairs = np.mean([soft(1 - (bad - good)) for bad in score[:2] for good in score[2:]])
    expected = (soft(-score[:2]).mean() + soft(score[2:]).mean()) / 2 + pairs
    assert shown_loss(torch.tensor(logits), torch.tensor(covered)).item() == pytest.approx(expected, abs=1e-5)
