"""Tests of a pipeline in its own config file: what they say, how one is run, and how its outcome is compared.

`agora.config.testing.model` is read with a config file that has tests; all else only by `agora test`.
"""
