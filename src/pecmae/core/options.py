"""Keyword options that are checked by name: a misspelt one is an error that says the nearest right one."""

from collections.abc import Collection, Iterable
from difflib import get_close_matches


def refuse_unknown(call: str, given: Iterable[str], allowed: Collection[str], suggested: Iterable[str] = ()) -> None:
    """Refuse names that a call does not take.

    Parameters
    ----------
    call : str
        Its name, for the message.
    given : iterable of str
        Names of the options that it got.
    allowed : collection of str
        Names that it takes here.
    suggested : iterable of str
        Further names that it takes, as named parameters.

    Raises
    ------
    TypeError
        The message has the nearest right name.
    """
    known = [*suggested, *allowed]
    for name in given:
        if name not in allowed:
            nearest = get_close_matches(name, known, n=1, cutoff=0.5)
            advice = f"did you mean {nearest[0]}?" if nearest else f"choose from {', '.join(known)}."
            raise TypeError(f"{call} has no option {name!r}; {advice}")
