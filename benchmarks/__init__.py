"""Benchmarks against loops by hand and other libraries: `python -m benchmarks --help`.

Every figure is a ratio of processes that ran in turn on the same cores, and no time counts before the outputs were
compared: absolute times say more of the machine than of the code.
"""
