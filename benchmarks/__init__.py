"""Benchmarks against a plain loop, a bare trio pool and other libraries: `python -m benchmarks --help`.

Every figure is a ratio of two things that ran in turn in one process, and no time counts before the outputs
were compared: absolute times say more of the machine than of the code.
"""
