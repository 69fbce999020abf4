"""What is asked of a check of a part that is broken on purpose, whichever kind of part it is.

`nox -s laws` runs these with `AGORA_LAW_SEEDS=20`: each part is to be found by each of the seeds. Every day it is one:
they are a third of the suite.
"""

import os
import time

import pytest

from agora.testing import LawBroken

SEEDS = range(int(os.environ.get("AGORA_LAW_SEEDS", "1")))
SOON = 10
"""Seconds of CPU time."""


def found(laws, check, *args, **kwargs):
    """The `LawBroken` of a check that finds one of these laws (parted by "|") broken, soon; else the test fails."""
    began = time.process_time()
    with pytest.raises(LawBroken) as raised:
        check(*args, **kwargs)
    took = time.process_time() - began
    assert raised.value.law.name in laws.split("|"), str(raised.value)
    assert took < SOON, f"found after {took:.1f} s of CPU time"
    return raised.value


def replayed(broken, **names):
    """What the counterexample finds as a module of its own, in which these names are there already: the same law is
    broken."""
    module = dict(names)
    exec(compile(broken.code, "counterexample", "exec"), module)
    [test] = [value for name, value in module.items() if name.startswith("test_")]
    with pytest.raises(LawBroken) as raised:
        test()
    assert raised.value.law == broken.law, broken.code
    assert raised.value.code == broken.code
    assert raised.value.seed is None
    return raised.value
