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
    """`sprout` (the embedded model), a local folder, a hub id such as `Qwen/Qwen3-0.6B`, or a URL such as
    `s3://bucket/model`, whose files are copied to a cache (`GRAFT_CACHE`) first."""

    revision: str | None = None
    """Branch, tag or commit of a hub model."""

    init: Literal["weights", "random"] = "weights"
    """`weights` loads the weights; `random` builds the architecture of `config.json` with seeded random weights."""

    device: Literal["auto", "cuda", "mps", "cpu"] = "auto"
    """Where it runs; `auto` takes CUDA, then MPS, then the CPU."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Type of the weights in memory; `auto` is bfloat16 on CUDA where it is native, float16 on MPS, and float32
    elsewhere, save for models of 1,000 million parameters or more on CPUs that are measured to compute bfloat16 as
    fast."""

    attention: Literal["auto", "eager", "sdpa"] = "auto"
    """Attention implementation; `auto` is sdpa on CUDA and eager elsewhere (faster for short rows on CPUs)."""

    quantize: Literal["none", "nf4", "int8"] = "none"
    """Store the linear layers in 4 bits (`nf4`, double quantisation) or 8 bits (`int8`); needs the extra `quant`, and
    only adapters can be trained on it."""

    trust_remote_code: bool = False
    """Run the Python code that comes with a model whose architecture transformers does not know. It can do anything
    that you can do on this machine."""

    allow_pickle: bool = False
    """Load pickled weights where there are no safetensors. Loading them can run code of their maker."""

    @model_validator(mode="after")
    def _weights_to_quantize(self) -> ModelSection:
        if self.quantize != "none" and self.init == "random":
            raise ValueError(f"quantize is {self.quantize} and init is random; quantising needs weights, so drop one")
        return self

    system: str | None = None
    """Text of a system turn before every prompt; without it there is none."""

    template: str = "Question: {prompt}\nAnswer:\n"
    """Prompt for models without a chat template; `{prompt}` stands for the question."""

    @model_validator(mode="after")
    def _template_has_a_prompt(self) -> ModelSection:
        if self.template.count("{prompt}") != 1:
            raise ValueError(f"template must hold {{prompt}} exactly once, but got {self.template!r}")
        return self

    backend: Literal["transformers", "openai", "ollama"] = "transformers"
    """What runs the model: `transformers` in this process, or a server, which can be scored but not trained: `openai`
    is any with an OpenAI-compatible API (vLLM, llama.cpp …). The id is then the server's name of the model."""

    url: str | None = None
    """Address of the server, such as `http://127.0.0.1:8000/v1`; for `ollama` this machine's own when unset."""

    tokenizer: str | None = None
    """Folder or hub id of the tokenizer that a server's model uses; without it, results are not broken down by
    tokens."""

    @model_validator(mode="after")
    def _url_fits_backend(self) -> ModelSection:
        if self.backend == "openai" and not self.url:
            raise ValueError("url is missing; backend openai needs it, such as http://127.0.0.1:8000/v1")
        if self.backend == "transformers" and self.url:
            raise ValueError(f"url is {self.url}, but backend transformers asks no server; set backend or leave it out")
        if self.backend == "transformers" and self.tokenizer:
            raise ValueError(
                f"tokenizer is {self.tokenizer}, but backend transformers uses the one of id; leave it out"
            )
        return self


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


EngineName = Literal["native", "trl", "unsloth"]


class TrainSection(Section):
    """How it is trained. One optimizer step is `batch_size × gradient_accumulation` examples."""

    engine: EngineName = "native"
    """What trains: `native` is Graft's own engine, `trl` is TRL's SFTTrainer, `unsloth` is Unsloth (CUDA only). The
    rows, their order, the loss and the gradient are the same; speed and memory are not."""

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

    restrict_to: Literal["english"] | None = None
    """`english` trains a softmax over the English part of the vocabulary alone, as in a model that is trimmed to it."""

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

    thinking_samples: Annotated[int, Field(ge=3)] = 3
    """Replies drawn for every item that is scored with thinking; one alone would be mostly luck."""

    thinking_max_new_tokens: Positive = 2048
    """Longest reply with thinking in tokens, thinking and answer together; what is cut there is counted."""


class SamplingSection(Section):
    """How replies are generated. A preset gives every value that is not set beside it."""

    preset: Literal["greedy", "qwen3-thinking", "qwen3-non-thinking"] = "greedy"
    """`greedy` is the most probable token every time; `qwen3-thinking` is temperature 0.6, top_p 0.95, top_k 20 and
    `qwen3-non-thinking` 0.7, 0.8, 20, as the makers of Qwen3 advise."""

    temperature: Annotated[float, Field(ge=0.0, le=2.0)] | None = None
    """Divides the logits before a token is drawn; 0 is greedy, and then top_p, top_k, min_p and seed have no effect."""

    top_p: Share | None = None
    """Draw only from the most probable tokens that together reach this probability; 1 is off."""

    top_k: NonNegative | None = None
    """Draw only from this many most probable tokens; 0 is off."""

    min_p: Share | None = None
    """Draw only tokens at least this fraction as probable as the most probable one; 0 is off."""

    max_new_tokens: Positive = 48
    """Longest generated reply in tokens."""

    repetition_penalty: Annotated[float, Field(gt=0.0, le=2.0)] = 1.0
    """Makes tokens that the prompt or the reply already holds less probable; 1 is off."""

    seed: NonNegative = 0
    """Seed of the draws; every prompt draws from its own stream, whatever batch it is in."""


class GenerationSection(Section):
    """What may be generated."""

    restrict_to: Literal["english"] | None = None
    """`english` masks every token outside the English part of the vocabulary; the model itself is unchanged."""


class RemoteSection(Section):
    """How a server is asked, for `model.backend` `openai` and `ollama`."""

    api_key_env: str = "GRAFT_API_KEY"
    """Name of the environment variable that holds the API key; the key itself never enters a recipe."""

    timeout_seconds: Annotated[float, Field(gt=0.0)] = 300.0
    """Longest wait for a reply, or for the next piece of a streamed one."""

    retries: NonNegative = 4
    """Further attempts after a busy or failing server (429, 5xx, lost connection), with growing pauses."""

    concurrency: Positive = 8
    """Requests under way at once."""


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

    thinking: Literal["off", "on", "compare"] = "off"
    """`off`: no prompt ever lets the model think; `on`: it thinks before it answers, and training rows may carry
    reasoning; `compare`: trained and judged without thinking, and scored with it beside."""

    model: ModelSection = ModelSection()
    data: DataSection = DataSection()
    words: WordsSection = WordsSection()
    adapter: AdapterSection = AdapterSection()
    train: TrainSection = TrainSection()
    eval: EvalSection = EvalSection()
    sampling: SamplingSection = SamplingSection()
    generation: GenerationSection = GenerationSection()
    remote: RemoteSection = RemoteSection()
    study: StudySection = StudySection()
    report: ReportSection = ReportSection()

    runs: Path = Path("runs")
    """Folder that holds the run directories."""

    @model_validator(mode="after")
    def _only_adapters_on_few_bits(self) -> Recipe:
        if self.model.quantize != "none" and self.adapter.kind == "none":
            raise ValueError(
                f"model.quantize is {self.model.quantize} and adapter.kind is none; weights of few bits cannot be "
                "trained, so set adapter.kind to lora or model.quantize to none"
            )
        return self
