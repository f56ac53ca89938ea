"""One comparison against one rule of the gate: passed or not, and by how much."""

from __future__ import annotations

from embsweep.config.machinery import GateConfig, GateRule
from embsweep.decide.comparison import Comparison


def check_comparison(found: Comparison, rule: GateRule, config: GateConfig) -> tuple[bool, str]:
    """Whether a difference satisfies `rule` at `config`'s margin and alpha, and the numbers that say so.

    For `significant` its p-value must be that of a difference of the margin.
    """
    interval = f"{found.difference:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"
    if rule == "not_worse":
        short = -config.margin - found.low
        if found.low > -config.margin:
            return True, interval
        return False, f"{interval}: low end must be above {-config.margin:+.4f}, short by {short:.4f}"
    if not found.difference > config.margin:
        short = config.margin - found.difference
        return False, f"{interval}: must be above {config.margin:+.4f}, short by {short:.4f}"
    if rule == "higher":
        return True, interval
    p = f"p {found.adjusted_p:.4f}"
    if found.adjusted_p < config.alpha:
        return True, f"{interval}, {p}"
    detectable = found.margin + found.detectable
    return False, f"{interval}: {p} must be below {config.alpha:g}, detectable from {detectable:.4f}"


def describe_rule(rule: GateRule, config: GateConfig) -> str:
    """`significantly higher (p < 0.05)`, `higher by 0.01`, `not worse by 0.01`."""
    above = f" by more than {config.margin:g}" if config.margin else ""
    if rule == "significant":
        return f"significantly higher{above} (p < {config.alpha:g})"
    return f"higher{above}" if rule == "higher" else f"not worse{above}"
