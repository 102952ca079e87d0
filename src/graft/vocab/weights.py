"""A smaller model: the rows of the kept entries, everything else untouched.

Logits over the kept entries are bit-identical, because each is the product of the same hidden state and the same row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graft.errors import ModelError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_SUPPRESSED = ("suppress_tokens", "begin_suppress_tokens")


@dataclass(frozen=True, slots=True)
class Size:
    """How large a model is; tied weights count once.

    Attributes:
        parameters: number of parameters.
        bytes: bytes of all parameters in their type.
        rows: rows of the embeddings.
        embedding_parameters: parameters of embeddings and head.
    """

    parameters: int
    bytes: int
    rows: int
    embedding_parameters: int

    @property
    def embedding_share(self) -> float:
        """Share of the parameters in embeddings and head, in [0, 1]."""
        return self.embedding_parameters / self.parameters


def measure(model: PreTrainedModel) -> Size:
    """Count a model's parameters and bytes."""
    parameters = list(model.parameters())
    outer = {id(p): p for p in _outer_parameters(model)}
    return Size(
        parameters=sum(p.numel() for p in parameters),
        bytes=sum(p.numel() * p.element_size() for p in parameters),
        rows=rows(model),
        embedding_parameters=sum(p.numel() for p in outer.values()),
    )


def rows(model: PreTrainedModel) -> int:
    """Rows of a model's embeddings, often a few more than its tokenizer has entries."""
    return int(model.get_input_embeddings().weight.shape[0])


def trim_model(model: PreTrainedModel, ids: Sequence[int]) -> None:
    """Keep the rows of some ids, in place; tied weights stay tied and the configuration is mapped.

    Args:
        model: a causal language model.
        ids: original ids in the order of the new ids.

    Raises:
        ModelError: the model has fewer rows than the ids need, is quantised, or holds another tensor as long as its
            vocabulary.
    """
    import torch

    old_rows = _check(model, ids)
    index = torch.tensor(ids)
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    tied = head.weight is embeddings.weight
    with torch.no_grad():
        embeddings.weight = _select(embeddings.weight, index)
        head.weight = embeddings.weight if tied else _select(head.weight, index)
        if getattr(head, "bias", None) is not None:
            head.bias = _select(head.bias, index)
    embeddings.num_embeddings = head.out_features = len(ids)
    new = {old: position for position, old in enumerate(ids)}
    if embeddings.padding_idx is not None:
        embeddings.padding_idx = new.get(embeddings.padding_idx)
    for module in model.modules():
        if getattr(module, "vocab_size", None) == old_rows:
            module.vocab_size = len(ids)
    model.config.get_text_config().vocab_size = len(ids)
    for config in _configs(model):
        _map_ids(config, new)


def named_ids(model: PreTrainedModel) -> set[int]:
    """Every token id that the model's configuration names: beginning, end, padding and the like."""
    return {id for config in _configs(model) for _, ids in _ids_of(config) for id in ids}


def _configs(model: PreTrainedModel) -> list[Any]:
    """The model's configurations, each once: a text model is its own text configuration."""
    found = (model.config, model.config.get_text_config(), model.generation_config)
    return list({id(config): config for config in found if config is not None}.values())


def _check(model: PreTrainedModel, ids: Sequence[int]) -> int:
    name = model.name_or_path
    if getattr(model.config, "quantization_config", None) is not None:
        raise ModelError(f"{name} is quantised; trim the original weights and quantise the result")
    if model.get_output_embeddings() is None:
        raise ModelError(f"{name} has no language-model head to trim; name a causal language model")
    old_rows = rows(model)
    if max(ids) >= old_rows:
        raise ModelError(
            f"{name} has embeddings for {old_rows} tokens, but its tokenizer has an entry with id {max(ids)}; "
            "tokenizer and model do not belong together"
        )
    own = {id(p) for p in _outer_parameters(model)}
    others = (
        n for n, p in (*model.named_parameters(), *model.named_buffers()) if id(p) not in own and old_rows in p.shape
    )
    if (other := next(others, None)) is not None:
        raise ModelError(f"{name} also holds {other} with {old_rows} rows, one for each token; trimming cannot map it")
    return old_rows


def _outer_parameters(model: PreTrainedModel) -> Iterator[torch.nn.Parameter]:
    """The parameters of embeddings and head."""
    yield from model.get_input_embeddings().parameters()
    if (head := model.get_output_embeddings()) is not None:
        yield from head.parameters()


def _select(weight: torch.nn.Parameter, index: torch.Tensor) -> torch.nn.Parameter:
    import torch

    return torch.nn.Parameter(weight[index.to(weight.device)].contiguous(), requires_grad=weight.requires_grad)


def _ids_of(config: Any) -> Iterator[tuple[str, list[int]]]:
    """The settings of a configuration that hold token ids."""
    for name, value in config.to_dict().items():
        if name.endswith("_token_id") and value is not None:
            yield name, list(value) if isinstance(value, Iterable) else [value]


def _map_ids(config: Any, new: Mapping[int, int]) -> None:
    """Replace token ids by new ones; an id that is no entry of the tokenizer is dropped."""
    for name, ids in _ids_of(config):
        mapped = [new[id] for id in ids if id in new]
        single = not isinstance(getattr(config, name), Iterable)
        setattr(config, name, (mapped[0] if single else mapped) if mapped else None)
    for name in _SUPPRESSED:
        if getattr(config, name, None):
            setattr(config, name, [new[id] for id in getattr(config, name) if id in new])
