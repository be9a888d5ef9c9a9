"""Random SIGKILLs while documents change; `python -m bench.faults --help`."""
