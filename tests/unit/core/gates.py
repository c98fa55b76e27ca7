"""What the gates of creatives and messages find, read from their source."""

from __future__ import annotations

import ast
from pathlib import Path

SRC = Path(__file__).parents[3] / "src" / "ci360_twilio"


def problems_of_the_gates() -> set[str]:
    """Give the codes of all problems that keep a message from being sent; warnings are none."""
    codes = set()
    for name in ("creative", "message"):
        tree = ast.parse((SRC / "core" / f"{name}.py").read_text(encoding="utf-8"))
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            if isinstance(call.func, ast.Name) and call.func.id == "Problem":
                code = call.args[0]
                assert isinstance(code, ast.Constant)
                never = call.args[3:] and isinstance(call.args[3], ast.Constant)
                if not never and all(word.arg != "error" for word in call.keywords):
                    codes.add(str(code.value))
    return codes
