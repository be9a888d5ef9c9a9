"""Evaluation of retrieval and answers: data sets, metrics, reports."""
