"""CPU, memory and GPU of the machine, recorded while a run goes on as MLflow would log them itself."""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from unlearnable.tracking.record import Record
from unlearnable.tracking.server import load_mlflow

logger = logging.getLogger(__name__)
INTERVAL_S = 10.0


class SystemMetrics:
    """A thread that appends the state of the machine to a record every ten seconds.

    MLflow's own monitor logs to the server and ends when that fails once; its sensors are used here, without it.
    """

    def __init__(self, record: Record) -> None:
        self._record = record
        self._done = threading.Event()
        threading.Thread(target=self._run, name="system-metrics", daemon=True).start()

    def stop(self) -> None:
        """Record nothing more."""
        self._done.set()

    def _run(self) -> None:
        step = 0
        try:
            sensors = _sensors()
            while not self._done.wait(INTERVAL_S):
                self._record.append("metrics", step=step, values=_measured(sensors))
                step += 1
        except Exception as error:  # no reason to end a run
            logger.debug("no more system metrics: %s", error)


def _sensors() -> list[Any]:
    load_mlflow()
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor
    from mlflow.system_metrics.metrics.rocm_monitor import ROCMMonitor

    sensors: list[Any] = []
    for sensor in (CPUMonitor, DiskMonitor, NetworkMonitor, GPUMonitor, ROCMMonitor):
        with suppress(Exception):  # there is no such GPU, or no driver
            sensors.append(cast("Callable[[], Any]", sensor)())
    return sensors


def _measured(sensors: list[Any]) -> dict[str, float]:
    values: dict[str, float] = {}
    for sensor in sensors:
        sensor.collect_metrics()
        values |= sensor.aggregate_metrics()
        sensor.clear_metrics()
    return {f"system/{name}": value for name, value in values.items()}
