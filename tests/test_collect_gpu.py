"""The GPU collector over a scripted NVML that has pynvml's functions, constants and exceptions."""

from __future__ import annotations

import inspect
import os
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from guildlite.collect.collector import Unavailable
from guildlite.collect.gpu import GpuCollector

GIB = 2**30


class Gpu:
    """One GPU: answers by the name of what is asked; an exception class is raised."""

    def __init__(self, name: str = "NVIDIA H200", **answers: Any) -> None:
        self.answers: dict[str, Any] = {
            "name": name,
            "uuid": f"GPU-{name}",
            "memory": (6 * GIB, 24 * GIB),
            "utilisation": 75,
            "temperature": 61,
            "power": 123_456,
            "clock": 1980,
            "fan": 30,
            "compute": [],
            "graphics": [],
            "mig": pynvml.NVMLError_NotSupported,
            "instances": {},
            **answers,
        }
        self.asked: list[str] = []

    def answer(self, what: str) -> Any:
        self.asked.append(what)
        answer = self.answers[what]
        if isinstance(answer, type) and issubclass(answer, pynvml.NVMLError):
            raise answer()
        return answer


class ScriptedNvml:
    """Stands in for the module pynvml; only functions are scripted, names are the real ones."""

    def __init__(self, *gpus: Gpu) -> None:
        self.gpus = list(gpus)
        self.init_error: type[Exception] | None = None
        self.started = 0

    def __getattr__(self, name: str) -> Any:
        if not name.startswith(("NVML", "nvmlMemory_v2")):
            raise AttributeError(name)
        return getattr(pynvml, name)

    def _up(self) -> None:
        if self.init_error:
            raise self.init_error()
        if self.started < 1:
            raise pynvml.NVMLError_Uninitialized()

    def nvmlInit(self) -> None:
        if self.init_error:
            raise self.init_error()
        self.started += 1

    def nvmlShutdown(self) -> None:
        self._up()
        self.started -= 1

    def nvmlSystemGetDriverVersion(self) -> str:
        self._up()
        return "550.54.15"

    def nvmlSystemGetCudaDriverVersion(self) -> int:
        self._up()
        return 12040

    def nvmlDeviceGetCount(self) -> int:
        self._up()
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Gpu:
        self._up()
        if self.gpus[index].answers["name"] is pynvml.NVMLError_GpuIsLost:
            raise pynvml.NVMLError_GpuIsLost()
        return self.gpus[index]

    def _ask(self, gpu: Gpu, what: str) -> Any:
        self._up()
        return gpu.answer(what)

    def nvmlDeviceGetName(self, handle: Gpu) -> Any:
        return self._ask(handle, "name")

    def nvmlDeviceGetUUID(self, handle: Gpu) -> Any:
        return self._ask(handle, "uuid")

    def nvmlDeviceGetMemoryInfo(self, handle: Gpu, version: Any = None) -> Any:
        if version is not None and "memory_v2" in handle.answers:
            used, total = self._ask(handle, "memory_v2")
        else:
            used, total = self._ask(handle, "memory")
        return SimpleNamespace(used=used, total=total, free=total - used)

    def nvmlDeviceGetUtilizationRates(self, handle: Gpu) -> Any:
        return SimpleNamespace(gpu=self._ask(handle, "utilisation"), memory=5)

    def nvmlDeviceGetTemperature(self, handle: Gpu, sensor: int) -> Any:
        assert sensor == pynvml.NVML_TEMPERATURE_GPU
        return self._ask(handle, "temperature")

    def nvmlDeviceGetPowerUsage(self, handle: Gpu) -> Any:
        return self._ask(handle, "power")

    def nvmlDeviceGetClockInfo(self, handle: Gpu, type: int) -> Any:
        assert type == pynvml.NVML_CLOCK_SM
        return self._ask(handle, "clock")

    def nvmlDeviceGetFanSpeed(self, handle: Gpu) -> Any:
        return self._ask(handle, "fan")

    def nvmlDeviceGetComputeRunningProcesses(self, handle: Gpu) -> list[Any]:
        return _processes(self._ask(handle, "compute"))

    def nvmlDeviceGetGraphicsRunningProcesses(self, handle: Gpu) -> list[Any]:
        return _processes(self._ask(handle, "graphics"))

    def nvmlDeviceGetMigMode(self, device: Gpu) -> Any:
        return self._ask(device, "mig")

    def nvmlDeviceGetMaxMigDeviceCount(self, device: Gpu) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, device: Gpu, index: int) -> Any:
        instances = self._ask(device, "instances")
        if index not in instances:
            raise pynvml.NVMLError_NotFound()
        return instances[index]


def _processes(listed: list[tuple[int, int | None]]) -> list[Any]:
    return [SimpleNamespace(pid=pid, usedGpuMemory=memory) for pid, memory in listed]


def collector_of(nvml: ScriptedNvml, prefix: str = "", pid: int | None = None) -> GpuCollector:
    return GpuCollector(lambda: pid, started_at_ms=0, prefix=prefix, nvml=nvml)


