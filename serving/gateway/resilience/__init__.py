"""Retries, circuit breaker, concurrency limit and fault classes of the gateway."""
