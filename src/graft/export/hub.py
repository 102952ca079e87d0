"""Uploading an exported folder to a model hub: it happens only where a person named the repository."""

from __future__ import annotations

import re
from pathlib import Path

from graft.errors import ConfigError, ModelError
from graft.models.source import offline

PREFIX = "hub:"
NAME = re.compile(r"[\w.-]+/[\w.-]+")


def check_target(target: str) -> str:
    """The repository of a ``hub:owner/name``.

    Raises:
        ConfigError: it is written otherwise, or nothing may leave this machine.
    """
    name = target.removeprefix(PREFIX)
    if not target.startswith(PREFIX) or not NAME.fullmatch(name):
        raise ConfigError(f"--push-to is {target!r}, but it must be written hub:owner/name")
    if offline():
        raise ConfigError(f"--push-to is {target}, but GRAFT_OFFLINE or HF_HUB_OFFLINE forbids it; unset them")
    return name


def push(folder: Path, name: str) -> str:
    """Upload a folder as a model; a repository that is not there yet is made, private.

    Args:
        folder: the exported folder.
        name: ``owner/name``.

    Returns:
        Address of the commit.

    Raises:
        ModelError: the hub refuses, or cannot be reached.
    """
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    api = HfApi()
    try:
        api.create_repo(name, private=True, exist_ok=True)
        done = api.upload_folder(repo_id=name, folder_path=folder, commit_message="Export by Graft")
    except (HfHubHTTPError, LocalTokenNotFoundError, httpx.HTTPError, OSError, ValueError) as error:
        raise ModelError(
            f"{folder} could not be uploaded to {name}: {error}; check the name, `hf auth login` and the network. The "
            "folder itself is complete"
        ) from error
    return str(done.commit_url)
