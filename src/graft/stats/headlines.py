"""One sentence for each target and for the whole study."""

from __future__ import annotations

from collections.abc import Sequence

from graft.stats.arms import Contrast
from graft.stats.study import TargetVerdict, Verdict
from graft.stats.wording import label, listed, points, sentence, size, span


def target_headline(trained: str, task: str, verdict: Verdict, reason: str, exploratory: bool, seeds: int) -> str:
    """One sentence about one target."""
    said = {
        Verdict.TRANSFER: f"training on {trained} transferred to {task}",
        Verdict.HARMED: f"training on {trained} harmed {task}",
        Verdict.NO_TRANSFER: f"training on {trained} did not transfer to {task}",
        Verdict.INCONCLUSIVE: f"whether training on {trained} transferred to {task} is not decided",
        Verdict.FLOOR: f"{task} is at its floor, so nothing is said about transfer",
        Verdict.CEILING: f"{task} is at its ceiling, so nothing is said about transfer",
        Verdict.INVALID: f"nothing can be said about {task}",
        Verdict.ONE_SEED: f"no verdict on {task}",
    }[verdict]
    prefix = label(exploratory and verdict not in (Verdict.INVALID, Verdict.ONE_SEED), seeds)
    text = f"{said}: {reason}."
    return f"{prefix}{text}" if prefix else f"{text[:1].upper()}{text[1:]}"


def study_headline(
    trained: str, verdict: Verdict, reasons: Sequence[str], targets: Sequence[TargetVerdict], prefix: str
) -> str:
    """One sentence about the whole study."""
    if verdict is Verdict.INVALID:
        return sentence(f"the study of training on {trained} is invalid: {'; '.join(reasons)}")
    if verdict is Verdict.ONE_SEED:
        return sentence(f"no verdict from one seed of training on {trained}: {'; '.join(reasons)}")
    said = []
    for word, phrase in (
        (Verdict.TRANSFER, "transferred to {}"),
        (Verdict.HARMED, "harmed {}"),
        (Verdict.NO_TRANSFER, "did not transfer to {}"),
        (Verdict.INCONCLUSIVE, "left open whether it transfers to {}"),
        (Verdict.FLOOR, "cannot be judged on {}, which is at its floor"),
        (Verdict.CEILING, "cannot be judged on {}, which is at its ceiling"),
        (Verdict.INVALID, "was not judged on {}, whose scores are invalid"),
    ):
        tasks = [target.task for target in targets if target.verdict is word]
        if tasks:
            said.append(phrase.format(listed(tasks)))
    text = f"training on {trained} {listed(said)}"
    return f"{prefix}{text}." if prefix else sentence(text)


def collateral_headline(trained: str, task: str, contrast: Contrast, harmed: bool, excluded: bool, seeds: int) -> str:
    """One sentence about a task of which only harm is reported."""
    change = contrast.change
    moved = f"{points(change.estimate)} points against the base ({span(change.interval)})"
    if seeds < 2:
        return sentence(f"one seed: this checkpoint changed on {task} by {moved}")
    said = {
        (True, False): f"training on {trained} harmed {task}",
        (True, True): f"training on {trained} harmed {task}, by less than {size(contrast.equivalence.margin)}",
        (False, True): f"training on {trained} did not harm {task} by {size(contrast.equivalence.margin)} or more",
        (False, False): f"whether training on {trained} harmed {task} is not decided",
    }[harmed, excluded]
    return sentence(f"{said}: {moved}")
