"""Use of CPU, memory, disk, network and GPUs, under the names that MLflow gives them.

MLflow's own sensors would import all of mlflow into the run, which takes 2 s of CPU and 150 MB.
"""

import logging
import os
import threading
from contextlib import suppress
from typing import Any

import psutil

from unlearnable.tracking.record import Record

logger = logging.getLogger(__name__)
INTERVAL_S = 10.0
MEGABYTE = 1e6


class SystemMetrics:
    """A background thread that appends the state of the machine to a record every ten seconds."""

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
            gpus, network = _gpus(), psutil.net_io_counters()
            while not self._done.wait(INTERVAL_S):
                values = machine() | _since(network) | {name: value for i, gpu in enumerate(gpus) for name, value in _gpu(i, gpu).items()}
                self._record.append("metrics", step=step, values={f"system/{name}": round(value, 1) for name, value in values.items()})
                step += 1
        except Exception as error:  # must not end the run
            logger.debug("no more system metrics: %s", error)


def machine() -> dict[str, float]:
    """Return how busy the CPU was since the last call, and how full memory and disk are, in percent and in megabytes (10^6 bytes)."""
    memory, disk = psutil.virtual_memory(), psutil.disk_usage(os.sep)
    return {
        "cpu_utilization_percentage": psutil.cpu_percent(),
        "system_memory_usage_megabytes": memory.used / MEGABYTE,
        "system_memory_usage_percentage": 100 * memory.used / memory.total,
        "disk_usage_percentage": disk.percent,
        "disk_usage_megabytes": disk.used / MEGABYTE,
        "disk_available_megabytes": disk.free / MEGABYTE,
    }


def _since(before: Any) -> dict[str, float]:
    """Return the network traffic since ``before``."""
    now = psutil.net_io_counters()
    received, sent = now.bytes_recv - before.bytes_recv, now.bytes_sent - before.bytes_sent
    return {"network_receive_megabytes": received / MEGABYTE, "network_transmit_megabytes": sent / MEGABYTE}


def _gpus() -> list[Any]:
    """Return the NVIDIA GPUs; an empty list without a GPU or a driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
        return [pynvml.nvmlDeviceGetHandleByIndex(number) for number in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return []


def _gpu(number: int, gpu: Any) -> dict[str, float]:
    """Return how busy a GPU is, how full its memory is and how much power it draws; a part of a card (MIG) lacks some of these."""
    import pynvml

    found: dict[str, float] = {}
    with suppress(pynvml.NVMLError):
        memory = pynvml.nvmlDeviceGetMemoryInfo(gpu)
        found |= {"memory_usage_percentage": 100 * memory.used / memory.total, "memory_usage_megabytes": memory.used / MEGABYTE}
    with suppress(pynvml.NVMLError):
        found["utilization_percentage"] = pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu
    with suppress(pynvml.NVMLError):
        found["power_usage_watts"] = pynvml.nvmlDeviceGetPowerUsage(gpu) / 1000
        found["power_usage_percentage"] = 100 * found["power_usage_watts"] * 1000 / pynvml.nvmlDeviceGetEnforcedPowerLimit(gpu)
    return {f"gpu_{number}_{name}": float(value) for name, value in found.items()}
