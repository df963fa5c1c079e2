"""Tables for people who work with pandas, which is no dependency, and with spreadsheets."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pecmae.errors import PecmaeError

if TYPE_CHECKING:
    import pandas


def data_frame(columns: Mapping[str, Any]) -> "pandas.DataFrame":
    """A frame of columns.

    Raises
    ------
    PecmaeError
        pandas is not installed.
    """
    try:
        from pandas import DataFrame
    except ImportError:
        raise PecmaeError("to_pandas needs pandas; install it with pip install pandas.") from None
    return DataFrame(dict(columns))


def spreadsheet_cell(cell: Any) -> Any:
    """A cell of a CSV file; text that a spreadsheet would run as a formula gets an apostrophe before it."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell
