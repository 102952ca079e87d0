"""A process that may not leave this machine, among packages that try to."""

from __future__ import annotations

from pathlib import Path

GUARDED = """
import socket, sys

def loopback(address):
    return not isinstance(address, tuple) or address[0] in ("localhost", "::1") or str(address[0]).startswith("127.")

def guarded(original):
    def connect(self, address):
        if not loopback(address):
            print(f"BLOCKED {address}", file=sys.stderr)
            raise OSError(f"a test forbids leaving this machine: {address}")
        return original(self, address)
    return connect

def lookup(host, *args, _original=socket.getaddrinfo, **kwargs):
    if host is not None and not loopback((host,)):
        print(f"BLOCKED {host}", file=sys.stderr)
        raise OSError(f"a test forbids looking up {host}")
    return _original(host, *args, **kwargs)

for name in ("connect", "connect_ex"):
    setattr(socket.socket, name, guarded(getattr(socket.socket, name)))
socket.getaddrinfo = lookup
"""
"""Code that forbids a process to leave this machine, and says on stderr what tried."""

MAIN = """
from graft.cli.main import main
main()
"""

FETCHES = """
import socket

def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    socket.create_connection(("192.0.2.1", 80), timeout=1)
"""
PACKAGES = {"kernels": "0.18.5", "wandb": "0.30.0", "mlflow": "3.9.0", "comet_ml": "3.60.0", "trackio": "0.20.0"}


def with_packages_that_fetch(folder: Path) -> str:
    """Install packages that libraries use by themselves where they are found; whatever is asked of them, they fetch.

    Returns:
        The folder to put on the path.
    """
    for name, version in PACKAGES.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(FETCHES)
        about = folder / f"{name}-{version}.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return str(folder)
