"""What the words on the page mean, for a reader who did not run the study."""

from __future__ import annotations

ARMS: dict[str, tuple[str, str]] = {
    "base": ("Base", "The model as it was, untouched."),
    "trained": ("Trained", "The base model after training on the trained task."),
    "format": (
        "Format control",
        "Trained as long, on the same prompts, but towards random answers in exactly the trained form. It shows what "
        "the form teaches without the skill.",
    ),
    "self": (
        "Self control",
        "Trained as long, on the same prompts, but towards the base's own replies, so that it learns nothing new. "
        "It shows what any training of this kind disturbs.",
    ),
    "swapped": (
        "Swapped tokens",
        "Trained as long, on the same prompts and answers, with the control tokens exchanged: the separation must turn "
        "round, if it is the token that decides.",
    ),
    "shuffled": (
        "Shuffled",
        "Trained on the same prompts with another word's letters or another row's answer. A diagnostic of how much "
        "such training disturbs the model, and of what is learned from the answers' frequencies alone.",
    ),
    "direct": ("Direct", "Trained on the target task itself: the ceiling that transfer could reach."),
    "prompted": ("Prompted", "The untouched model, told in the prompt to spell the word first; scored leniently."),
}
"""Title and one plain sentence for each arm."""

GLOSSARY: tuple[tuple[str, str], ...] = (
    ("Held-out words", "words that appear in training in no form: not the word, a lemma of it, or a word within it."),
    ("Exact match", "the model's most likely reply is the right answer, character by character, and ends there."),
    ("Strict", "the generated reply is the answer in the asked form and nothing else."),
    ("Lenient", "the answer found in the generated reply is right, whatever stands around it."),
    ("Constrained", "the right answer is the likeliest of all that are possible; the form of replies plays no part."),
    ("Parse rate", "share of replies in which an answer of the asked kind was found at all."),
    ("Agreement", "share of items of which exact match and the generated reply say the same, checked by a sample."),
    ("Thinking", "the reply thinks before it answers; several replies are drawn, and most of them must be right."),
    ("Unclosed", "share of replies that ended inside their thinking, so that there was no answer to score."),
    ("Cut", "share of replies that reached the longest length allowed."),
    ("Point", "one percentage point; changes of accuracies are given in points."),
    ("95% interval", "values the data do not contradict; in brackets, after the estimate."),
    (
        "95% interval of a change",
        "from the same items before and after: the spread between words and, with its own t quantile, between seeds.",
    ),
    ("p (Holm)", "chance of so large a change if nothing changed, corrected for judging several target tasks."),
    ("McNemar", "exact test of one seed: are gained and lost items equally many?"),
    ("Equivalence", "the 90% interval lies wholly within the margin: the change is too small to matter."),
    ("Smallest detectable effect", "the change that this number of items and seeds finds four times out of five."),
    ("Stratum", "a group of items with one property declared in advance, such as word length."),
    ("Benjamini–Hochberg", "correction that limits the share of false finds in a long exploratory list."),
    ("Exploratory", "too few seeds, or a look within parts: a hint for the next study and not a conclusion."),
    ("Transfer", "the trained model beats the base and every control on a task it was not trained on."),
    ("Harmed", "the trained model is worse than the base on a task it was not trained on."),
    ("No transfer", "the change is shown to lie within the margin, against the base or a control."),
    ("Floor", "nothing is shown to do better than a trivial answer, so a lack of change says nothing."),
    ("Ceiling", "the base or a control leaves less room for a gain than the margin."),
    ("No verdict", "one seed: its numbers describe this checkpoint and not what such training does."),
    ("Inconclusive", "the data allow both; the report says how many words would decide."),
    ("Invalid", "a rule of the study was broken, so that no conclusion is drawn."),
    ("Normalised transfer", "the gain as a share of the gain of training directly on the target task."),
    ("Likeliest label", "the label whose tokens, the end of the turn included, are likeliest after the prompt."),
    ("Learned", "beats the base, the format control, every trivial answer and the learned shortcut, by the metric."),
    ("Trivial answers", "rules that need no skill, such as always the most frequent answer; known before training."),
    (
        "Learned shortcut",
        "logistic regression on what can be read without the skill (letter, length, place, words of a text), called on "
        "words or texts that it was not fitted on.",
    ),
    ("Macro-F1", "mean over the classes of F1, the harmonic mean of precision and recall; every class counts alike."),
    ("MCC", "Matthews' correlation between right and called classes: 0 is chance, 1 is all right."),
    ("Brier score", "squared distance of the probabilities from the right answer: 0 is perfect, 2 is surely wrong."),
    ("ECE", "expected calibration error: how far confidence is from accuracy, on average over 15 bins."),
    ("Temperature", "what the scores are divided by before they become probabilities; fitted on rows not scored."),
    ("Error rate (cer)", "character edits from the reply to the right answer, per character of the answer."),
)
"""Terms and one line each, in the order in which the page needs them."""


def arm_title(arm: str) -> str:
    """Readable name of an arm; ``direct-position`` becomes ``Direct (position)``."""
    kind, _, rest = arm.partition("-")
    title = ARMS[kind][0] if kind in ARMS else arm
    return f"{title} ({rest})" if rest and kind in ARMS else title


def arm_meaning(arm: str) -> str:
    """One sentence about an arm, empty for an unknown one."""
    return ARMS.get(arm.partition("-")[0], ("", ""))[1]


def arm_order(arm: str) -> tuple[int, str]:
    """Sort key: the arms in the order in which the study names them, unknown ones last."""
    kind = arm.partition("-")[0]
    return (list(ARMS).index(kind) if kind in ARMS else len(ARMS), arm)
