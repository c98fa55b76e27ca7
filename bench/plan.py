"""How much is measured: the full run, and the quick one that only shows that all works."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Rounds, seconds and counts of every bench."""

    accept_rounds: int = 5
    accept_seconds: float = 6.0
    warm_up: int = 2_000
    paced_rate: float = 500.0
    memory_events: int = 200_000
    memory_samples: int = 20
    send_rounds: int = 3
    send_messages: int = 10_000
    cold_runs: int = 15
    billed_rounds: int = 5
    billed_sample: int = 30
    webhook_rounds: int = 3
    webhook_messages: int = 6_000
    report_rounds: int = 3
    report_outcomes: int = 10_000
    report_seconds: float = 20.0
    import_rows: tuple[int, ...] = (100_000, 1_000_000)
    bulk_rows: tuple[int, ...] = (100_000, 1_000_000)
    rehearsal_rows: int = 100_000
    ledger_sizes: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    trace_runs: int = 15
    chaos_rounds: int = 3
    chaos_messages: int = 10_000
    imports: bool = False


def quick_plan(*, imports: bool) -> Plan:
    """Return a plan that takes a minute or so."""
    return Plan(
        accept_rounds=2,
        accept_seconds=2.0,
        warm_up=1_000,
        memory_events=20_000,
        memory_samples=10,
        send_rounds=1,
        send_messages=2_500,
        cold_runs=5,
        billed_rounds=2,
        billed_sample=10,
        webhook_rounds=2,
        webhook_messages=2_000,
        report_rounds=1,
        report_outcomes=3_000,
        report_seconds=6.0,
        import_rows=(20_000, 100_000),
        bulk_rows=(20_000, 100_000),
        rehearsal_rows=20_000,
        ledger_sizes=(10_000, 100_000),
        trace_runs=5,
        chaos_rounds=1,
        chaos_messages=2_000,
        imports=imports,
    )
