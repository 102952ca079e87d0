"""Types of a GGUF file: which tensor gets which, and the bytes of it.

The mixtures are those of `llama-quantize` without an importance matrix. K-quants are made by llama.cpp's own function
in the shared object of `xllamacpp`; the symbol is no API, so it is looked for by name and tested against llama.cpp.

Source: llama.cpp, `src/llama-quant.cpp`.
"""

from __future__ import annotations

import ctypes
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from graft.errors import ConfigError, ModelError, choices

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Mixture(NamedTuple):
    """One kind of file: the type of most tensors, llama.cpp's name of the whole, and about the bits of a weight."""

    most: str
    name: str
    bits: float


FILES = {
    "f32": Mixture("F32", "ALL_F32", 32),
    "f16": Mixture("F16", "MOSTLY_F16", 16),
    "bf16": Mixture("BF16", "MOSTLY_BF16", 16),
    "q8_0": Mixture("Q8_0", "MOSTLY_Q8_0", 8.5),
    "q6_k": Mixture("Q6_K", "MOSTLY_Q6_K", 6.6),
    "q5_k_m": Mixture("Q5_K", "MOSTLY_Q5_K_M", 5.7),
    "q4_k_m": Mixture("Q4_K", "MOSTLY_Q4_K_M", 4.9),
    "q4_0": Mixture("Q4_0", "MOSTLY_Q4_0", 4.7),
}
"""What can be made here."""

FALLBACKS = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
"""For rows that are no multiple of a K-quant's 256; where they are none of 32 either it is F16."""

_ALWAYS_F32 = ("norm", "ffn_gate_inp", "position_embd", "rope_freqs")
_WHOLE = ("F32", "F16", "BF16")
_BLOCK = re.compile(r"blk\.(\d+)\.(.*)\.weight")


def check_name(name: str) -> str:
    """The name of a mixture in small letters.

    Raises:
        ConfigError: it cannot be made here.
    """
    wanted = name.lower()
    if wanted not in FILES:
        raise ConfigError(
            f"--quantize names {name!r}, which cannot be made here. {choices(wanted, FILES)} llama.cpp makes others of "
            f"an f16 file: llama-quantize model-f16.gguf model-{wanted}.gguf {wanted.upper()}"
        )
    return wanted


def tensor_type(name: str, shape: tuple[int, ...], mixture: str, *, layers: int, experts: int, tied: bool) -> str:
    """The type of one tensor.

    Args:
        name: llama.cpp's name of it.
        shape: rows first.
        mixture: a name of `FILES`.
        layers: blocks of the model.
        experts: experts of a layer; 0 for none.
        tied: the embedding is the output layer too.
    """
    most = FILES[mixture].most
    if len(shape) == 1 or any(part in name for part in _ALWAYS_F32):
        return "F32"
    if most in _WHOLE:
        return most
    return _that_fits(_mixed(name, mixture, most, layers=layers, experts=experts, tied=tied), shape[-1])


def _mixed(name: str, mixture: str, most: str, *, layers: int, experts: int, tied: bool) -> str:
    if most == "Q8_0":
        return most
    if name == "output.weight" or (tied and name == "token_embd.weight"):
        return "Q6_K"
    block = _BLOCK.fullmatch(name)
    if block is None or not mixture.endswith("_m"):
        return most
    index, part = int(block[1]), block[2]
    more = index < layers // 8 or index >= 7 * layers // 8 or (index - layers // 8) % 3 == 2
    if experts == 8 and part in ("attn_v", "attn_k"):
        return "Q8_0"
    if experts == 8 and part == "attn_output":
        return "Q5_K"
    if part in ("attn_v", "ffn_down", "ffn_down_exps") and more:
        return "Q6_K"
    if part == "attn_qkv":
        return {"Q4_K": "Q5_K", "Q5_K": "Q6_K"}[most]
    return most


def _that_fits(kind: str, columns: int) -> str:
    if kind.endswith("_K") and columns % 256:
        kind = FALLBACKS[kind]
    return "F16" if columns % 32 else kind


def encode(values: NDArray[np.float32], kind: str) -> NDArray[Any]:
    """The bytes of a tensor in a type, rows as they were.

    Raises:
        ModelError: this llama.cpp does not quantise so.
    """
    import gguf
    import numpy as np

    target = gguf.GGMLQuantizationType[kind]
    if kind.endswith("_K"):
        return _by_llama_cpp(values, target)
    if kind == "F32":
        return np.ascontiguousarray(values, np.float32)
    return gguf.quantize(values, target)


def _by_llama_cpp(values: NDArray[np.float32], target: Any) -> NDArray[np.uint8]:
    import gguf
    import numpy as np

    source = np.ascontiguousarray(values, np.float32)
    columns, rows = source.shape[-1], source.size // source.shape[-1]
    block, size = gguf.GGML_QUANT_SIZES[target]
    coded = np.empty((rows, columns // block * size), np.uint8)
    place = source.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    written = _library().ggml_quantize_chunk(
        int(target), place, coded.ctypes.data_as(ctypes.c_void_p), 0, rows, columns, None
    )
    if written != coded.nbytes:
        raise ModelError(f"llama.cpp wrote {written:,} bytes of {target.name} instead of {coded.nbytes:,}; use q8_0")
    return coded.reshape(*source.shape[:-1], -1)


@cache
def _library() -> Any:
    """llama.cpp inside xllamacpp.

    Raises:
        ModelError: it does not show its quantiser.
    """
    import xllamacpp

    found = sorted(Path(str(xllamacpp.__file__)).parent.glob("*.so"))
    library = ctypes.CDLL(str(found[0])) if found else None
    function = getattr(library, "ggml_quantize_chunk", None)
    if function is None:
        raise ModelError("this xllamacpp has no ggml_quantize_chunk, so K-quants cannot be made; use q8_0 or f16")
    function.restype = ctypes.c_size_t
    pointers = (ctypes.POINTER(ctypes.c_float), ctypes.c_void_p)
    function.argtypes = (ctypes.c_int, *pointers, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
    return library
