"""What agora.testing uses beyond agora's own dependencies: asked for where it is used, with a clear error."""

from importlib import import_module

__all__ = ["require_hypothesis"]


def require_hypothesis(what: str) -> None:
    """Raise an `ImportError` that says what to install, if Hypothesis isn't there. `what` needs it: "the laws"."""
    try:
        import_module("hypothesis")
    except ImportError as error:
        raise ImportError(f"{what} need Hypothesis: pip install 'agora-trio[testing]'") from error
