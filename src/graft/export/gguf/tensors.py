"""The tensors of a model folder in llama.cpp's names, order and shape, one at a time.

Axes: R rows (outputs), C columns (inputs), E experts.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft.errors import ModelError
from graft.export.gguf.architectures import Architecture, frequency_factors, layers_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

_EXPERT = re.compile(r"(.*\.experts)\.(\d+)\.(.*)")
_TRANSPOSED = re.compile(r"\.(c_attn|c_proj|c_fc)\.weight$")
_ROTATED = re.compile(r"\.self_attn\.(q|k)_proj\.(weight|bias)$")


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor to be written.

    Attributes:
        name: llama.cpp's.
        shape: as it will be, rows first.
        read: gives its values in float32.
    """

    name: str
    shape: tuple[int, ...]
    read: Callable[[], Floats]


def tensors_of(folder: Path, config: Any, found: Architecture) -> list[Tensor]:
    """All tensors of a model folder; nothing is read yet but shapes.

    Raises:
        ModelError: llama.cpp has no place for one of them.
    """
    import gguf
    import numpy as np

    arch = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == found.name)
    names = gguf.get_tensor_name_map(arch, layers_of(config))
    wanted = []
    for name, parts in _grouped(folder):
        if config.tie_word_embeddings and name == "lm_head.weight":
            continue
        place = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if place is None:
            raise ModelError(f"{folder} has the tensor {name}, for which llama.cpp's {found.name} has no place")
        shape = tuple(parts[0].shape[::-1] if _is_transposed(name, found) else parts[0].shape)
        if len(parts) > 1:
            shape = (len(parts), *shape)
        wanted.append(Tensor(place, shape, partial(_read, name, parts, config, found)))
    factors = frequency_factors(config)
    if factors is not None:
        values = np.array(factors, np.float32)
        wanted.append(Tensor("rope_freqs.weight", values.shape, lambda: values))
    return wanted


@dataclass(frozen=True, slots=True)
class _Stored:
    """A tensor in its file."""

    file: Path
    name: str
    shape: tuple[int, ...]

    def read(self) -> Floats:
        from safetensors import safe_open

        with safe_open(self.file, framework="pt", device="cpu") as file:
            values: Floats = file.get_tensor(self.name).float().numpy()
        return values


def _grouped(folder: Path) -> Iterator[tuple[str, Sequence[_Stored]]]:
    """Names with what is stored under them; the experts of a layer are one tensor in llama.cpp."""
    from safetensors import safe_open

    groups: dict[str, dict[int, _Stored]] = defaultdict(dict)
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - it is no mapping
                expert = _EXPERT.fullmatch(name)
                group, number = (f"{expert[1]}.{expert[3]}", int(expert[2])) if expert else (name, 0)
                groups[group][number] = _Stored(path, name, tuple(file.get_slice(name).get_shape()))
    for name, parts in groups.items():
        yield name, [parts[number] for number in sorted(parts)]


def _read(name: str, parts: Sequence[_Stored], config: Any, found: Architecture) -> Floats:
    import numpy as np

    if len(parts) > 1:
        return np.stack([part.read() for part in parts])
    values = parts[0].read()
    if _is_transposed(name, found):
        return np.ascontiguousarray(values.T)
    rotated = _ROTATED.search(name) if found.permuted else None
    if rotated:
        return permuted(values, config.num_attention_heads if rotated[1] == "q" else config.num_key_value_heads)
    return values + np.float32(found.shift) if name.endswith("norm.weight") else values


def _is_transposed(name: str, found: Architecture) -> bool:
    return found.transposed and _TRANSPOSED.search(name) is not None


def permuted(values: Floats, heads: int) -> Floats:
    """Rows of q or k so that the two halves of each rotary head alternate, as llama.cpp rotates neighbours."""
    half = values.shape[0] // heads // 2
    return values.reshape(heads, 2, half, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)
