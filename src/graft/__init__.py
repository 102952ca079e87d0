"""Graft: a lab for small open language models.

Importing it tells every library, before one of them is imported, to keep to itself; with `GRAFT_OFFLINE=1` to stay off
the network as well.
"""

import os
import sys

__version__ = "0.1.0"

_QUIET = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "UNSLOTH_DISABLE_STATISTICS": "1",
    "USE_HUB_KERNELS": "NO",  # native code that transformers would fetch by itself
}
"""Variables that are set unless the user set them."""

_OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "WANDB_MODE": "disabled"}
"""Variables that are set whatever they were, with `GRAFT_OFFLINE=1`."""

_UNASKED = ("kernels", "comet_ml")
"""Packages that transformers uses wherever they are installed, whatever a variable says; offline they are not found."""


def is_offline() -> bool:
    """Whether Graft was told to stay off the network (`GRAFT_OFFLINE=1`)."""
    return os.environ.get("GRAFT_OFFLINE", "") not in ("", "0")


for _name, _value in _QUIET.items():
    os.environ.setdefault(_name, _value)
if is_offline():
    os.environ.update(_OFFLINE)
    for _name in _UNASKED:
        sys.modules.setdefault(_name, None)  # type: ignore[arg-type]
