"""Topic names and topic filters: which are valid, which a device may use, and which filter means which name."""

from __future__ import annotations

from tsengine.engine.fleet import check_topic
from tsengine.errors import InputError
from tsengine.limits import TOPIC_BYTES
from tsengine.mqtt.packet import Reason, Refused

TIP_ROOT = "$tip/"
"""The topics of TagoTiP: `$tip/{serial}/push`, `/pull` and `/ack`."""

PARAMETERS_TOPIC = "tago/params"
"""Where a device hears of its configuration parameters."""


def check_name(topic: str) -> None:
    """Check a topic that a client publishes to.

    Raises:
        Refused: it is empty, has a wildcard, or is too long.
    """
    try:
        check_topic(topic)
    except InputError as error:
        raise Refused(Reason.TOPIC_NAME_INVALID, str(error)) from None


def is_valid_filter(topic_filter: str) -> bool:
    """Return whether a filter is well-formed: + and # are whole levels, # the last one."""
    if not topic_filter or len(topic_filter.encode()) > TOPIC_BYTES:
        return False
    levels = topic_filter.split("/")
    return all(
        level == "+" or (level == "#" and place == len(levels)) or ("+" not in level and "#" not in level)
        for place, level in enumerate(levels, 1)
    )


def fits(topic_filter: str, topic: str) -> bool:
    """Return whether a filter means a topic. Wildcards at its beginning never mean a topic that begins with $."""
    if topic_filter == topic:
        return True
    if topic.startswith("$") and topic_filter[0] in "+#":
        return False
    wanted, levels = topic_filter.split("/"), topic.split("/")
    for place, level in enumerate(wanted):
        if level == "#":
            return True  # a/# means a, too
        if place == len(levels) or level not in ("+", levels[place]):
            return False
    return len(wanted) == len(levels)


def tip_parts(topic: str) -> tuple[str, str] | None:
    """Return (serial, verb) of a TagoTiP topic, or None for any other."""
    levels = topic.split("/")
    if len(levels) != 3 or levels[0] != "$tip" or not levels[1]:
        return None
    return levels[1], levels[2]
