"""What a person steers by, over a :class:`Transaction`; see :class:`ci360_twilio.ports.Controls`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec

from ci360_twilio.core.pause import Pause
from ci360_twilio.ports import Note
from ci360_twilio.stores.transaction import Rules


def pause(rules: Rules, pause: Pause, note: Note | None, *, replace: bool) -> bool:
    """Write a pause, and the note where that was done."""
    there = any(one.name == pause.name for one in rules.pauses())
    if there is not replace:
        return False
    rules.keep_pause(pause)
    if note is not None:
        rules.write_note(note)
    return True


def resume(rules: Rules, names: Iterable[str], note: Note | None) -> int:
    """Lift pauses, and write the note where there was one."""
    lifted = sum([rules.drop_pause(name) for name in dict.fromkeys(names)])
    if lifted and note is not None:
        rules.write_note(note)
    return lifted


def take_probe(rules: Rules, name: str, *, now: datetime, until: datetime) -> Pause | None:
    """Put a pause's probe off, if it is due."""
    for known in rules.pauses():
        if known.name == name and known.probe_is_due(now):
            taken = msgspec.structs.replace(known, probe_at=until)
            rules.keep_pause(taken)
            return taken
    return None
