"""NVIDIA GPUs, through NVML as pynvml gives it.

Keys are `gpuN/...` with N the physical index, whatever CUDA_VISIBLE_DEVICES says: `util` and `fan`
0 to 1, `mem/used` and `mem/own` bytes (`own` is what this run's processes hold), `mem/util` the
used share of the memory, `temp` degrees C, `power` watts, `clock` MHz of the multiprocessors. With
MIG the instances are `gpuN/migM/mem/...`; a GPU cut up this way has no utilisation.

What a GPU does not support is asked for once. A GPU that is lost is named once and dropped while
the others go on; after a restart of the driver all are looked for again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from guildlite.collect.collector import RunClock, Unavailable, prefixed
from guildlite.collect.system import ProcessTree
from guildlite.series import Point, Reading

#: Inode of the first PID namespace, the one whose numbers NVML speaks (Linux, proc_ns.h).
_FIRST_PID_NAMESPACE = 0xEFFFFFFC


class GpuCollector:
    """Samples every NVIDIA GPU of the machine.

    `root_pid` returns the id of the run's first process, None when it is not alive. `prefix` is the
    name of a later operation. `nvml` stands in for the module `pynvml`.
    """

    name = "gpu"

    def __init__(
        self,
        root_pid: Callable[[], int | None],
        started_at_ms: int,
        prefix: str = "",
        nvml: Any = None,
    ) -> None:
        self._tree = ProcessTree(root_pid)
        self._clock = RunClock(started_at_ms)
        self._prefix = prefix
        self._nvml = nvml
        self._up = False
        self._devices: list[_Device] = []
        self._told: set[str] = set()
        self._notices: list[str] = []
        # Elsewhere the numbers may not be ours; once one of them is, they are.
        self._knows_pids = _in_first_pid_namespace()

    def probe(self) -> dict[str, str]:
        """Return driver, versions and each GPU's name, memory and uuid."""
        if self._nvml is None:
            try:
                import pynvml
            except ImportError as error:
                raise Unavailable(f"pynvml cannot be imported: {error}") from None
            self._nvml = pynvml
        try:
            self._start()
        except self._nvml.NVMLError as error:
            self.close()
            raise Unavailable(f"NVML says: {error}") from None
        if not self._devices:
            self.close()
            raise Unavailable("no NVIDIA GPU")
        return {prefixed(self._prefix, key): value for key, value in self._attributes().items()}

    def sample(self, final: bool = False) -> Iterator[Reading]:
        """Yield one reading with what the GPUs show now."""
        points: dict[str, list[Point]] = {}
        step, moment = self._clock.now()
        try:
            if not self._up:
                self._start()
            for key, value in self._values():
                points[prefixed(self._prefix, key)] = [Point(step, moment, value)]
        except self._nvml.NVMLError as error:
            # The driver went away; it is looked for again at every sample.
            self._tell(f"GPUs cannot be read: {error}")
            self.close()
        notices, self._notices = self._notices, []
        if points or notices:
            yield Reading(points=points, notices=notices)

    def close(self) -> None:
        """Let NVML go."""
        self._devices = []
        if self._up:
            self._up = False
            try:
                self._nvml.nvmlShutdown()
            except self._nvml.NVMLError:
                # Nothing is left to shut down.
                pass

    def _start(self) -> None:
        nvml = self._nvml
        nvml.nvmlInit()
        self._up = True
        self._devices = []
        for index in range(nvml.nvmlDeviceGetCount()):
            name = f"gpu{index}"
            try:
                handle = nvml.nvmlDeviceGetHandleByIndex(index)
                instances = self._instances(name, handle)
            except nvml.NVMLError as error:
                if self._is_driver_gone(error):
                    raise
                self._tell(f"`{name}` cannot be read: {error}")
                continue
            self._devices.append(_Device(name, handle, instances=instances))

    def _instances(self, name: str, handle: Any) -> list[_Device]:
        """Return the MIG instances of a GPU, none when it is not cut up."""
        nvml = self._nvml
        try:
            if nvml.nvmlDeviceGetMigMode(handle)[0] != nvml.NVML_DEVICE_MIG_ENABLE:
                return []
        except (
            nvml.NVMLError_NotSupported,
            nvml.NVMLError_FunctionNotFound,
            nvml.NVMLError_NoPermission,
            nvml.NVMLError_InvalidArgument,
        ):
            return []
        instances = []
        for number in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
            try:
                instance = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)
            except (nvml.NVMLError_NotFound, nvml.NVMLError_InvalidArgument):
                continue
            instances.append(_Device(f"{name}/mig{number}", instance, is_instance=True))
        return instances

    def _attributes(self) -> dict[str, str]:
        nvml = self._nvml
        attrs = {"gpu.count": str(len(self._devices))}
        driver = self._ask(nvml.nvmlSystemGetDriverVersion)
        if driver is not None:
            attrs["gpu.driver"] = _text(driver)
        cuda = self._ask(nvml.nvmlSystemGetCudaDriverVersion)
        if cuda is not None:
            attrs["gpu.cuda"] = f"{cuda // 1000}.{cuda % 1000 // 10}"
        for device in self._all():
            name = device.name.replace("/", ".")
            for key, value in (
                ("name", self._ask(nvml.nvmlDeviceGetName, device.handle)),
                ("uuid", self._ask(nvml.nvmlDeviceGetUUID, device.handle)),
            ):
                if value is not None:
                    attrs[f"{name}.{key}"] = _text(value)
            memory = self._ask(nvml.nvmlDeviceGetMemoryInfo, device.handle)
            if memory is not None:
                attrs[f"{name}.memory"] = str(memory.total)
        return attrs

    def _ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return what NVML answers, None when it does not."""
        try:
            return function(*arguments)
        except self._nvml.NVMLError:
            return None

    def _all(self) -> list[_Device]:
        return [each for device in self._devices for each in (device, *device.instances)]

    def _values(self) -> Iterator[tuple[str, float]]:
        pids = {process.pid for process in self._tree.processes()}
        for device in self._devices:
            own: list[float] = []
            for part in (*device.instances, device):
                values = self._measure(part, pids)
                if part.lost:
                    break
                if part.is_instance and "mem/own" in values:
                    own.append(values["mem/own"])
                elif own:
                    # The processes of a GPU cut up by MIG are listed by its instances.
                    values["mem/own"] = sum(own)
                for key, value in values.items():
                    yield f"{part.name}/{key}", value
        self._devices = [
            device
            for device in self._devices
            if not device.lost and not any(part.lost for part in device.instances)
        ]

    def _measure(self, device: _Device, pids: set[int]) -> dict[str, float]:
        measures = _INSTANCE_MEASURES if device.is_instance else _MEASURES
        values: dict[str, float] = {}
        for what, measure in measures.items():
            values.update(self._read(device, what, partial(measure, self._nvml, device.handle)))
        own = partial(self._own, device.handle, pids)
        values.update(self._read(device, "processes", own))
        return {} if device.lost else values

    def _read(
        self, device: _Device, what: str, measure: Callable[[], dict[str, float]]
    ) -> dict[str, float]:
        """Return what a device answers; remember what it lacks, and whether it is lost."""
        nvml = self._nvml
        if device.lost or what in device.missing:
            return {}
        try:
            return measure()
        except (
            nvml.NVMLError_NotSupported,
            nvml.NVMLError_FunctionNotFound,
            nvml.NVMLError_NoPermission,
        ):
            device.missing.add(what)
        except (
            nvml.NVMLError_GpuIsLost,
            nvml.NVMLError_ResetRequired,
            nvml.NVMLError_Unknown,
        ) as error:
            device.lost = True
            self._tell(f"`{device.name}` is lost: {error}")
        except nvml.NVMLError as error:
            if self._is_driver_gone(error):
                raise
            self._tell(f"`{device.name}` did not tell its {what}: {error}")
        return {}

    def _own(self, handle: Any, pids: set[int]) -> dict[str, float]:
        """Return the memory held by this run's processes, nothing while that cannot be known."""
        nvml = self._nvml
        listed = list(nvml.nvmlDeviceGetComputeRunningProcesses(handle))
        try:
            listed += nvml.nvmlDeviceGetGraphicsRunningProcesses(handle)
        except (nvml.NVMLError_NotSupported, nvml.NVMLError_FunctionNotFound):
            # MIG instances and some data-centre GPUs do not draw.
            pass
        # A process that both computes and draws is in both lists with the same memory.
        held = {each.pid: each.usedGpuMemory for each in listed if each.pid in pids}
        self._knows_pids = self._knows_pids or bool(held)
        known = [memory for memory in held.values() if memory is not None]
        if not self._knows_pids or (held and not known):
            return {}
        return {"mem/own": float(sum(known))}

    def _is_driver_gone(self, error: Exception) -> bool:
        nvml = self._nvml
        return isinstance(
            error,
            (
                nvml.NVMLError_Uninitialized,
                nvml.NVMLError_DriverNotLoaded,
                nvml.NVMLError_LibRmVersionMismatch,
            ),
        )

    def _tell(self, notice: str) -> None:
        if notice not in self._told:
            self._told.add(notice)
            self._notices.append(notice)


