"""Fuzzers: bytes to a file or to the arguments of an op, which must be accepted or refused as the contract says."""
