"""Style control tokens: new plain tokens whose embeddings alone are trained, as deltas on a frozen row.

K: control tokens. D: width of an embedding. V: rows of the embedding.

A token's row in the frozen embedding is the mean of the rows that belong to the tokenizer, so an untrained token says
nothing in particular; what is learned is a row of zeros that is added to it on the way in. The output head, tied or
not, keeps the frozen row: its logit is the average one, so no token is ever favoured because its delta grew. A tied
embedding and head stay one tensor.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graft.errors import ConfigError, ModelError
from graft.models.adapters import load_adapter, save_adapter
from graft.types import Sampling

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

FILE = "style.safetensors"
"""The delta rows, beside the adapter."""

PRESETS = {
    "terse": Sampling(max_new_tokens=20),
    "verbose": Sampling(temperature=0.7, min_new_tokens=30, max_new_tokens=100),
}
"""How replies of a style are generated when it is served; no part of a measurement, where all styles decode alike."""

DELTA, IDS = "style_delta", "style_ids"


def add_style_tokens(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str]) -> tuple[int, ...]:
    """Add control tokens to a tokenizer, in place: plain ones, which a chat template and a decoder leave alone.

    Returns:
        Their ids, in the order of the tokens.

    Raises:
        ConfigError: a token is empty, is in the vocabulary already, or is named twice.
    """
    from tokenizers import AddedToken

    known = tokenizer.get_vocab()
    for index, token in enumerate(tokens):
        if not token.strip() or token in known or token in tokens[:index]:
            raise ConfigError(
                f"style.tokens[{index}] is {token!r}, but a control token must be new to the tokenizer and named once; "
                "choose another, such as <STYLE_TERSE>"
            )
    added = [AddedToken(token, special=False, normalized=False) for token in tokens]
    tokenizer.add_tokens(added, special_tokens=False)
    return tuple(int(tokenizer.convert_tokens_to_ids(token)) for token in tokens)


def add_style_rows(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> PreTrainedModel:
    """Give the control tokens of a tokenizer frozen rows and trainable deltas, in place.

    The embedding grows only if the tokenizer is larger than it. Call this after adapters are added: PEFT freezes
    everything that it finds.

    Args:
        model: a causal model, with or without adapters.
        tokenizer: it knows the tokens.
        ids: their ids.

    Raises:
        ModelError: the model has deltas already.
    """
    import torch

    bare = _bare(model)
    embedding = bare.get_input_embeddings()
    if hasattr(embedding, DELTA):
        raise ModelError(f"{model.name_or_path} has style tokens already; load it anew")
    first_new = min(min(ids), embedding.weight.shape[0])
    if len(tokenizer) > embedding.weight.shape[0]:
        trained = [name for name, parameter in bare.named_parameters() if parameter.requires_grad]
        bare.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        embedding = bare.get_input_embeddings()
        for name, parameter in bare.named_parameters():  # the new tensors are trainable by default
            parameter.requires_grad_(name in trained and parameter is not embedding.weight)
    _freeze_rows(bare, ids, first_new)
    weight = embedding.weight
    embedding.register_buffer(IDS, torch.tensor(list(ids), device=weight.device), persistent=False)
    delta_KD = torch.zeros(len(ids), weight.shape[1], dtype=torch.float32, device=weight.device)
    embedding.register_parameter(DELTA, torch.nn.Parameter(delta_KD))
    embedding.register_forward_hook(_add_delta)
    return model


def _add_delta(embedding: Any, args: tuple[torch.Tensor, ...], output_BTD: torch.Tensor) -> torch.Tensor:
    """Add the delta rows where their tokens stand; shapes do not depend on where that is."""
    ids_BT, delta_KD = args[0], getattr(embedding, DELTA)
    stands_BTK = ids_BT[..., None] == getattr(embedding, IDS)
    changed_BTD: torch.Tensor = output_BTD + (stands_BTK.to(delta_KD.dtype) @ delta_KD).to(output_BTD.dtype)
    return changed_BTD


def _freeze_rows(model: PreTrainedModel, ids: Sequence[int], known: int) -> None:
    """Set the tokens' rows to the mean of the rows that were there, and freeze embedding and head."""
    import torch

    tables = {id(layer.weight): layer.weight for layer in (model.get_input_embeddings(), model.get_output_embeddings())}
    with torch.no_grad():
        for weight in tables.values():
            mean_D = weight[:known].float().mean(dim=0)
            weight[list(ids)] = mean_D.to(weight.dtype)
            weight.requires_grad_(False)


