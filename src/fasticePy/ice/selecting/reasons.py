"""Why data moves from one pair to another."""

from __future__ import annotations

from enum import Enum


class SwitchReason(str, Enum):
    """Why another pair carries the data from now on; the value says it in words."""

    FIRST_PAIR = "the first pair that works"
    SELECTED_GONE = "the pair in use may carry data no more"
    SELECTED_SILENT = "the pair in use does not answer"
    PEER_MOVED = "the pair in use does not answer, and the peer sends on another one"
    BETTER_TYPE = "a direct pair instead of a relayed one"
    LOWER_COST = "a cheaper network"
    LOWER_RTT = "a much shorter round trip"
    HIGHER_PRIORITY = "a pair of higher priority"
    PEER_NOMINATED = "nominated by the peer"
    APPLICATION = "chosen by the application"
