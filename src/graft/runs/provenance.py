"""Where a run comes from: everything needed to judge whether it can be repeated."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from graft import __version__
from graft.errors import DataError
from graft.runs.manifest import file_hash
from graft.runs.redaction import MASK, is_secret_name, redacted
from graft.runs.state import now

COMPUTING = ("torch", "transformers", "peft", "accelerate", "tokenizers", "safetensors", "numpy")
"""The libraries that train and score: another version may round otherwise."""

_LIBRARIES = (*COMPUTING, "scipy", "pydantic", "tensorboard", "matplotlib")
_VARIABLES = (
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_VISIBLE_DEVICES",
    "GRAFT_CACHE",
    "GRAFT_OFFLINE",
    "HF_HUB_OFFLINE",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "PYTHONHASHSEED",
    "TOKENIZERS_PARALLELISM",
)
_GIT_SECONDS = 10


def collect(
    *,
    recipe_hash: str,
    seeds: Sequence[int],
    data_hashes: Mapping[str, str],
    inputs: Mapping[str, str],
    extra: Mapping[str, object] | None = None,
) -> dict[str, Any]:
    """Everything about this process and machine that can change a result.

    Args:
        recipe_hash: hash of the resolved recipe.
        seeds: every seed of the run.
        data_hashes: hash by name of each source of rows.
        inputs: hash by name of each file that the run reads; a run is only continued with the same.
        extra: whatever only the caller knows; ``accelerator`` is put under ``hardware``.

    Returns:
        A dictionary for provenance.json. What cannot be found out is ``None``.
    """
    more = dict(extra or {})
    return {
        "started": now(),
        "graft": __version__,
        "recipe_hash": recipe_hash,
        "seeds": list(seeds),
        "data_hashes": dict(data_hashes),
        "inputs": dict(inputs),
        "git": git_state(Path(__file__).parent),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "libraries": {name: version_of(name) for name in _LIBRARIES},
        "hardware": {**_hardware(), "accelerator": more.pop("accelerator", None)},
        "command": masked_arguments(sys.argv),
        "environment": masked_environment(os.environ),
        "extra": more,
    }


def git_state(folder: Path) -> dict[str, Any]:
    """State of the git checkout that a folder belongs to.

    Returns:
        ``commit``, ``branch`` (``None`` when detached) and ``dirty`` (uncommitted changes, new files included); all
        ``None`` with a ``reason`` when the folder is not part of a checkout or git is not there.
    """
    unknown = {"commit": None, "branch": None, "dirty": None}
    try:
        # An installed copy inside somebody else's checkout is not tracked by it.
        _git(folder, "ls-files", "--error-unmatch", ".")
        return {
            "commit": _git(folder, "rev-parse", "HEAD"),
            "branch": _git(folder, "branch", "--show-current") or None,
            "dirty": bool(_git(folder, "status", "--porcelain")),
        }
    except FileNotFoundError:
        return {**unknown, "reason": "git is not installed"}
    except subprocess.TimeoutExpired:
        return {**unknown, "reason": f"git did not answer within {_GIT_SECONDS} s"}
    except subprocess.CalledProcessError as error:
        lines = str(error.stderr).strip().splitlines()
        return {**unknown, "reason": lines[0] if lines else f"git exited with code {error.returncode}"}
    except OSError as error:
        return {**unknown, "reason": f"git cannot be started: {error.strerror}"}


def masked_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment variables that can change a result, in the order of their names.

    Of other variables that begin with ``GRAFT_`` the value is masked, whatever it is.
    """
    return {
        name: redacted(value) if name in _VARIABLES else MASK
        for name, value in sorted(environment.items())
        if name in _VARIABLES or name.startswith("GRAFT_")
    }


def masked_arguments(arguments: Sequence[str]) -> list[str]:
    """A command line with secrets masked: ``--token X``, ``hub.token=X``, and values in a known form of key."""
    masked, hide_next = [], False
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        if hide_next and not argument.startswith("-"):
            masked.append(MASK)
            hide_next = False
            continue
        secret = is_secret_name(name)
        hide_next = secret and not equals and argument.startswith("-")
        masked.append(f"{name}={MASK}" if secret and equals else redacted(argument))
    return masked


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes in hexadecimal, read in pieces.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        return file_hash(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}. Check the path and its permissions.") from error


def hash_rows(rows: Iterable[str]) -> str:
    """SHA-256 in hexadecimal of texts in their order; where one ends and the next begins counts too."""
    digest = hashlib.sha256()
    for row in rows:
        data = row.encode("utf-8", errors="surrogatepass")
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def version_of(library: str) -> str | None:
    """The installed version of a library; ``None`` when it is not installed."""
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(folder: Path, *arguments: str) -> str:
    # Inside a git hook GIT_DIR and its like point to that repository, whatever the folder.
    outside = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        capture_output=True,
        check=True,
        encoding="utf-8",
        errors="replace",
        env={**outside, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"},
        stdin=subprocess.DEVNULL,
        timeout=_GIT_SECONDS,
    )
    return done.stdout.strip()


def _hardware() -> dict[str, Any]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count()
    return {
        "cpu": _cpu_model(),
        "cores_physical": psutil.cpu_count(logical=False),
        "cores_usable": usable,
        "memory_bytes": psutil.virtual_memory().total,
    }


def _cpu_model() -> str:
    try:
        information = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        information = ""
    found = re.search(r"^model name\s*:\s*(.+)$", information, re.MULTILINE)
    return found.group(1).strip() if found else platform.processor() or platform.machine()
