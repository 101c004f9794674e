"""The parts of the fuzzer, see fuzz.py."""
