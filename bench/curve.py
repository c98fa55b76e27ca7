"""What one operation takes in ledgers of several sizes, and the table that shows whether it grows."""

from collections.abc import Sequence

import msgspec

from bench.figure import align, short


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """Pairs of values by size: p50 and p99 of an operation, or what ``name`` says."""

    name: str
    unit: str
    sizes: tuple[int, ...]
    values: tuple[tuple[float, float], ...]
    goal: str = ""

    @property
    def growth(self) -> float:
        """The first value at the largest size over that at the smallest."""
        return self.values[-1][0] / self.values[0][0]

    def cells(self) -> tuple[str, ...]:
        """Write the row of the table."""
        pairs = [f"{short(low)} / {short(high)}" for low, high in self.values]
        return (self.name, self.unit, *pairs, f"{self.growth:.0%}", self.goal)

    def as_record(self) -> dict[str, object]:
        """Return what is written to the JSON file."""
        return {**msgspec.structs.asdict(self), "growth": self.growth}


def quantiles(samples: Sequence[float]) -> tuple[float, float]:
    """Return p50 and p99, each a sample; of less than a hundred the p99 is the slowest."""
    ordered = sorted(samples)
    last = len(ordered) - 1
    return ordered[last // 2], ordered[min(len(ordered) * 99 // 100, last)]


def curve_table(curves: Sequence[Curve]) -> str:
    """Set curves of the same sizes in columns."""
    sizes = [f"{size:,}" for size in curves[0].sizes]
    head = ("p50 / p99, by entries", "unit", *sizes, "growth", "goal")
    return align([head, *(curve.cells() for curve in curves)])
