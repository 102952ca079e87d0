"""The recipe: every setting, its range and its default, each exactly once.

`docs/reference/recipe.md`, the JSON schema for editors and the flags of the command line are made from this file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(ge=1)]
NonNegative = Annotated[int, Field(ge=0)]


class Section(BaseModel):
    """Base of all sections: unknown keys are errors, values never change, docstrings are the documentation."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class ModelSection(Section):
    """Which model is trained and scored, and where it runs."""

    id: str = "sprout"
    """`sprout` (the embedded model), a local folder, or a hub id such as `Qwen/Qwen3-0.6B`."""

    revision: str | None = None
    """Branch, tag or commit of a hub model."""

    init: Literal["weights", "random"] = "weights"
    """`weights` loads the weights; `random` builds the architecture of `config.json` with seeded random weights."""

    device: Literal["auto", "cuda", "mps", "cpu"] = "auto"
    """Where it runs; `auto` takes CUDA, then MPS, then the CPU."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Type of the weights in memory; `auto` is bfloat16 on CUDA and float32 elsewhere."""

    attention: Literal["auto", "eager", "sdpa"] = "auto"
    """Attention implementation; `auto` is sdpa on CUDA and eager elsewhere (faster for short rows on CPUs)."""


class TrainSource(Section):
    """One source of training examples."""

    task: str
    """A task name from `graft tasks`."""

    rate: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Share of the training examples drawn from this source; the rates of all sources sum to 1."""

    words: Positive | None = None
    """At most this many distinct training words (word tasks); all of `words.train` when unset."""

    pseudo: Share = 0.0
    """Share of the items that ask about made-up, pronounceable words (word tasks)."""


def _one_source(value: Any) -> Any:
    """Accept `spelling` for `[{task: spelling, rate: 1.0}]`."""
    return ({"task": value},) if isinstance(value, str) else value


class DataSection(Section):
    """What is trained."""

    train: Annotated[
        tuple[TrainSource, ...],
        BeforeValidator(_one_source, json_schema_input_type=str | tuple[TrainSource, ...]),
        Field(min_length=1),
    ] = (TrainSource(task="spelling"),)
    """Training sources with their rates; a bare task name means that task alone."""

    corpus: tuple[Path, ...] = ()
    """Plain-text files for the task `prose`."""

    max_length: Annotated[int, Field(ge=8)] = 512
    """Longest row in tokens, prompt and completion together; longer rows are dropped, counted and reported."""

    @model_validator(mode="after")
    def _rates_sum_to_one(self) -> DataSection:
        total = sum(source.rate for source in self.train)
        if abs(total - 1.0) > 1e-6:
            rates = " + ".join(f"{source.rate:g}" for source in self.train)
            raise ValueError(f"the rates must sum to 1, but {rates} = {total:g}")
        return self


class WordsSection(Section):
    """Which words the word tasks ask about, and how they are split."""

    source: str = "package"
    """`package` (the list that ships with Graft), `tokenizer` (the model's English multi-character tokens), or a path
    to a file with one word per line."""

    pool: Literal["experiment", "base"] = "experiment"
    """Part of the packaged list: `experiment`, or `base`, the words that only Sprout's own training may see."""

    train: Positive = 9000
    """Number of training words."""

    eval: Positive = 2000
    """Number of held-out words, unrelated to every training word by form, lemma and containment."""

    seed: NonNegative = 0
    """Seed of the split."""


class AdapterSection(Section):
    """What is trainable."""

    kind: Literal["lora", "none"] = "lora"
    """`lora` trains low-rank adapters on a frozen model; `none` trains every weight."""

    r: Positive = 16
    """Rank of the adapters."""

    alpha: Annotated[float, Field(gt=0.0)] = 32.0
    """Scale numerator: an adapter's output is multiplied by alpha / r."""

    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Dropout before the adapters."""

    targets: tuple[str, ...] | Literal["all-linear"] = "all-linear"
    """Module names that get adapters; `all-linear` is every linear layer but the head."""


class TrainSection(Section):
    """How it is trained. One optimizer step is `batch_size × gradient_accumulation` examples."""

    epochs: Annotated[float, Field(gt=0.0)] = 1.0
    """Passes over the training examples; ignored when `max_steps` is set."""

    max_steps: Positive | None = None
    """Number of optimizer steps."""

    batch_size: Positive = 16
    """Examples per optimizer step, times `gradient_accumulation`."""

    gradient_accumulation: Positive = 1
    """Multiplies `batch_size`, for recipes that are written for another tool; memory is set by `token_budget`."""

    token_budget: Positive | Literal["auto"] = "auto"
    """Most tokens of one forward and backward pass, padding included; the rows of a step are split accordingly, which
    changes memory and speed but not the gradient. `auto` is 1,700 on CPUs (fits the cache) and 16,384 elsewhere."""

    learning_rate: Annotated[float, Field(gt=0.0)] = 2e-4
    """Peak learning rate."""

    optimizer: str = "adamw"
    """`adamw`, `muon` (matrices by Muon, the rest by AdamW), or any optimizer name of transformers."""

    schedule: str = "linear"
    """Learning-rate schedule after the warm-up, by transformers' name: `linear`, `cosine`, `constant_with_warmup` …"""

    warmup_steps: NonNegative = 20
    """Steps during which the learning rate rises from 0 to its peak."""

    weight_decay: Annotated[float, Field(ge=0.0)] = 0.0
    """Decoupled weight decay."""

    max_grad_norm: Annotated[float, Field(gt=0.0)] = 1.0
    """The gradient's norm is clipped to this."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the forward and backward pass; `auto` is bfloat16 where the machine computes it natively."""

    logging_steps: Positive = 10
    """Steps between two lines of metrics."""

    save_steps: Positive | None = None
    """Steps between two checkpoints to resume from; only the end of each arm is kept when unset."""

    keep_last: Positive = 1
    """Number of unfinished-training checkpoints kept."""


class EvalSection(Section):
    """What is scored, before and after."""

    tasks: Annotated[tuple[str, ...], Field(min_length=1)] = ("spelling", "position", "count")
    """Tasks scored on held-out words in held-out phrasings."""

    items: Positive = 2000
    """Items per task."""

    seen_items: NonNegative = 300
    """Items per task about training words, scored beside them and never part of the claim."""

    batch_size: Positive = 256
    """Items per forward pass."""

    max_new_tokens: Positive = 48
    """Longest generated reply in tokens."""


Arm = Literal["base", "trained", "format", "shuffled", "direct", "prompted"]


class StudySection(Section):
    """The experiment around the training: arms, seeds and the decision rule."""

    arms: Annotated[tuple[Arm, ...], Field(min_length=1)] = ("base", "trained", "format")
    """`base` untouched; `trained` on `data.train`; `format` the same prompts, answered by the base itself; `shuffled`
    another word's letters; `direct` on each target task itself (the ceiling); `prompted` base told to spell first."""

    seeds: Annotated[tuple[NonNegative, ...], Field(min_length=1)] = (0,)
    """Training seeds of every trained arm; fewer than 5 is labelled exploratory."""

    margin: Annotated[float, Field(gt=0.0, le=50.0)] = 2.0
    """Smallest change that matters, in percentage points: the margin of the equivalence test."""

    alpha: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.05
    """Family-wise error rate over the target tasks."""

    resamples: Annotated[int, Field(ge=1000)] = 10_000
    """Bootstrap resamples."""

    @model_validator(mode="after")
    def _no_repeats(self) -> StudySection:
        for key, values in (("arms", self.arms), ("seeds", self.seeds)):
            if len(set(values)) != len(values):
                raise ValueError(f"{key} must not repeat, but got {list(values)}")
        return self


class ReportSection(Section):
    """What the HTML report holds."""

    items: NonNegative = 120
    """Scored items per task that can be browsed, worst first."""


class Recipe(Section):
    """One run from data to report."""

    name: str | None = None
    """A label of your own; it replaces the parameters at the end of the run's name."""

    mode: Literal["sft"] = "sft"
    """`sft`: supervised fine-tuning, loss on the completion only (on the whole text for `prose`)."""

    model: ModelSection = ModelSection()
    data: DataSection = DataSection()
    words: WordsSection = WordsSection()
    adapter: AdapterSection = AdapterSection()
    train: TrainSection = TrainSection()
    eval: EvalSection = EvalSection()
    study: StudySection = StudySection()
    report: ReportSection = ReportSection()

    runs: Path = Path("runs")
    """Folder that holds the run directories."""
