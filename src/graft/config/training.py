"""The sections about training: what is trainable, what trains it, how, and when it stops."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from graft.config.optimization import OPTIMIZERS, SCHEDULES, check_name, check_needed, read_args
from graft.config.section import NonNegative, Positive, Section, Share


class AdapterSection(Section):
    """What is trainable."""

    kind: Literal["lora", "none"] = "lora"
    """`lora` trains low-rank adapters on a frozen model; `none` trains every weight, as float32
    while memory holds that."""

    r: Positive = 16
    """Rank of the adapters."""

    alpha: Annotated[float, Field(gt=0.0)] = 32.0
    """Scale numerator: an adapter's output is multiplied by alpha / r."""

    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Dropout before the adapters; experts of a mixture take none."""

    targets: tuple[str, ...] | Literal["all-linear"] = "all-linear"
    """Names of layers that get adapters; `all-linear` is every linear layer and every expert but the head and the
    routers."""

    rslora: bool = False
    """Scale by alpha / √r instead of alpha / r, so that a higher rank learns as fast."""

    dora: bool = False
    """Train each weight's magnitude beside the direction that the adapter changes; slower."""


EngineName = Literal["native", "trl", "unsloth"]


class EngineSection(Section):
    """What trains, and how it uses the machine. None of it changes the gradient."""

    name: EngineName = "native"
    """`native` is Graft's own engine, `trl` is TRL's SFTTrainer, `unsloth` is Unsloth (CUDA only). The rows, their
    order, the loss and the gradient are the same; speed and memory are not."""

    layout: Literal["auto", "packed", "padded"] = "auto"
    """`packed` lays documents end to end, each seeing only itself; `padded` batches rows of similar length. `auto`
    packs where the architecture can and the device gains by it."""

    token_budget: Positive | Literal["auto"] = "auto"
    """Most tokens of one forward and backward pass, padding included; the rows of a step are split accordingly, which
    changes memory and speed but not the gradient. `auto` measures one pass and takes what the free memory holds."""

    compile: Literal["auto", "on", "off"] = "auto"
    """Compile the decoder layers; `auto` does on CUDA when the training is long enough to pay for it."""

    activation_checkpointing: Literal["auto", "on", "off"] = "auto"
    """Compute activations again on the way back instead of keeping them; `auto` only when a row would not fit else."""

    parallel: Literal["auto", "ddp", "fsdp"] = "auto"
    """How several processes share the work: `ddp` holds the whole model in each, `fsdp` a part of every layer and of
    its optimizer's state; `auto` is `fsdp` where a GPU would not hold all of it, else `ddp`. Without effect on one."""

    self_check: Literal["on", "off"] = "on"
    """Compare the loss and gradient of the longest, the shortest and a random row with those of the model's own forward
    pass before the first step; where they differ, a slower way is taken, or the training refused."""


