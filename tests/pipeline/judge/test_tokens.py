"""Controls are trained on as much as the trained arm, and where they are not, it is said."""

from __future__ import annotations

from graft.pipeline.judge.tokens import tokens_sentence


def test_every_control_is_told_with_its_difference_from_the_trained_arm() -> None:
    told = tokens_sentence({"trained": 18.4, "format": 18.4, "self": 9.3})
    assert told == "trained tokens a row: trained 18.4, format 18.4 (+0.0), self 9.3 (-9.1)"
    assert tokens_sentence({"trained": 18.4}) == tokens_sentence({}) == ""