@dataclass(slots=True)
class _Device:
    """A GPU or a MIG instance of one; `missing` names what it does not support."""

    name: str
    handle: Any
    is_instance: bool = False
    instances: list[_Device] = field(default_factory=list)
    missing: set[str] = field(default_factory=set)
    lost: bool = False


def _memory(nvml: Any, handle: Any) -> dict[str, float]:
    try:
        # As nvidia-smi counts; the first version adds what the driver keeps for itself.
        memory = nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2)
    except (
        nvml.NVMLError_FunctionNotFound,
        nvml.NVMLError_NotSupported,
        nvml.NVMLError_InvalidArgument,
        nvml.NVMLError_ArgumentVersionMismatch,
    ):
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    values = {"mem/used": float(memory.used)}
    if memory.total:
        values["mem/util"] = memory.used / memory.total
    return values


def _utilisation(nvml: Any, handle: Any) -> dict[str, float]:
    return {"util": nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100}


def _temperature(nvml: Any, handle: Any) -> dict[str, float]:
    return {"temp": float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))}


def _power(nvml: Any, handle: Any) -> dict[str, float]:
    # NVML gives milliwatts.
    return {"power": nvml.nvmlDeviceGetPowerUsage(handle) / 1000}


def _clock(nvml: Any, handle: Any) -> dict[str, float]:
    return {"clock": float(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM))}


def _fan(nvml: Any, handle: Any) -> dict[str, float]:
    return {"fan": nvml.nvmlDeviceGetFanSpeed(handle) / 100}


#: What is asked of a device; the names stand in notices.
_MEASURES: dict[str, Callable[[Any, Any], dict[str, float]]] = {
    "utilisation": _utilisation,
    "memory": _memory,
    "temperature": _temperature,
    "power": _power,
    "clock": _clock,
    "fan": _fan,
}
_INSTANCE_MEASURES = {"memory": _memory}


def _text(value: str | bytes) -> str:
    # pynvml before 11.5 gives bytes.
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _in_first_pid_namespace() -> bool:
    try:
        return os.stat("/proc/self/ns/pid").st_ino == _FIRST_PID_NAMESPACE
    except OSError:
        return False
