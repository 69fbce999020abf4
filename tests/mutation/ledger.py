"""survivors.toml: every mutant that no test kills, with the reason why none should."""

import tomllib
from collections.abc import Iterable
from pathlib import Path

import attrs

__all__ = ["KINDS", "LEDGER", "Explained", "read", "unexplained"]

LEDGER = Path(__file__).with_name("survivors.toml")
KINDS = {
    "equivalent": "no caller can see a difference",
    "speed": "the same answers, later or at a higher cost; benchmarks watch it",
    "text": "what is said to people, or in a `repr`",
    "clock": "how long real time passes: tests on the real clock see it, which are left out here",
    "unrun": "a test kills it that can't run on mutants, or not within the seconds: named",
    "guard": "a second check of what another one, or a type, makes impossible already",
}


@attrs.frozen
class Explained:
    """Mutants that one reason serves."""

    kind: str
    why: str
    mutants: tuple[str, ...]
    """`module.Class.function: lines without -> lines with`; one that ends with `: *` means the whole function."""

    def __attrs_post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"{LEDGER.name}: kind = {self.kind!r}; it has to be one of {', '.join(KINDS)}")
        if not self.why.strip():
            raise ValueError(f"{LEDGER.name}: {self.mutants[:1]} has no `why`")


def read(path: Path = LEDGER) -> list[Explained]:
    """Raises ValueError for an entry that lacks its reason, or lists a mutant that another one explains, too."""
    said = tomllib.loads(path.read_text()).get("explained", [])
    entries = [Explained(entry["kind"], entry["why"], tuple(entry["mutants"])) for entry in said]
    seen: set[str] = set()
    for entry in entries:
        for mutant in entry.mutants:
            if mutant in seen:
                raise ValueError(f"{LEDGER.name} explains {mutant} twice")
            seen.add(mutant)
    return entries


def unexplained(survivors: Iterable[str], entries: Iterable[Explained]) -> list[str]:
    """Those of `survivors` (`place: change`) that no entry names."""
    known = {mutant for entry in entries for mutant in entry.mutants}
    return [one for one in survivors if one not in known and f"{one.partition(': ')[0]}: *" not in known]