def sample(collector: GpuCollector) -> dict[str, float]:
    return {key: points[0].value for reading in collector.sample() for key, points in
            reading.points.items()}  # fmt: skip


def notices(collector: GpuCollector) -> list[str]:
    return [notice for reading in collector.sample() for notice in reading.notices]


@pytest.fixture(autouse=True)
def first_pid_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guildlite.collect.gpu._in_first_pid_namespace", lambda: True)


def test_the_script_has_the_shape_of_pynvml() -> None:
    scripted = {name for name in vars(ScriptedNvml) if name.startswith("nvml")}
    for name in scripted:
        ours = list(inspect.signature(getattr(ScriptedNvml, name)).parameters)[1:]
        assert ours == list(inspect.signature(getattr(pynvml, name)).parameters), name
    assert issubclass(
        type(pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)), pynvml.NVMLError_GpuIsLost
    )


def test_attributes() -> None:
    nvml = ScriptedNvml(Gpu("A"), Gpu("B", uuid=b"GPU-bytes"))
    assert collector_of(nvml).probe() == {
        "gpu.count": "2",
        "gpu.driver": "550.54.15",
        "gpu.cuda": "12.4",
        "gpu0.name": "A",
        "gpu0.uuid": "GPU-A",
        "gpu0.memory": str(24 * GIB),
        "gpu1.name": "B",
        "gpu1.uuid": "GPU-bytes",
        "gpu1.memory": str(24 * GIB),
    }


def test_values_and_units() -> None:
    me = os.getpid()
    gpu = Gpu(compute=[(me, 2 * GIB), (1, 3 * GIB)], graphics=[(me, 2 * GIB)])
    collector = collector_of(ScriptedNvml(gpu), pid=me)
    collector.probe()
    assert sample(collector) == {
        "gpu0/util": 0.75,
        "gpu0/mem/used": 6 * GIB,
        "gpu0/mem/util": 0.25,
        "gpu0/mem/own": 2 * GIB,
        "gpu0/temp": 61.0,
        "gpu0/power": 123.456,
        "gpu0/clock": 1980.0,
        "gpu0/fan": 0.3,
    }


def test_memory_is_counted_as_nvidia_smi_does() -> None:
    collector = collector_of(ScriptedNvml(Gpu(memory_v2=(5 * GIB, 20 * GIB))))
    collector.probe()
    assert sample(collector)["gpu0/mem/used"] == 5 * GIB
    old = collector_of(ScriptedNvml(Gpu(memory_v2=pynvml.NVMLError_FunctionNotFound)))
    old.probe()
    assert sample(old)["gpu0/mem/used"] == 6 * GIB


def test_a_later_operation_prefixes_keys_and_attributes() -> None:
    collector = collector_of(ScriptedNvml(Gpu()), prefix="evaluate")
    assert set(collector.probe()) >= {"evaluate/gpu.count", "evaluate/gpu0.name"}
    assert all(key.startswith("evaluate/gpu0/") for key in sample(collector))


def test_what_is_not_supported_is_asked_once() -> None:
    gpu = Gpu(fan=pynvml.NVMLError_NotSupported, power=pynvml.NVMLError_NoPermission)
    collector = collector_of(ScriptedNvml(gpu))
    collector.probe()
    for _ in range(3):
        values = sample(collector)
        assert "gpu0/fan" not in values and "gpu0/power" not in values
        assert values["gpu0/temp"] == 61.0
    assert gpu.asked.count("fan") == gpu.asked.count("power") == 1
    assert gpu.asked.count("temperature") == 3


def test_a_value_that_fails_now_comes_back() -> None:
    gpu = Gpu(utilisation=pynvml.NVMLError_Timeout)
    collector = collector_of(ScriptedNvml(gpu))
    collector.probe()
    assert notices(collector) == ["`gpu0` did not tell its utilisation: Timeout"]
    assert notices(collector) == []
    gpu.answers["utilisation"] = 50
    assert sample(collector)["gpu0/util"] == 0.5


@pytest.mark.parametrize(
    "error", [pynvml.NVMLError_GpuIsLost, pynvml.NVMLError_Unknown, pynvml.NVMLError_ResetRequired]
)
def test_a_lost_gpu_is_named_once_and_the_others_go_on(error: type[Exception]) -> None:
    lost, sound = Gpu(), Gpu()
    collector = collector_of(ScriptedNvml(lost, sound))
    collector.probe()
    assert {"gpu0/temp", "gpu1/temp"} <= sample(collector).keys()
    lost.answers["temperature"] = error
    (reading,) = collector.sample()
    assert reading.notices == [f"`gpu0` is lost: {error()}"]
    assert {key.partition("/")[0] for key in reading.points} == {"gpu1"}
    asked = len(lost.asked)
    assert notices(collector) == [] and len(lost.asked) == asked


