"""Choice of models. Every rule is one line that a person can check by hand.

permitted  the tenant's policy allows the model and its location, the model may see this risk
           class, and the request fits into its context; a named model is the only one permitted
tier       as the request says; a "balanced" request goes to "fast" if its question is plain and to
           "strong" if it is hard; one tier lower if a soft limit of the budget is exceeded
order      the tier itself, then stronger ones, then weaker ones; within a tier first the models
           that support a JSON schema if the request has one, else as in the file
"""

import re
from typing import get_args

from serving.gateway.models_file import ModelsFile, ModelSpec, TenantPolicy
from serving.gateway.types import ModelRequest, NoModelAvailable, Risk, Tier

TIERS: tuple[Tier, ...] = get_args(Tier)
RISKS: tuple[Risk, ...] = get_args(Risk)

MAX_PLAIN_WORDS = 12  # a plain question is short and asks for one thing
MAX_BALANCED_WORDS = 30  # a longer question is hard
PLAIN_QUESTION = re.compile(
    r"(?i)^\W*(?:who|when|where|which|how (?:many|much|long|often|old|far)|what is|what's"
    r"|is|are|does)\b"
)
HARD_QUESTION = re.compile(
    r"(?i)\b(?:why|explain|compare|comparison|differ\w*|versus|vs|pros and cons|trade-?offs?"
    r"|step by step|summari[sz]e|how (?:should|would|could)|what if|both|each of)\b"
)


def tier_for_question(question: str) -> Tier:
    """Return "strong" for a long, double or comparing question, "fast" for a short simple one."""
    words = len(question.split())
    if HARD_QUESTION.search(question) or question.count("?") > 1 or words > MAX_BALANCED_WORDS:
        return "strong"
    return "fast" if words <= MAX_PLAIN_WORDS and PLAIN_QUESTION.search(question) else "balanced"


def choose_tier(request: ModelRequest, *, over_soft_limit: bool = False) -> Tier:
    """Return the tier that a request goes to first."""
    tier = request.tier
    if tier == "balanced" and request.question:
        tier = tier_for_question(request.question)
    return TIERS[max(TIERS.index(tier) - 1, 0)] if over_soft_limit else tier


def rank_models(
    models_file: ModelsFile,
    request: ModelRequest,
    input_tokens: int,
    *,
    over_soft_limit: bool = False,
) -> list[ModelSpec]:
    """Return the permitted models, the best first.

    Raises:
        NoModelAvailable: none is permitted. The message gives the reason for each.
    """
    policy = models_file.policy_for(request.principal.tenant)
    permitted, exclusions = [], []
    for model in models_file.models:
        reason = _exclusion_reason(model, policy, request, input_tokens)
        if reason is None:
            permitted.append(model)
        else:
            exclusions.append(f"{model.name} {reason}")
    if not permitted:
        raise NoModelAvailable(
            f"No model of the models file may answer this: {'; '.join(exclusions)}."
        )
    return _sort_by_tier(permitted, choose_tier(request, over_soft_limit=over_soft_limit), request)


def _exclusion_reason(
    model: ModelSpec, policy: TenantPolicy, request: ModelRequest, input_tokens: int
) -> str | None:
    risk = max(request.risk, policy.risk, key=RISKS.index)
    if request.model and model.name != request.model:
        return "is not the model that writes this answer"
    if policy.models is not None and model.name not in policy.models:
        return "is not allowed by the tenant's policy"
    if policy.residency is not None and model.residency not in policy.residency:
        return f"runs in {model.residency}, which the tenant's policy does not allow"
    if risk not in model.risks:
        return f"may not see {risk} data"
    tokens = input_tokens + request.max_tokens
    if tokens > model.context:
        return f"takes {model.context} tokens, and this may need {tokens}"
    return None


def _sort_by_tier(models: list[ModelSpec], tier: Tier, request: ModelRequest) -> list[ModelSpec]:
    first = TIERS.index(tier)
    order = [*TIERS[first:], *reversed(TIERS[:first])]
    needs_schema = request.schema is not None
    return sorted(
        models, key=lambda model: (order.index(model.tier), needs_schema and not model.json_schema)
    )
