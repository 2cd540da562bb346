"""The device and the dtype that a model computes with, and memory that ran out."""

from functools import cache

import torch

from gradgate.errors import ModelError


def choose_device(name: str) -> torch.device:
    """The device of a configuration.

    Raises:
        ModelError: There is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ModelError(f"unknown device {name!r}; use auto, cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise ModelError(f"device {name!r} is not supported; use auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ModelError(f"device {name!r} is not there; {torch.cuda.device_count()} GPUs are")
    return device


def check_places(device_map: str | dict[str, int | str] | None) -> None:
    """Check where the modules of a model are to lie; only `auto` is a name for all.

    Raises:
        ModelError: A place is unknown, or is not there.
    """
    if not isinstance(device_map, dict):
        return
    for module, place in device_map.items():
        name = f"cuda:{place}" if isinstance(place, int) else place
        if name in ("cpu", "disk"):
            continue
        try:
            if choose_device(name).type != "cuda" or name == "auto":
                raise ModelError(f"{place!r} is no place for a module")
        except ModelError as error:
            raise ModelError(
                f"model.device_map: {module!r} cannot lie on {place!r} ({error}); use cpu, disk, "
                "cuda:N or the number N of a GPU that is there, or model.device_map: auto"
            ) from error


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """The dtype of a configuration; `auto` is bfloat16 where the device multiplies it."""
    if name == "auto":
        return torch.bfloat16 if _computes_in_bfloat16(device) else torch.float32
    return torch.bfloat16 if name == "bfloat16" else torch.float32


def _computes_in_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices faster than float32 ones."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    # Intel's avx512_bf16 multiplies no more numbers a second than float32's instructions do, and
    # conversions come on top; AMD's twice as many.
    return bool(capabilities.get("amx_bf16") or (capabilities.get("avx512_bf16") and is_of_amd()))


@cache
def is_of_amd() -> bool:
    """Whether this processor is one of AMD's; by its name, so that equal machines do the same."""
    return str(torch.cpu.get_capabilities().get("cpu_name", "")).startswith("AMD")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch or numpy is about memory; torch has no class for it on a CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
