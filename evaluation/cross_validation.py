"""What the training scripts share: how questions are divided, so that no article is both learnt and tested."""

from evaluation.datasets import CorpusQuestion

CROSS_VALIDATION_FOLDS = 4


def question_article(question: CorpusQuestion) -> str:
    """The article that a question is about: its passage's id up to the `#`."""
    return question.passage_id.split("#", 1)[0]
