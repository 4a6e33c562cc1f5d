"""A step operator that runs ZenML's step entry point in a fresh local process: a GPU box without the box."""

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from zenml.config.base_settings import BaseSettings
from zenml.enums import ExecutionStatus
from zenml.step_operators import BaseStepOperator, BaseStepOperatorConfig, BaseStepOperatorFlavor

if TYPE_CHECKING:
    from zenml.config.step_run_info import StepRunInfo
    from zenml.models import StepRunResponse


class ProcessStepOperatorSettings(BaseSettings):
    """What a step may ask for."""

    cuda_visible_devices: str = ""


class ProcessStepOperatorConfig(BaseStepOperatorConfig, ProcessStepOperatorSettings):
    """Runs here, so that it can share the local artifact store."""

    @property
    def is_local(self) -> bool:
        return True


class ProcessStepOperator(BaseStepOperator):
    """Starts one process a step."""

    processes: dict[str, subprocess.Popen] = {}  # noqa: RUF012

    @property
    def config(self) -> ProcessStepOperatorConfig:
        return self._config

    @property
    def settings_class(self) -> type[BaseSettings]:
        return ProcessStepOperatorSettings

    def submit(self, info: "StepRunInfo", entrypoint_command: list[str], environment: dict[str, str]) -> None:
        settings = self.get_settings(info)
        gpus = {"CUDA_VISIBLE_DEVICES": settings.cuda_visible_devices}
        command = [sys.executable, *entrypoint_command[1:]]
        self.processes[str(info.step_run_id)] = subprocess.Popen(command, env={**os.environ, **environment, **gpus})

    def get_status(self, step_run: "StepRunResponse") -> ExecutionStatus:
        code = self.processes[str(step_run.id)].poll()
        if code is None:
            return ExecutionStatus.RUNNING
        return ExecutionStatus.COMPLETED if code == 0 else ExecutionStatus.FAILED

    def wait(self, step_run: "StepRunResponse") -> ExecutionStatus:
        while (status := self.get_status(step_run)) == ExecutionStatus.RUNNING:
            time.sleep(0.2)
        return status

    def cancel(self, step_run: "StepRunResponse") -> None:
        self.processes[str(step_run.id)].terminate()


class ProcessStepOperatorFlavor(BaseStepOperatorFlavor):
    """The flavor `process`."""

    @property
    def name(self) -> str:
        return "process"

    @property
    def config_class(self) -> type[ProcessStepOperatorConfig]:
        return ProcessStepOperatorConfig

    @property
    def implementation_class(self) -> type[ProcessStepOperator]:
        return ProcessStepOperator