class TrainSection(Section):
    """How it is trained. One optimizer step is `batch_size × gradient_accumulation` examples."""

    epochs: Annotated[float, Field(gt=0.0)] = 1.0
    """Passes over the training examples; ignored when `max_steps` is set."""

    max_steps: Positive | None = None
    """Number of optimizer steps."""

    batch_size: Positive = 16
    """Examples per optimizer step, times `gradient_accumulation`."""

    gradient_accumulation: Positive = 1
    """Multiplies `batch_size`, for recipes that are written for another tool; memory is set by
    `engine.token_budget`."""

    learning_rate: Annotated[float, Field(gt=0.0)] = 2e-4
    """Peak learning rate."""

    optimizer: str = "adamw"
    """`adamw` (β₂ 0.95; `adamw_torch` has transformers' 0.999), `muon` (linear layers by Muon, the rest by AdamW),
    `adafactor`, `sgd`, `adamw_8bit` …; a wrong name lists them all."""

    optimizer_args: dict[str, float | str] = Field(default_factory=dict)
    """Settings of the optimizer, such as `{momentum: 0.9}` for `sgd`; a wrong name lists those it has."""

    schedule: str = "linear"
    """Learning-rate schedule after the warm-up: `linear`, `cosine`, `constant_with_warmup`, `warmup_stable_decay` …; a
    wrong name lists them all."""

    schedule_args: dict[str, float | str] = Field(default_factory=dict)
    """Settings of the schedule, such as `{min_lr_rate: 0.1}` for `cosine_with_min_lr` or `{num_decay_steps: 100}` for
    `warmup_stable_decay`; a wrong name lists those it has."""

    warmup_share: Share = 0.03
    """The warm-up, during which the learning rate rises from 0 to its peak, as a share of all steps."""

    warmup_steps: NonNegative | None = None
    """The warm-up in steps, instead of `warmup_share`; half of all steps where the training is not longer than that."""

    @model_validator(mode="after")
    def _optimizer_and_schedule_are_offered(self) -> TrainSection:
        for what, known in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)):
            name = getattr(self, what)
            check_name(what, name, known)
            read_args(what, name, getattr(self, f"{what}_args"), known[name])
        check_needed(self.schedule, self.schedule_args)
        if self.schedule == "constant" and self.warmup_steps:
            raise ValueError(
                f"warmup_steps is {self.warmup_steps}, but schedule constant has no warm-up; use constant_with_warmup"
            )
        return self

    weight_decay: Annotated[float, Field(ge=0.0)] = 0.0
    """Decoupled weight decay."""

    max_grad_norm: Annotated[float, Field(gt=0.0)] = 1.0
    """The gradient's norm is clipped to this."""

    eval_steps: Positive | None = None
    """Steps between two measurements of held-out loss and exact match; none during training when unset."""

    eval_max_batches: Positive | None = None
    """At most this many batches of `eval.batch_size` items per measurement and task; all items when unset."""

    logging_steps: Positive | None = None
    """Steps between two lines of metrics; `eval_steps` when unset, or 10 without it."""

    save_steps: Positive | None = None
    """Steps between two checkpoints to resume from; when unset, `save_minutes` alone says when."""

    save_minutes: Annotated[float, Field(gt=0.0)] | None = 15.0
    """Minutes between two checkpoints to resume from, beside `save_steps`; none when null."""

    keep_last: Positive = 1
    """Number of unfinished-training checkpoints kept."""

    keep_best: bool = False
    """Keep the checkpoint of the best value of `stopping.metric` too, and end with its weights."""

    restrict_to: Literal["english"] | None = None
    """`english` trains a softmax over the English part of the vocabulary alone, as in a model that is trimmed to it."""


class StoppingSection(Section):
    """When to stop before the last step. Needs `train.eval_steps`; the best weights are restored at the end."""

    metric: str = "loss"
    """What is watched: `loss` (held-out, in nats per token), `accuracy` (of tokens), `exact` (the mean over the tasks),
    `score` (the tasks' own metrics), `exact/TASK` or `score/TASK`."""

    mode: Literal["auto", "min", "max"] = "auto"
    """Whether less or more is better; `auto` is min for losses and max for everything else."""

    patience: Positive | None = None
    """Measurements without improvement after which training stops; never when unset."""

    min_delta: Annotated[float, Field(ge=0.0)] = 0.0
    """Smallest change that counts as an improvement."""

    criterion: str | None = None
    """A rule of your own as `module:function`; it gets the list of all measurements and returns true to stop."""


class GrpoSection(Section):
    """Reinforcement learning by group-relative policy optimisation; the reward is the task's own scorer."""

    group_size: Annotated[int, Field(ge=2)] = 8
    """Replies drawn per prompt; their mean reward is the baseline."""

    kl: Annotated[float, Field(ge=0.0)] = 0.0
    """Weight of the KL divergence from the untrained model; 0 keeps no reference model."""

    clip: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    """The probability ratio is clipped to 1 ± this."""

    updates: Positive = 1
    """Optimizer steps on each batch of replies."""

    temperature: Annotated[float, Field(gt=0.0, le=2.0)] = 1.0
    """Divides the logits before a reply's tokens are drawn."""

    reward: Literal["strict", "lenient"] = "lenient"
    """Which verdict of the scorer is worth 1."""

    format_reward: Annotated[float, Field(ge=0.0)] = 0.1
    """Added when an answer of the asked kind was found at all."""
