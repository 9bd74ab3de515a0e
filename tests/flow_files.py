"""The flow files in tests/flows, and what tests ask of flows."""

from __future__ import annotations

from pathlib import Path

from harness import Server, Wire

FLOWS = Path(__file__).resolve().parent / "flows"


def flow(wire: Wire, name: str, *arguments: str | int | bytes) -> object:
    return wire("AI.FLOW", name, *arguments)


def flow_info(server: Server, name: str) -> dict[str, str]:
    """The fields of a flow in INFO; of one that is not there yet what they begin with."""
    for field, value in server.info().items():
        pairs = dict(pair.split("=", 1) for pair in value.split(",") if "=" in pair)
        if field.startswith("ai_flow_") and "trigger" in pairs and pairs["name"] == name:
            return pairs
    return {"running": "0", "waiting": "0", "errors": "0"}
