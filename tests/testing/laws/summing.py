"""A step by the rules that has a state."""


class Running:
    """A sum of a field so far, by snapshot; the last word is the whole."""

    def __init__(self, field):
        self.field = field
        self.total = 0

    def process(self, record):
        self.total += record[self.field]
        return {**record, "total": self.total}

    def finish(self):
        return [{"total": self.total}]

    def snapshot(self):
        return self.total

    def restore(self, state):
        self.total = state
