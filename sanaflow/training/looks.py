"""Looks at a run while it trains: pictures drawn, and the loss on held-out pictures."""

from collections.abc import Callable

import pandas as pd
import torch
from PIL import Image

from sanaflow.config import TrainingSettings, ValidationSettings
from sanaflow.training.batches import Batches
from sanaflow.training.ema import swapped_in
from sanaflow.training.evaluation_loss import EvaluationLoss
from sanaflow.training.optimizers import averaged
from sanaflow.training.setup import Setup
from sanaflow.training.trackers import track_evaluation, track_pictures

Draw = Callable[[torch.nn.Module, int, str], dict[str, Image.Image]]
"""Called with the model, the number of steps done and whose weights it has, 'raw' or 'ema'; gives pictures by name."""


class Looks:
    """When to look, and looking."""

    def __init__(
        self,
        setup: Setup,
        batches: Batches,
        *,
        settings: TrainingSettings,
        validation: ValidationSettings,
        evaluation: EvaluationLoss | None,
        draw: Draw | None,
    ) -> None:
        self.setup, self.batches, self.settings, self.validation = setup, batches, settings, validation
        self.evaluation, self.draw = evaluation, draw
        self.state, self.accelerator = setup.state, setup.accelerator

    def due(self) -> bool:
        """Whether the step just done is one to draw or to measure after."""
        return self._drawing_due() or self._measuring_due()

    def _drawing_due(self) -> bool:
        if self.draw is None:
            return False
        by_epoch = self.validation.validation_epoch_interval
        return self.state.step % self.validation.validation_steps == 0 or self._passes(by_epoch)

    def _measuring_due(self) -> bool:
        by_step, by_epoch = self.validation.eval_steps_interval, self.validation.eval_epoch_interval
        if self.evaluation is None:
            return False
        return bool(by_step and self.state.step % by_step == 0) or self._passes(by_epoch)

    def _passes(self, interval: float | None) -> bool:
        """Whether the step just done completed another `interval` epochs."""
        if not interval:
            return False
        per_step = self.settings.gradient_accumulation_steps * self.accelerator.num_processes
        before, now = (self.batches.epochs(step * per_step) for step in (self.state.step - 1, self.state.step))
        return int(now / interval) > int(before / interval)

    def look(self) -> None:
        """Draw and measure what is due, with the weights as they are and their average."""
        state = self.state
        edge = state.step in (0, self.setup.steps)
        drawing = self.draw and (self._drawing_due() or edge) and (state.step or self.validation.validation_on_startup)
        measuring = self.evaluation and (self._measuring_due() or edge)
        if not drawing and not measuring:
            return
        with averaged(state.optimizer):
            self._look_with("raw", drawing=bool(drawing), measuring=bool(measuring))
        if state.ema:
            with swapped_in(state.ema, list(state.weights.values())):
                self._look_with("ema", drawing=bool(drawing), measuring=bool(measuring))
        self.setup.tunable.transformer.train()

    def _look_with(self, weights: str, *, drawing: bool, measuring: bool) -> None:
        step, accelerator, module = self.state.step, self.accelerator, self.setup.tunable.transformer
        if measuring and self.evaluation:
            with accelerator.autocast():
                rows = self.evaluation.measure(module, accelerator.device)
            self.state.evaluations += [{"step": step, "weights": weights, **row} for row in rows]
            means = pd.DataFrame(rows).groupby("dataset")["loss"].mean()
            track_evaluation(accelerator, {f"{name}/{weights}": float(loss) for name, loss in means.items()}, step)
            if accelerator.is_main_process:
                print(f"step {step:,}: loss on {', '.join(f'{n} {m:.4f}' for n, m in means.items())} ({weights})")
        if drawing and self.draw:
            # Sharded weights are gathered block by block: every process has to draw along.
            if accelerator.is_main_process or self.settings.fsdp_enable:
                track_pictures(accelerator, self.draw(self.setup.tunable.transformer, step, weights), step)
            accelerator.wait_for_everyone()
        self.setup.reshard()
