"""Is it any good: data sets, metrics, reports."""
