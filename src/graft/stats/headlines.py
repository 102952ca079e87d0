"""One sentence for each target and for the whole study."""

from __future__ import annotations

from collections.abc import Sequence

from graft.stats.study import TargetVerdict, Verdict
from graft.stats.wording import label, listed, sentence


def target_headline(trained: str, task: str, verdict: Verdict, reason: str, exploratory: bool, seeds: int) -> str:
    """One sentence about one target."""
    said = {
        Verdict.TRANSFER: f"training on {trained} transferred to {task}",
        Verdict.NO_TRANSFER: f"training on {trained} did not transfer to {task}",
        Verdict.INCONCLUSIVE: f"whether training on {trained} transferred to {task} is not decided",
        Verdict.INVALID: f"nothing can be said about {task}",
    }[verdict]
    prefix = label(exploratory and verdict is not Verdict.INVALID, seeds)
    text = f"{said}: {reason}."
    return f"{prefix}{text}" if prefix else f"{text[:1].upper()}{text[1:]}"


def study_headline(
    trained: str, verdict: Verdict, reasons: Sequence[str], targets: Sequence[TargetVerdict], prefix: str
) -> str:
    """One sentence about the whole study."""
    if verdict is Verdict.INVALID:
        return sentence(f"the study of training on {trained} is invalid: {'; '.join(reasons)}")
    said = []
    for word, phrase in (
        (Verdict.TRANSFER, "transferred to {}"),
        (Verdict.NO_TRANSFER, "did not transfer to {}"),
        (Verdict.INCONCLUSIVE, "left open whether it transfers to {}"),
    ):
        tasks = [target.task for target in targets if target.verdict is word]
        if tasks:
            said.append(phrase.format(listed(tasks)))
    text = f"training on {trained} {listed(said)}"
    return f"{prefix}{text}." if prefix else sentence(text)
