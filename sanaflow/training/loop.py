"""The training loop: from the caches alone, neither autoencoder nor text encoder in memory."""

import json
import resource
import time
from collections.abc import Callable
from typing import Any

import pandas as pd
import torch
from torch.distributed.tensor import DTensor

from sanaflow.config import TrainingSettings, ValidationSettings
from sanaflow.errors import InputError
from sanaflow.progress import progress_bar, say
from sanaflow.training.batches import Batches
from sanaflow.training.checkpoints import Checkpoints
from sanaflow.training.ema import update
from sanaflow.training.evaluation_loss import EvaluationLoss
from sanaflow.training.flow import sums_by_sigma
from sanaflow.training.guard import Guard
from sanaflow.training.log import COLUMNS, EVALUATION_COLUMNS, SIGMA_BINS, SKIPPED_COLUMNS, TrainingLog
from sanaflow.training.looks import Draw, Looks
from sanaflow.training.loss import batch_losses, sigmas_of
from sanaflow.training.resume import same_settings
from sanaflow.training.setup import Setup
from sanaflow.training.stop import StoppedError, StopSignal
from sanaflow.training.trackers import track_steps

LOG_WINDOW = 10
"""Steps after which numbers are read from the GPU, which waits for it."""


class Loop:
    """One run: `run` takes it to its end, from the newest checkpoint if there is one.

    The result is the same as without the interruption.
    """

    def __init__(
        self,
        setup: Setup,
        batches: Batches,
        *,
        settings: TrainingSettings,
        checkpoints: Checkpoints,
        validation: ValidationSettings | None = None,
        evaluation: EvaluationLoss | None = None,
        draw: Draw | None = None,
        identity: dict[str, Any] | None = None,
        after_checkpoint: Callable[[], None] | None = None,
    ) -> None:
        """Put a run together.

        Args:
            setup: What is in memory.
            batches: What it learns from.
            settings: How.
            checkpoints: Where it is kept.
            validation: When to draw and to measure.
            evaluation: The loss on held-out pictures; None: there are none.
            draw: Draws validation pictures; None: there is no prompt.
            identity: What the run is, written into its checkpoints.
            after_checkpoint: Called when a checkpoint is written, but for the first, of step 0; on all processes.
        """
        self.setup, self.batches, self.settings, self.checkpoints = setup, batches, settings, checkpoints
        self.identity, self.after_checkpoint = identity or {}, after_checkpoint
        self.looks = Looks(
            setup,
            batches,
            settings=settings,
            validation=validation or ValidationSettings(),
            evaluation=evaluation,
            draw=draw,
        )
        self.state, self.accelerator = setup.state, setup.accelerator
        self.guard = Guard(self.accelerator)
        self._window: list[dict[str, Any]] = []
        self._window_began = time.perf_counter()
        self._led_back_to = -1
        self._accumulation = settings.gradient_accumulation_steps

    def run(self) -> TrainingLog:
        """Train to the last step.

        Raises:
            InputError: Updates go on to be no numbers, or a checkpoint can't be written.
            StoppedError: SIGTERM came; the checkpoint is written.
        """
        state, steps = self.state, self.setup.steps
        with self.accelerator.main_process_first():  # which fetches it, if it isn't here
            found = self.checkpoints.load()
        if found:
            another = not same_settings(found[1]["identity"], self.identity)
            state.restore(*found, keep_rates=another)
            self._say(f"resuming after step {state.step:,}")
            if state.step > steps:
                raise InputError(f"the checkpoint is of step {state.step:,}, and the run ends at {steps:,}: raise that")
        main = self.accelerator.is_main_process
        with (
            StopSignal(self.accelerator) as stop,
            progress_bar(total=steps, initial=state.step, desc="training", unit="step", disable=not main) as progress,
        ):
            if state.step == 0:
                self._save()  # a full disk shows now, and there is something to be led back to
                self.looks.look()
            self._window_began = time.perf_counter()
            while state.step < steps:
                self._window.append(self._step(state.step))
                state.step += 1
                progress.update()
                last, stopped = state.step == steps, stop.received()
                due = state.step % self.settings.checkpointing_steps == 0
                looking = self.looks.due()
                if len(self._window) < LOG_WINDOW and not (last or stopped or due or looking):
                    continue
                self._read_window(progress)
                if int(self.guard.most_in_a_row) >= self.settings.nonfinite_limit:
                    self._lead_back(progress)
                    continue
                if (looking or last) and not stopped:
                    self.looks.look()
                if (due or stopped) and not int(self.guard.in_a_row):  # what follows no update is no good checkpoint
                    self._save()  # after drawing: a run that is killed in between draws again
                if stopped:
                    self.checkpoints.finish()
                    raise StoppedError(
                        f"SIGTERM ended the training after step {state.step:,} of {steps:,}: run it again to go on"
                    )
                self._window_began = time.perf_counter()
        return TrainingLog(
            steps=pd.DataFrame(state.log, columns=COLUMNS),
            evaluations=pd.DataFrame(state.evaluations, columns=EVALUATION_COLUMNS),
            skipped=pd.DataFrame(state.skipped, columns=SKIPPED_COLUMNS),
            flow={name: value for name, value in self.settings.model_dump().items() if name.startswith("flow_")}
            | {"tokens": self.batches.tokens()},
        )

    def _step(self, step: int) -> dict[str, Any]:
        """One optimizer step over `gradient_accumulation_steps` batches of each process; nothing is read from it."""
        setup, settings, state = self.setup, self.settings, self.state
        sums = torch.zeros(SIGMA_BINS, device=self.accelerator.device)
        counts = torch.zeros(SIGMA_BINS)
        loss = torch.zeros((), device=self.accelerator.device)
        numbers = setup.batch_numbers(step, self._accumulation)
        for number in numbers:
            with setup.gradients(sync=number == numbers[-1]):
                losses, sigmas = batch_losses(
                    setup.model,
                    self.batches[number],
                    number=number,
                    settings=settings,
                    device=self.accelerator.device,
                    tunable=setup.tunable,
                    attempt=state.rollbacks,
                )
                mean = losses.mean() / self._accumulation
            self.accelerator.backward(mean)
            loss += mean.detach()
            more = sums_by_sigma(losses.detach(), sigmas, bins=SIGMA_BINS)
            sums, counts = sums + more[0], counts + more[1]
        rate = state.optimizer.param_groups[0]["lr"]
        grad_norm = self._clip()
        bad = self.guard.step(state.optimizer, loss, grad_norm)
        state.optimizer.zero_grad()
        state.scheduler.step()
        if state.ema and (step + 1) % settings.ema_update_interval == 0:
            update(state.ema, state.weights.values(), settings)
        return {
            **{"step": step + 1, "learning_rate": rate, "grad_norm": grad_norm, "bad": bad},
            **{"sums": sums, "counts": counts, "peak_memory_bytes": _peak_memory_bytes()},
        }

    def _clip(self) -> torch.Tensor:
        """Clip the gradients; their norm before that, on the device."""
        if self.accelerator.scaler:
            self.accelerator.scaler.unscale_(self.state.optimizer)
        weights = list(self.state.weights.values())
        norm = torch.nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None])
        if self.settings.grad_clip_method == "norm":
            torch.nn.utils.clip_grads_with_norm_(weights, self.settings.max_grad_norm, norm)
        else:
            torch.nn.utils.clip_grad_value_(weights, self.settings.max_grad_norm)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    def _read_window(self, progress: Any) -> None:
        """Read the numbers of the last steps from the device: the one place that waits for it."""
        window, self._window = self._window, []
        device = self.accelerator.device
        numbers = torch.stack([torch.cat([row["sums"], row["counts"].to(device)]) for row in window])
        numbers = self.accelerator.reduce(numbers, "sum").cpu()
        norms = torch.stack([row["grad_norm"].float() for row in window]).tolist()
        bad = torch.stack([row["bad"] for row in window]).tolist()
        seconds = (time.perf_counter() - self._window_began) / len(window)
        rows = []
        for row, both, norm in zip(window, numbers, norms, strict=True):
            sums, counts = both[:SIGMA_BINS], both[SIGMA_BINS:]
            rows.append(
                {
                    **{"step": row["step"], "loss": float(sums.sum() / counts.sum()), "grad_norm": norm},
                    **{f"loss_sigma_{i}": float(mean) for i, mean in enumerate(sums / counts)},
                    **{"learning_rate": row["learning_rate"], "seconds_per_step": seconds},
                    "peak_memory_bytes": row["peak_memory_bytes"],
                }
            )
        self.state.log += rows
        self.state.skipped += [self._skipped(row) for row, was_bad in zip(rows, bad, strict=True) if was_bad]
        track_steps(self.accelerator, rows)
        last = rows[-1]
        rate = self.settings.total_batch() / seconds
        progress.set_postfix_str(
            f"loss {last['loss']:.4f}, lr {last['learning_rate']:.2e}, {rate:.3g} samples/s", refresh=False
        )

    def _skipped(self, row: dict[str, Any]) -> dict[str, Any]:
        """What an update saw that was left out: both are functions of its number."""
        per_step = self._accumulation * self.accelerator.num_processes
        numbers = range((int(row["step"]) - 1) * per_step, int(row["step"]) * per_step)
        samples = [sample for number in numbers for sample in self.batches.samples(number)]
        sigmas = [sigma for number in numbers for sigma in self._sigmas(number)]
        self._say(f"step {row['step']}: the loss is {row['loss']}, the gradient's norm {row['grad_norm']}: left out")
        seen = {"sigmas": sigmas, "samples": samples, "attempt": self.state.rollbacks}
        return {**{name: row[name] for name in ("step", "loss", "grad_norm")}, **seen}

    def _sigmas(self, number: int) -> list[float]:
        width, height = self.batches.size(number)
        count = len(self.batches.samples(number))
        return sigmas_of(
            number, count=count, tokens=width * height, settings=self.settings, attempt=self.state.rollbacks
        ).tolist()

    def _lead_back(self, progress: Any) -> None:
        """Go back to the newest checkpoint, and on from there with other noise.

        Raises:
            InputError: It has led back to there before.
        """
        state, skipped = self.state, self.state.skipped
        found = self.checkpoints.load()
        if found is None or found[1]["step"] == self._led_back_to:
            raise InputError(self._report())
        rollbacks, step = state.rollbacks + 1, state.step
        state.restore(*found)
        state.rollbacks, state.skipped, self._led_back_to = rollbacks, skipped, state.step
        self.guard.forget()
        self._say(f"{self.settings.nonfinite_limit} updates in a row were no numbers: back to step {state.step:,}")
        progress.update(state.step - step)
        self._window_began = time.perf_counter()

    def _report(self) -> str:
        """Write down what was left out; in words."""
        path = self.checkpoints.folder.parent / "nonfinite.json"
        if self.accelerator.is_main_process:
            path.write_text(json.dumps(self.state.skipped, indent=2))
        last = self.state.skipped[-1]
        return (
            f"{self.settings.nonfinite_limit} updates in a row had a loss or gradient that is no number, twice from "
            f"the checkpoint of step {self._led_back_to:,}; the last at step {last['step']}: loss {last['loss']}, "
            f"gradient norm {last['grad_norm']}, noise levels {', '.join(f'{s:.3f}' for s in last['sigmas'][:4])}, "
            f"pictures {', '.join(last['samples'][:2])}. All of them: {path}. "
            "Lower training.learning_rate, or set mixed_precision to 'no'"
        )

    def _save(self) -> None:
        tensors, plain = self.state.capture()
        if self.accelerator.is_main_process:
            self.checkpoints.save(self.state.step, tensors, {**plain, "identity": self.identity})
        self.accelerator.wait_for_everyone()
        if self.after_checkpoint and self.state.step:
            self.after_checkpoint()

    def _say(self, text: str) -> None:
        if self.accelerator.is_main_process:
            say(text)


def _peak_memory_bytes() -> int:
    """Of the GPU if there is one, else of the process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
