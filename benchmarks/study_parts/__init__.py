"""The parts of the study, ``benchmarks/study.py``."""