def test_a_gpu_lost_before_the_start() -> None:
    collector = collector_of(ScriptedNvml(Gpu(name=pynvml.NVMLError_GpuIsLost), Gpu("B")))
    assert collector.probe()["gpu1.name"] == "B"
    (reading,) = collector.sample()
    assert reading.notices == ["`gpu0` cannot be read: GPU is lost"]
    assert {key.partition("/")[0] for key in reading.points} == {"gpu1"}


def test_a_restart_of_the_driver() -> None:
    nvml = ScriptedNvml(Gpu())
    collector = collector_of(nvml)
    collector.probe()
    nvml.started, nvml.init_error = 0, pynvml.NVMLError_DriverNotLoaded
    assert notices(collector) == ["GPUs cannot be read: Driver Not Loaded"]
    assert notices(collector) == [] and sample(collector) == {}
    nvml.init_error = None
    assert sample(collector)["gpu0/temp"] == 61.0
    collector.close()
    assert nvml.started == 0


@pytest.mark.parametrize("driver_error", ["NVMLError_Uninitialized", "NVMLError_DriverNotLoaded"])
def test_nvml_is_let_go_when_a_sample_finds_it_gone(driver_error: str) -> None:
    gpu = Gpu()
    nvml = ScriptedNvml(gpu)
    collector = collector_of(nvml)
    collector.probe()
    gpu.answers["clock"] = getattr(pynvml, driver_error)
    assert len(notices(collector)) == 1 and nvml.started == 0
    gpu.answers["clock"] = 5
    assert sample(collector)["gpu0/clock"] == 5.0 and nvml.started == 1


def test_mig_instances() -> None:
    me = os.getpid()
    instances = {
        0: Gpu("1g.18gb", memory=(GIB, 4 * GIB), compute=[(me, GIB)]),
        3: Gpu("2g.35gb", memory=(2 * GIB, 8 * GIB), compute=[(me, 2 * GIB)],
               graphics=pynvml.NVMLError_NotSupported),
    }  # fmt: skip
    gpu = Gpu(
        mig=[pynvml.NVML_DEVICE_MIG_ENABLE] * 2,
        instances=instances,
        utilisation=pynvml.NVMLError_NotSupported,
        compute=pynvml.NVMLError_NoPermission,
    )
    collector = collector_of(ScriptedNvml(gpu), pid=me)
    attrs = collector.probe()
    assert attrs["gpu.count"] == "1" and attrs["gpu0.mig3.name"] == "2g.35gb"
    values = sample(collector)
    assert {key: value for key, value in values.items() if "/mig" in key} == {
        "gpu0/mig0/mem/used": GIB,
        "gpu0/mig0/mem/util": 0.25,
        "gpu0/mig0/mem/own": GIB,
        "gpu0/mig3/mem/used": 2 * GIB,
        "gpu0/mig3/mem/util": 0.25,
        "gpu0/mig3/mem/own": 2 * GIB,
    }
    assert "gpu0/util" not in values
    assert values["gpu0/mem/own"] == 3 * GIB and values["gpu0/temp"] == 61.0


def test_own_memory_in_a_container(monkeypatch: pytest.MonkeyPatch) -> None:
    """NVML may speak of other process numbers; zero would then be a guess."""
    monkeypatch.setattr("guildlite.collect.gpu._in_first_pid_namespace", lambda: False)
    me = os.getpid()
    gpu = Gpu(compute=[(2**22 + 7, GIB)])
    collector = collector_of(ScriptedNvml(gpu), pid=me)
    collector.probe()
    assert "gpu0/mem/own" not in sample(collector)
    gpu.answers["compute"] = [(me, GIB)]
    assert sample(collector)["gpu0/mem/own"] == GIB
    gpu.answers["compute"] = []
    assert sample(collector)["gpu0/mem/own"] == 0
    gpu.answers["compute"] = [(me, None)]
    assert "gpu0/mem/own" not in sample(collector)


@pytest.mark.parametrize(
    "error",
    [
        pynvml.NVMLError_LibraryNotFound,
        pynvml.NVMLError_DriverNotLoaded,
        pynvml.NVMLError_LibRmVersionMismatch,
        pynvml.NVMLError_NoPermission,
    ],
)
def test_no_driver_is_unavailable(error: type[Exception]) -> None:
    nvml = ScriptedNvml(Gpu())
    nvml.init_error = error
    with pytest.raises(Unavailable, match="NVML says"):
        collector_of(nvml).probe()


def test_no_gpu_is_unavailable_and_nvml_let_go() -> None:
    nvml = ScriptedNvml()
    with pytest.raises(Unavailable, match="no NVIDIA GPU"):
        collector_of(nvml).probe()
    assert nvml.started == 0


def test_the_real_library_here() -> None:
    """With a GPU the keys are ours; without one the collector says so."""
    collector = GpuCollector(os.getpid, started_at_ms=0)
    try:
        attrs = collector.probe()
    except Unavailable as error:
        assert str(error)
        return
    assert int(attrs["gpu.count"]) >= 1
    assert all(key.startswith("gpu") for key in sample(collector))
    collector.close()
    collector.close()
