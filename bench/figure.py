"""One measured figure, its reference, and the table they are printed in."""

from collections.abc import Sequence
from statistics import median

import msgspec

_COLUMNS = ("figure", "product", "reference", "ratio", "spread", "goal")


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A figure as its rounds gave it.

    ``reference`` holds the rounds of what it is compared with, taken in turn with the product's;
    it may be a single number where the reference is a given limit, and empty where there is none.
    """

    name: str
    unit: str
    product: tuple[float, ...]
    reference: tuple[float, ...] = ()
    goal: str = ""

    @property
    def ratio(self) -> float | None:
        """The median of the product over the median of the reference."""
        return median(self.product) / median(self.reference) if self.reference else None

    @property
    def spread(self) -> tuple[float, float]:
        """The lowest and the highest round: of the ratio, or of the figure where there is none."""
        values: Sequence[float] = self.product
        if self.reference:
            pairs = zip(self.product, self._reference_per_round(), strict=True)
            values = [mine / other for mine, other in pairs]
        return min(values), max(values)

    def _reference_per_round(self) -> tuple[float, ...]:
        single = len(self.reference) == 1
        return self.reference * len(self.product) if single else self.reference

    def cells(self) -> tuple[str, ...]:
        """Write the row of the table."""
        low, high = self.spread
        ratio = self.ratio
        words = f"{low:.0%} - {high:.0%}" if self.reference else f"{short(low)} - {short(high)}"
        return (
            self.name,
            f"{short(median(self.product))} {self.unit}",
            f"{short(median(self.reference))} {self.unit}" if self.reference else "",
            f"{ratio:.1%}" if ratio is not None else "",
            words if len(self.product) > 1 else "",
            self.goal,
        )

    def as_record(self) -> dict[str, object]:
        """Return what is written to the JSON file."""
        return {
            **msgspec.structs.asdict(self),
            "median": median(self.product),
            "ratio": self.ratio,
            "spread": self.spread,
        }


def table(figures: Sequence[Figure]) -> str:
    """Set the figures in columns."""
    return align([_COLUMNS, *(figure.cells() for figure in figures)])


def align(rows: Sequence[Sequence[str]]) -> str:
    """Set rows in columns, with a line below the first."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def short(value: float) -> str:
    """Write a number with three or so digits that mean something."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
