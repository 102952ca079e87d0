"""The stages of a run, composed."""

from logging import ERROR, getLogger

# Before anything imports it: bitsandbytes advises faster kernels from the network, which no user of ours asked for.
getLogger("bitsandbytes.backends.cpu.ops").setLevel(ERROR)