def delta_rows(model: PreTrainedModel) -> torch.Tensor:
    """The delta rows, float32 of shape (K, D).

    Raises:
        ModelError: the model has no style tokens.
    """
    delta_KD = getattr(_bare(model).get_input_embeddings(), DELTA, None)
    if delta_KD is None:
        raise ModelError(f"{model.name_or_path} has no style tokens; train with style.tokens, or load it by its run")
    found: torch.Tensor = delta_KD
    return found


@contextmanager
def untrained_tokens(model: PreTrainedModel) -> Iterator[None]:
    """Within the block the control tokens are as if they had never been trained; everything else stays trained."""
    import torch

    delta_KD = delta_rows(model)
    kept_KD = delta_KD.detach().clone()
    with torch.no_grad():
        delta_KD.zero_()
    try:
        yield
    finally:
        with torch.no_grad():
            delta_KD.copy_(kept_KD)


def save_styled(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str], folder: Path
) -> None:
    """Save the adapter and the delta rows, and no embedding; the tokenizer is saved by its owner.

    Args:
        model: a model with an adapter and style tokens.
        tokenizer: it knows the tokens.
        tokens: the control tokens.
        folder: where to.
    """
    from safetensors.torch import save_file

    embedding = _bare(model).get_input_embeddings()
    save_adapter(model, folder, save_embedding_layers=False)
    ids = [int(tokenizer.convert_tokens_to_ids(token)) for token in tokens]
    facts = {"tokens": list(tokens), "ids": ids, "rows": int(embedding.weight.shape[0]), "vocabulary": len(tokenizer)}
    save_file({"delta": delta_rows(model).detach().cpu().contiguous()}, folder / FILE, {"style": json.dumps(facts)})


@dataclass(frozen=True, slots=True)
class Styled:
    """A model with its style tokens and the tokenizer that knows them."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    tokens: tuple[str, ...]


def load_styled(folder: Path, base: PreTrainedModel) -> Styled:
    """Make a trained model with style tokens of its base: tokenizer, grown embedding, deltas and adapter.

    Args:
        folder: holds the adapter, `FILE` and the tokenizer.
        base: the untouched model.

    Raises:
        ModelError: files are missing or damaged, or tokenizer, deltas and model do not belong together.
    """
    delta_KD, facts = _read(folder)
    name = str(base.name_or_path)
    tokenizer = _tokenizer(folder, name, facts)
    embedding = base.get_input_embeddings().weight
    if max(embedding.shape[0], facts["vocabulary"]) != facts["rows"] or embedding.shape[1] != delta_KD.shape[1]:
        raise ModelError(
            f"{folder / FILE} belongs to a model of {facts['rows']:,} embeddings of width {delta_KD.shape[1]} for a "
            f"tokenizer of {facts['vocabulary']:,} entries, but {name} has {embedding.shape[0]:,} of width "
            f"{embedding.shape[1]}; load the model that it was trained on"
        )
    add_style_rows(base, tokenizer, facts["ids"])
    model = load_adapter(base, folder)
    import torch

    with torch.no_grad():
        delta_rows(model).copy_(delta_KD)
    delta_rows(model).requires_grad_(False)
    return Styled(model.eval(), tokenizer, tuple(facts["tokens"]))


def _read(folder: Path) -> tuple[torch.Tensor, dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / FILE, framework="pt", device="cpu") as file:
            return file.get_tensor("delta"), json.loads(file.metadata()["style"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"cannot read the style tokens of {folder}: {error}; train the run again") from error


def _tokenizer(folder: Path, name: str, facts: dict[str, Any]) -> PreTrainedTokenizerBase:
    """The tokenizer beside the adapter, with the very ids that were trained."""
    import transformers

    try:
        tokenizer: PreTrainedTokenizerBase = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # each kind of tokenizer fails in its own way
        raise ModelError(f"cannot load the tokenizer of {folder}: {error}; copy it from the run again") from error
    found = [int(index) for index in tokenizer.convert_tokens_to_ids(facts["tokens"])]
    if found != facts["ids"] or len(tokenizer) != facts["vocabulary"]:
        raise ModelError(
            f"the tokenizer of {folder} has {len(tokenizer):,} entries and gives {', '.join(facts['tokens'])} the ids "
            f"{found}, but the style tokens were trained with {facts['vocabulary']:,} entries and the ids "
            f"{facts['ids']}; use the tokenizer that was saved with this adapter of {name}"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _bare(model: PreTrainedModel) -> Any:
    """The model inside its adapters."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
