"""Which models may be asked, and in which order. Every rule is one line that a person can check by hand.

may be asked      the tenant's policy allows the model and where it runs, the model may see this class of risk, and the
                  request fits into its context; where a request names a model, only that one
tier              as the request says; a "balanced" one goes to "fast" where its question is plain and to "strong" where
                  it is hard; one tier below that where a soft limit of the budget is passed
order             the tier itself, then stronger ones, then weaker ones; within a tier those that can hold to a schema
                  first where one is given, else as in the file
"""

import re
from collections.abc import Sequence
from typing import get_args

from serving.gateway.models_file import ModelsFile, ModelSpec, TenantPolicy
from serving.gateway.types import ModelRequest, NoModelAvailable, Risk, Tier

TIERS: tuple[Tier, ...] = get_args(Tier)
RISKS: tuple[Risk, ...] = get_args(Risk)

MAX_PLAIN_WORDS, MAX_BALANCED_WORDS = (
    12,
    30,
)  # a plain question is short and asks for one thing; a hard one is long
PLAIN_QUESTION = re.compile(
    r"(?i)^\W*(?:who|when|where|which|how (?:many|much|long|often|old|far)|what is|what's|is|are|does)\b"
)
HARD_QUESTION = re.compile(
    r"(?i)\b(?:why|explain|compare|comparison|differ\w*|versus|vs|pros and cons|trade-?offs?|step by step|summari[sz]e"
    r"|how (?:should|would|could)|what if|both|each of)\b"
)


def tier_for_question(question: str) -> Tier:
    """The tier that suits a question: hard if it asks to weigh or explain, asks twice, or is long; plain if it is short
    and asks for a fact.
    """
    words = len(question.split())
    if HARD_QUESTION.search(question) or question.count("?") > 1 or words > MAX_BALANCED_WORDS:
        return "strong"
    return "fast" if words <= MAX_PLAIN_WORDS and PLAIN_QUESTION.search(question) else "balanced"


def choose_tier(request: ModelRequest, *, over_soft_limit: bool = False) -> Tier:
    """The tier that a request goes to first."""
    tier = (
        tier_for_question(request.question)
        if request.tier == "balanced" and request.question
        else request.tier
    )
    return TIERS[max(TIERS.index(tier) - 1, 0)] if over_soft_limit else tier


def rank_models(
    models_file: ModelsFile,
    request: ModelRequest,
    input_tokens: int,
    *,
    over_soft_limit: bool = False,
) -> list[ModelSpec]:
    """The models that may be asked, the best first; `tight` says that a soft limit of the tenant's is passed.

    Raises:
        NoModelAvailable: there is none; the sentence says what stands in the way.
    """
    policy = models_file.policy_for(request.principal.tenant)
    reasons = [
        _exclusion_reason(model, policy, request, input_tokens) for model in models_file.models
    ]
    allowed = [
        model for model, reason in zip(models_file.models, reasons, strict=True) if reason is None
    ]
    if not allowed:
        listed = "; ".join(
            f"{model.name} {reason}"
            for model, reason in zip(models_file.models, reasons, strict=True)
        )
        raise NoModelAvailable(f"No model of the models file may be asked this: {listed}.")
    return _sort_by_tier(allowed, choose_tier(request, over_soft_limit=over_soft_limit), request)


def _exclusion_reason(
    model: ModelSpec, policy: TenantPolicy, request: ModelRequest, input_tokens: int
) -> str | None:
    """Why a model may not be asked, or None."""
    risk = max(request.risk, policy.risk, key=RISKS.index)
    if request.model and model.name != request.model:
        return "does not write this answer"
    if policy.models is not None and model.name not in policy.models:
        return "is not among those that the tenant's policy allows"
    if policy.residency is not None and model.residency not in policy.residency:
        return f"runs in {model.residency}, where the tenant's data may not go"
    if risk not in model.risks:
        return f"may not see what is {risk}"
    if input_tokens + request.max_tokens > model.context:
        return (
            f"takes {model.context} tokens, and this may need {input_tokens + request.max_tokens}"
        )
    return None


def _sort_by_tier(
    models: Sequence[ModelSpec], tier: Tier, request: ModelRequest
) -> list[ModelSpec]:
    wanted = TIERS.index(tier)
    order = [*TIERS[wanted:], *reversed(TIERS[:wanted])]
    unable = request.schema is not None
    return sorted(
        models, key=lambda model: (order.index(model.tier), unable and not model.json_schema)
    )
