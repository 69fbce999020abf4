"""How a part that is broken on purpose is told."""

import attrs


@attrs.frozen
class Broken:
    """A factory, and the law that what it makes breaks."""

    factory: object
    law: str

    def __str__(self):
        return self.factory.__name__
