"""Retries, circuit breaker, admission and fault classes of the gateway."""
