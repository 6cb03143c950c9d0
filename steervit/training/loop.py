"""The training loop: the same for one process or many, for the paper's recipe and for nano.

It asks a `Supply` for samples, and knows nothing of files of data, of records or of what is steered for.
A run's folder holds recipe.yaml, metrics.jsonl, state/ (to go on from), best/ and last/ (models), pictures/.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from timm.data import resolve_data_config
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from steervit.modeling.model import SteerViT
from steervit.processes import Processes
from steervit.training import optim, state
from steervit.training.data.batches import Batch, Supply, collate, slots, training_batches
from steervit.training.export import export, try_export
from steervit.training.interrupt import Interrupt
from steervit.training.logs import RunLog
from steervit.training.losses import pmass
from steervit.training.optim import Average, learning_rate
from steervit.training.progress import draw_rows
from steervit.training.recipe import Recipe
from steervit.training.state import check_same_run, shared_state
from steervit.training.step import Forward, SteeringStep
from steervit.training.text_cache import TextCache
from steervit.training.validation import ALL, validate


@dataclass(frozen=True)
class Outcome:
    """How a run ended: steps done, pmass before the first step (None when resumed), the best, the last."""

    step: int
    first: float | None
    best: float | None
    last: float | None
    interrupted: bool = False


class Trainer:
    """One run of `recipe` on `model`, into the folder `out`. Call `run` once."""

    def __init__(
        self,
        recipe: Recipe,
        model: SteerViT,
        supply: Supply,
        out: Path,
        processes: Processes,
        text_cache: Path | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        self.recipe, self.settings, self.supply = recipe, recipe.train, supply
        self.out, self.processes, self.say = out, processes, say
        self.device = torch.device(processes.device)
        self.slots = slots(processes, self.settings.batch)
        state.seed_all(self.settings.seed)
        self.model = model.to(self.device)
        optim.set_trainable(self.model, self.settings.trainable)
        self.frozen = optim.frozen_hash(self.model)
        self.optimiser = optim.new_optimiser(self.model, self.settings)
        if self.settings.kinds and not supply.kinds:
            raise ValueError("train.kinds needs samples that say what each patch shows: set data.windows")
        if self.settings.shown and not supply.kinds:
            raise ValueError(
                "train.shown needs several sentences for an image, the first for all there is: set data.windows"
            )
        kinds = supply.kinds if self.settings.kinds else 0
        step = SteeringStep(self.model, self.settings.checkpoint_activations, kinds).to(self.device)
        self.forward = Forward(step, self.settings, self.device, self._text_cache(text_cache))
        self.kinds = step.kinds
        if self.kinds is not None:
            self.optimiser.add_param_group({"params": list(self.kinds.parameters()), "weight_decay": 0.0})
        self.average = Average(self.model, self.settings.averaging) if self.settings.averaging else None
        self.kept = self.average.model if self.average else self.model  # what is validated and exported
        self.sums = torch.zeros(4, dtype=torch.float64)  # loss, samples; pmass, samples with a target
        self.log: RunLog | None = None  # of the leading process
        self.best: float | None = None
        self.seen: dict[str, float | None] = {"first": None, "last": None}

    def _text_cache(self, folder: Path | None) -> TextCache | None:
        if self.settings.trainable in ("steering+text", "all"):
            return None
        assert self.model.text_encoder is not None  # a recipe always has one
        kept = self.settings.text_cache
        dtype = torch.float16 if kept == "fp16" else torch.float32
        return TextCache(self.model.text_encoder, None if kept == "off" else folder, dtype)

    def run(self, resume: bool = False) -> Outcome:
        """Train until the recipe's last step, or until interrupted at the end of a step.

        Raises ValueError when `resume` finds no checkpoint or another recipe's, or when the loss is no number.
        """
        start = self._restore() if resume else 0
        if self.processes.count > 1:
            self.forward.module = DistributedDataParallel(self.forward.module)
        if self.processes.leads:
            self.log = RunLog(self.out, self.settings.steps, start, self.say)
        if start == 0:
            self._begin()
        with Interrupt(listen=self.processes.count == 1) as interrupt:
            done = self._loop(start, interrupt)
        if self.log is not None:
            self.log.close()
            export(self.kept, self.recipe, self.out / "last")
        self.processes.wait()
        return Outcome(done, self.seen["first"], self.best, self.seen["last"], done < self.settings.steps)

    # The loop ------------------------------------------------------------------------------------------

    def _loop(self, start: int, interrupt: Interrupt) -> int:
        steps = range(start, self.settings.steps)
        batches = training_batches(self.supply, self.slots, steps, self.recipe.data.workers)
        for step, batch in zip(steps, batches, strict=True):
            self._update(batch, learning_rate(step, self.settings.schedule))
            self._after(step + 1, interrupt.asked)
            if interrupt.asked:
                return step + 1
        return self.settings.steps

    def _update(self, batch: Batch, rate: float) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group.get("share", 1.0)  # the layer for kinds has none
        targets = batch.targets.to(self.device, non_blocking=True)
        output = self.forward.output(batch)
        loss = self.forward.loss(output, batch, targets)
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([p for p in self.model.parameters() if p.requires_grad], self.settings.clip)
        self.optimiser.step()
        if self.average is not None:
            self.average.update()
        self._count(loss.detach(), pmass(output.logits.detach(), batch.covered.to(targets.device)))

    def _count(self, loss: Tensor, mass: Tensor) -> None:
        # Stays on the device: a number is only fetched when it is written.
        real = ~torch.isnan(mass)
        counts = torch.stack(
            [loss * len(mass), loss.new_tensor(len(mass)), mass.nan_to_num(0).sum(), real.sum()]
        )
        self.sums = self.sums.to(counts.device) + counts.double()
        if self.log is not None:
            self.log.advance(self.settings.batch)

    def _after(self, step: int, stopping: bool) -> None:
        """What is due after `step` steps: a line in the log, validation, pictures, a checkpoint."""
        settings, last = self.settings, step == self.settings.steps
        log, validate, save = (
            last or step % every == 0
            for every in (settings.log_every, settings.validate_every, settings.save_every)
        )
        save = save or stopping
        if log or validate or save:
            self._refuse_not_finite(step)
        if log:
            self._write_numbers(step)
        if validate:
            self._validate(step)
        if settings.pictures and (last or step % settings.pictures_every == 0):
            self._draw(step)
        if save:
            self._save(step)

    def _refuse_not_finite(self, step: int) -> None:
        """Before anything is written: a checkpoint of NaN would take the place of a sound one."""
        loss = self.processes.total(self.sums.clone())[0]  # of all processes, so that all stop or none
        kept = {
            "the weights": optim.learned_state(self.model),
            "the optimiser": self.optimiser.state_dict()["state"],
        }
        if self.kinds is not None:
            kept["the weights of kinds"] = self.kinds.state_dict()
        if self.average is not None:
            kept["the average"] = self.average.state()
        found = state.not_finite({"the loss": loss, **kept})
        if found is not None:
            raise state.NotFinite(found, step, self.out / "state")

    def _write_numbers(self, step: int) -> None:
        sums = self.processes.total(self.sums.clone())
        self.sums = torch.zeros_like(self.sums)
        loss, mass = float(sums[0] / sums[1]), float(sums[2] / sums[3])
        if self.log is not None:
            self.log.numbers(step, loss, mass, learning_rate(step - 1, self.settings.schedule))

    # Validation, pictures, checkpoints -------------------------------------------------------------------

    def _quiet_logits(self, batch: Batch) -> Tensor:
        # Not through DistributedDataParallel: processes may have different numbers of validation batches.
        with torch.no_grad():
            return self.forward.output(batch, SteeringStep(self.kept)).logits

    def _begin(self) -> None:
        if self.processes.leads:
            self.out.mkdir(parents=True, exist_ok=True)
            (self.out / "recipe.yaml").write_text(self.recipe.to_yaml(), encoding="utf-8")
        self.seen["first"] = self._validate(0)

    def _validate(self, step: int) -> float | None:
        means = validate(
            self._quiet_logits, self.supply, self.processes, len(self.slots), self.recipe.data.workers
        )
        if not means:
            return None
        if self.log is not None:
            self.log.validation(step, means)
        self.seen["last"] = means[ALL]
        if step and (self.best is None or means[ALL] > self.best):
            self.best = means[ALL]
            if self.processes.leads:
                try_export(self.kept, self.recipe, self.out / "best")
        return means[ALL]

    def _draw(self, step: int) -> None:
        count = len(self.supply.validation_sources)
        if self.log is None or not count:
            return
        wanted = min(self.settings.pictures, count)
        batch = collate([self.supply.validation(i * count // wanted) for i in range(wanted)])
        logits = self._quiet_logits(batch).cpu()
        data = resolve_data_config({}, model=self.model.trunk)
        path = self.out / "pictures" / f"step-{step:08d}.png"
        try:
            draw_rows(path, batch.pixels, batch.targets, logits, batch.texts, self.model.grid_size,
                      data["mean"], data["std"])  # fmt: skip
        except OSError as error:
            self.say(f"{path} could not be written ({error}); training goes on")

    def _save(self, step: int) -> None:
        sums = self.processes.total(self.sums.clone())
        if self.forward.texts is not None:
            self.forward.texts.save()
        if self.processes.leads:
            content = {
                "step": step,
                "recipe": self.recipe.to_yaml(),
                "learned": optim.learned_state(self.model),
                "average": self.average.state() if self.average else {},
                "buffers": dict(self.model.trunk.named_buffers()),
                "frozen": self.frozen,
                "kinds": self.kinds.state_dict() if self.kinds is not None else {},
                "optimiser": self.optimiser.state_dict(),
                "randomness": state.randomness(),
                "sums": sums,
                "best": self.best,
                "seen": self.seen,
            }
            state.save_state(self.out / "state", step, content, self.settings.keep)

    def _restore(self) -> int:
        found = shared_state(self.out / "state", self.processes)
        check_same_run(found, self.recipe, self.frozen, self.out)
        self.model.load_state_dict(found["learned"], strict=False)
        self.model.trunk.load_state_dict(found["buffers"], strict=False)
        if self.average is not None:
            self.average.restore(found["average"], found["buffers"], found["step"])
        if self.kinds is not None:
            self.kinds.load_state_dict(found["kinds"])
        self.optimiser.load_state_dict(found["optimiser"])
        state.set_randomness(found["randomness"])
        self.sums = found["sums"] if self.processes.leads else torch.zeros_like(found["sums"])
        self.best, self.seen = found["best"], found["seen"]
        if self.processes.leads:
            self.say(f"going on from step {found['step']}")
        return found["step"]
