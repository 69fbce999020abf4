"""The engine: what `BoundPipeline` runs.

Its classes are told apart by identity and never shown (`eq=False, repr=False`): each method that attrs writes is
compiled anew by every process that starts.
"""
