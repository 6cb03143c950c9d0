"""The training engine on a tiny model and drawn squares: what learns, what stays, going on, exporting."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from drawn_supply import Squares, small_recipe

from steervit import SteerViT
from steervit.processes import Processes
from steervit.training import loop as engine
from steervit.training import state
from steervit.training.build import prepare_model
from steervit.training.data.batches import collate
from steervit.training.logs import read_metrics
from steervit.training.loop import Trainer
from steervit.training.losses import presence_loss, segmentation_loss
from steervit.training.optim import learning_rate
from steervit.training.progress import plot_run
from steervit.training.recipe import Schedule, load
from steervit.training.state import NotFinite

pytestmark = pytest.mark.slow

DRIVER = Path(__file__).parent / "training_driver.py"
CPU = Processes()


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def trainer(out, *settings, supply=None, recipe="steervit-dinov2-base", say=lambda text: None, cache=None):
    made = small_recipe(recipe, *settings)
    supply = supply or Squares()
    return Trainer(made, prepare_model(made, out, supply.expressions), supply, out, CPU, cache, say)


def losses(out):
    return {line["step"]: line["loss"] for line in read_metrics(out) if "loss" in line}


# What learns and what does not -------------------------------------------------------------------------


def test_frozen_means_frozen(tmp_path):
    run = trainer(tmp_path, "train.steps=4", "model.gate_init=0.3", "model.head_init_std=0.1")
    before = {name: p.detach().clone() for name, p in run.model.named_parameters()}
    run.run()
    for name, parameter in run.model.named_parameters():
        steering = name.startswith(("cross_attention.", "connector.", "head."))
        assert parameter.requires_grad == steering, name
        assert torch.equal(parameter, before[name]) != steering, name
        assert (parameter.grad is None) != steering, name


def test_trunk_and_text_learn_when_the_recipe_says_so(tmp_path):
    run = trainer(
        tmp_path, "train.trainable=all", "train.presence=4", "model.gate_init=0.3", "model.head_init_std=0.1"
    )
    before = {name: p.detach().clone() for name, p in run.model.named_parameters()}
    run.run()
    for name in (
        "trunk.blocks.0.attn.qkv.weight",
        "text_encoder.model.encoder.layer.0.output.dense.weight",
        "head.bias",
    ):
        assert not torch.equal(dict(run.model.named_parameters())[name], before[name]), name


def test_the_logits_of_training_are_the_models_own(tmp_path):
    run = trainer(tmp_path, "model.gate_init=0.5", "model.head_init_std=0.1")
    batch = collate([run.supply.training(0, slot) for slot in range(3)])
    expected = run.model(batch.pixels, batch.texts, return_segmentation_logits=True)
    assert (run.forward.output(batch).logits - expected).abs().max() < 1e-4  # features are kept in float16
    ids, mask = trainer(tmp_path, "train.trainable=all").forward._text(batch.texts)
    assert (run.forward.module(batch.pixels, ids, mask).logits - expected).abs().max() < 1e-5


@pytest.mark.parametrize("presence", [0, 4])
def test_the_loss_is_the_sum_that_the_recipe_asks_for(tmp_path, presence):
    run = trainer(tmp_path, f"train.presence={presence}", "model.gate_init=0.5", "model.head_init_std=0.1")
    batch = collate([run.supply.training(0, slot) for slot in range(3)])
    output = run.forward.output(batch)
    parts = segmentation_loss(output.logits, batch.targets), presence_loss(output.logits, batch.targets)
    expected = parts[0] + presence * parts[1]
    assert run.forward.loss(output, batch, batch.targets).item() == pytest.approx(expected.item())
    with pytest.raises(ValueError, match=r"train\.kinds needs samples .* set data\.windows"):
        trainer(tmp_path, "train.kinds=1")


def test_no_graph_is_kept_before_the_first_cross_attention(tmp_path):
    batch = collate([Squares().training(0, slot) for slot in range(3)])

    def saved(layers, checkpointed=False):
        run = trainer(
            tmp_path, f"model.cross_attn_layers={layers}", f"train.checkpoint_activations={checkpointed}"
        )
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
            run.forward.output(batch)
        return sum(sizes)

    assert saved([3]) < 0.6 * saved([1])
    assert saved([1], checkpointed=True) < 0.6 * saved([1])


def test_checkpointed_activations_give_the_same_gradients(tmp_path):
    gradients = []
    for checkpointed in (False, True):
        run = trainer(
            tmp_path,
            f"train.checkpoint_activations={checkpointed}",
            "model.gate_init=0.5",
            "model.head_init_std=0.1",
        )
        run._update(collate([run.supply.training(0, slot) for slot in range(4)]), 0.0)
        gradients.append({name: p.grad for name, p in run.model.named_parameters() if p.grad is not None})
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][name], atol=1e-6), name


def test_weight_decay_groups(tmp_path):
    run = trainer(tmp_path)
    decays = {id(p): group["weight_decay"] for group in run.optimiser.param_groups for p in group["params"]}
    for name, parameter in run.model.named_parameters():
        if parameter.requires_grad:
            assert decays[id(parameter)] == (0.01 if name.startswith("connector.") else 0.1), name
    assert len(run.optimiser.param_groups) == 2


# The schedule ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 6e-8),
        (2_499, 1.5e-4),
        (4_999, 3e-4),
        (5_000, 3e-4),
        (22_500, 1.65e-4),
        (40_000, 3e-5),
        (400_000, 3e-5),
    ],
)
def test_the_papers_schedule(step, expected):
    assert learning_rate(step, Schedule()) == pytest.approx(expected)


def test_the_released_schedule_is_torchs_cosine_then_constant():
    schedule = Schedule(peak=6e-4, floor=6e-5, warmup=0, cosine_until=50)
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=6e-4)
    official = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 50, eta_min=6e-5)
    for step in range(51):
        assert learning_rate(step, schedule) == pytest.approx(optimiser.param_groups[0]["lr"])
        optimiser.step()
        official.step()
    assert learning_rate(51, schedule) == learning_rate(10_000, schedule) == 6e-5


# Learning, validation, logs ----------------------------------------------------------------------------

LEARN = (
    "train.trainable=all", "train.steps=60", "train.batch=16", "model.gate_init=0.5", "model.head_init_std=0.02",
    "train.schedule={peak: 0.005, floor: 0.0005, warmup: 10, cosine_until: 60}", "train.log_every=20",
    "train.validate_every=20", "train.save_every=25", "train.pictures=3",
)  # fmt: skip


def test_it_learns_and_writes_what_it_promises(tmp_path):
    words = []
    run = trainer(tmp_path, *LEARN, say=words.append)
    outcome = run.run()
    assert outcome.step == 60
    assert outcome.best > 3 * outcome.first
    assert len(state.checkpoints(tmp_path / "state")) == 2
    lines = read_metrics(tmp_path)
    assert {line["step"] for line in lines if "validation" in line} == {0, 20, 40, 60}
    assert set(lines[0]["validation"]) == {"even", "odd", "all"}
    assert all(
        set(line) == {"step", "loss", "pmass", "lr", "images_per_s"} for line in lines if "loss" in line
    )
    assert plot_run(tmp_path).stat().st_size > 10_000
    assert (tmp_path / "pictures" / "step-00000060.png").stat().st_size > 1_000
    assert SteerViT.from_pretrained(tmp_path / "best").name == "steervit-dinov2-base"


def test_best_and_last_are_kept_apart(tmp_path, monkeypatch):
    values = iter([0.1, 0.9, 0.2])
    monkeypatch.setattr(engine, "validate", lambda *_: {"all": next(values)})
    outcome = trainer(tmp_path, "train.validate_every=2", "train.steps=4").run()
    assert (outcome.best, outcome.last) == (0.9, 0.2)
    best, last = (SteerViT.from_pretrained(tmp_path / name) for name in ("best", "last"))
    assert not torch.equal(best.connector.mlp[0].weight, last.connector.mlp[0].weight)


def test_the_export_loads_back_and_converts_with_identical_outputs(tmp_path):
    from click.testing import CliRunner

    from anomaly.commands.models import models

    run = trainer(tmp_path, "model.gate_init=0.5", "model.head_init_std=0.1")
    run.run()
    pth = tmp_path / "converted" / "model.pth"
    done = CliRunner().invoke(models, ["convert", str(tmp_path / "last"), str(pth)])
    assert done.exit_code == 0, done.output
    last = tmp_path / "last"
    batch = collate([run.supply.validation(index) for index in range(4)])
    run.model.requires_grad_(False)  # another kernel computes attention when gradients are asked for
    expected = run.model(batch.pixels, batch.texts, return_segmentation_logits=True)
    assert expected.abs().max() > 1e-3
    for model in (
        SteerViT.from_pretrained(last),
        SteerViT.from_pretrained(pth, trunk=last / "trunk.safetensors", text_encoder=last / "text"),
    ):
        assert torch.equal(model(batch.pixels, batch.texts, return_segmentation_logits=True), expected)


def test_the_export_brings_the_files_that_the_recipe_names(tmp_path):
    trainer(tmp_path, "export.files={notes.yaml: {smooth: 3.0, scales: '1'}}").run()
    for name in ("best", "last"):
        assert yaml.safe_load((tmp_path / name / "notes.yaml").read_text()) == {"smooth": 3.0, "scales": "1"}
        assert load(str(tmp_path / name / "recipe.yaml")).export.files == {
            "notes.yaml": {"smooth": 3.0, "scales": "1"}
        }


def test_bf16_trains_on_a_cpu(tmp_path):
    outcome = trainer(tmp_path, "train.precision=bf16").run()
    assert outcome.step == 5
    assert all(value == value for value in losses(tmp_path).values())


class Broken(Squares):
    """Its images are no numbers in step 3, the fourth."""

    def training(self, step, slot):
        sample = super().training(step, slot)
        return sample._replace(pixels=sample.pixels * float("nan")) if step == 3 else sample


@pytest.mark.parametrize("also", ["train.log_every=1", "train.log_every=1000", "train.validate_every=1"])
def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_sound_checkpoints(tmp_path, also):
    settings = ["train.steps=9", "train.save_every=1", "train.keep=2", also, "train.averaging=0.9"]
    with pytest.raises(
        NotFinite, match=r"loss is no longer a number at step 4.*last sound .*step-00000003"
    ) as error:
        trainer(tmp_path, *settings, supply=Broken()).run()
    kept = state.checkpoints(tmp_path / "state")
    assert [state._step_of(path) for path in kept] == [3, 2] and error.value.checkpoint == kept[0]
    assert all(
        tensor.isfinite().all() for tensor in state.load_newest(tmp_path / "state")["learned"].values()
    )
    assert not (tmp_path / "last").exists()
    if (tmp_path / "best").exists():
        best = SteerViT.from_pretrained(tmp_path / "best")
        assert all(parameter.isfinite().all() for parameter in best.parameters())


@pytest.mark.parametrize("part", ["weights", "average", "optimiser"])
def test_weights_that_are_no_numbers_are_not_saved_though_the_loss_was_one(tmp_path, part):
    run = trainer(tmp_path, "train.save_every=1", "train.log_every=1000", "train.averaging=0.9")
    update = run._update

    def break_third(batch, rate):
        update(batch, rate)
        if int(run.sums[1]) == 3 * 4:
            where = {"weights": run.model.head.bias, "average": run.kept.head.bias,
                     "optimiser": run.optimiser.state[run.model.head.bias]["exp_avg_sq"]}  # fmt: skip
            where[part].data.fill_(float("inf"))

    run._update = break_third
    with pytest.raises(NotFinite, match=rf"the {part}.* no longer .* at step 3.*step-00000002"):
        run.run()
    assert [state._step_of(path) for path in state.checkpoints(tmp_path / "state")] == [2, 1]


def test_before_the_first_checkpoint_there_is_none_to_name(tmp_path):
    with pytest.raises(NotFinite, match="no checkpoint was written before it"):
        trainer(tmp_path, supply=Broken()).run()
    assert not state.checkpoints(tmp_path / "state")


# Going on ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("learn", ["steering", "steering+text", "all"])
def test_a_run_killed_with_9_goes_on_bit_for_bit(tmp_path, learn):
    settings = [f"train.trainable={learn}", "train.steps=12", "train.save_every=5", "train.log_every=3",
                "model.head_init_std=0.1", "model.gate_init=0.2", "train.validate_every=4"]  # fmt: skip
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    trainer(whole, *settings, cache=tmp_path / "text-a").run()
    killed = subprocess.run(
        [sys.executable, str(DRIVER), str(cut), "--kill-at", "8", *settings], capture_output=True, text=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [state._step_of(path) for path in state.checkpoints(cut / "state")] == [5]
    run = trainer(cut, *settings, cache=tmp_path / "text-b")
    run.run(resume=True)
    plain = [{k: v for k, v in line.items() if k != "images_per_s"} for line in read_metrics(whole)]
    assert plain == [{k: v for k, v in line.items() if k != "images_per_s"} for line in read_metrics(cut)]
    a, b = (state.load_newest(out / "state") for out in (whole, cut))
    assert all(torch.equal(tensor, b["learned"][name]) for name, tensor in a["learned"].items())
    assert torch.equal(a["randomness"]["torch"], b["randomness"]["torch"])


def test_a_broken_last_checkpoint_falls_back_to_the_one_before(tmp_path, caplog):
    settings = ("train.steps=6", "train.save_every=2", "train.keep=3")
    trainer(tmp_path, *settings).run()
    newest, middle, _ = state.checkpoints(tmp_path / "state")
    newest.write_bytes(newest.read_bytes()[:-100])
    flipped = bytearray(middle.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    middle.write_bytes(flipped)
    expected = losses(tmp_path)
    again = trainer(tmp_path, *settings)
    again.run(resume=True)
    assert caplog.text.count("damaged") == 2
    assert losses(tmp_path) == expected


def test_a_full_disk_costs_a_checkpoint_and_not_the_run(tmp_path, caplog, monkeypatch):
    run = trainer(tmp_path, "train.steps=6", "train.save_every=2")
    real, calls = state.write_whole, []

    def full_from_the_second(path, write):
        calls.append(path)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        real(path, write)

    monkeypatch.setattr(state, "write_whole", full_from_the_second)
    assert run.run().step == 6
    assert "No space left on device" in caplog.text
    assert "the one of step 2 stays" in caplog.text
    assert state.load_newest(tmp_path / "state")["step"] == 2


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.schedule.peak=0.1", "train.schedule.peak 0.003, now it is 0.1"),
        ("train.seed=7", "train.seed 42"),
    ],
)
def test_another_recipe_is_refused(tmp_path, setting, message):
    trainer(tmp_path).run()
    with pytest.raises(ValueError, match=message):
        trainer(tmp_path, setting).run(resume=True)


def test_other_frozen_weights_are_refused(tmp_path):
    trainer(tmp_path).run()
    other = trainer(tmp_path)
    with torch.no_grad():
        other.model.trunk.blocks[0].norm1.weight[0] += 1
    again = Trainer(other.recipe, other.model, other.supply, tmp_path, CPU, None, lambda text: None)
    with pytest.raises(ValueError, match="another trunk or text encoder"):
        again.run(resume=True)


def test_more_steps_may_be_asked_for(tmp_path):
    trainer(tmp_path).run()
    assert trainer(tmp_path, "train.steps=8").run(resume=True).step == 8
    assert sorted(losses(tmp_path)) == list(range(1, 9))


def test_nothing_to_go_on_from_is_said(tmp_path):
    with pytest.raises(ValueError, match="nothing to go on from"):
        trainer(tmp_path).run(resume=True)


def test_an_interrupted_run_ends_with_a_checkpoint_of_its_step(tmp_path):
    class Interrupting(Squares):
        def training(self, step, slot):
            if step == 2 and slot == 0:
                os.kill(os.getpid(), signal.SIGINT)
            return super().training(step, slot)

    outcome = trainer(tmp_path, supply=Interrupting()).run()
    assert outcome.interrupted
    assert state.load_newest(tmp_path / "state")["step"] == outcome.step == 3
    assert trainer(tmp_path).run(resume=True).step == 5


def test_workers_do_not_change_what_is_read(tmp_path):
    found = []
    for workers in (0, 2):
        out = tmp_path / str(workers)
        trainer(out, f"data.workers={workers}").run()
        found.append(losses(out))
    assert found[0] == found[1]


def test_randomness_comes_back():
    import random

    import numpy as np

    state.seed_all(3)
    before = state.randomness()
    drawn = [torch.rand(3), torch.from_numpy(np.random.rand(3)), random.random()]
    state.set_randomness(before)
    again = [torch.rand(3), torch.from_numpy(np.random.rand(3)), random.random()]
    assert torch.equal(drawn[0], again[0])
    assert torch.equal(drawn[1], again[1])
    assert drawn[2] == again[2]


def test_metrics_are_json_lines_and_a_torn_last_line_is_passed_over(tmp_path):
    trainer(tmp_path).run()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])["step"] == 0
    assert max(line["step"] for line in read_metrics(tmp_path)) == 5
