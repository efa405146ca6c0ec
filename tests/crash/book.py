"""What was acknowledged, kept outside of the store, and what is wrong with what was found in it.

Of each device the book has every state that it may be in: one, and more while a step is in doubt, because nobody knows whether it
was stored. A device is right when it holds exactly one of them. What is wrong has a name, the first word of a Violation:

LOST            an acknowledged point (or edit) is not there
DUPLICATE       a point is there twice
HALF BATCH      a part of a batch is there
RESURRECTED     a point is there that was deleted, expired or refused
OUT OF ORDER    points do not come by time, and in the order of insertion where times are equal
WRONG           something is there that was never written
EXCEPTION       an error that is not promised, or a problem that `check` tells
HANG            a process neither went on nor ended
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from tests.crash.story import BATCH_MAX, DEVICES, EXPIRING, GUESTS, Row, State, Step, after

DOUBTS_MAX = 256


class Violation(AssertionError):
    """Args:
    name: one of the list above.
    """

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(f"{name}: {detail}")
        self.name = name


Found = list[tuple[int, Row]]
"""What a device holds, in the order in which it is read."""


class Book:
    def __init__(self, now_us: int) -> None:
        self.now_us = now_us
        self.number = 0
        self.states: dict[str, list[State]] = {who: [{}] for who in (*DEVICES, GUESTS)}
        self.ever: dict[str, set[int]] = {who: set() for who in self.states}
        self.backup: dict[str, list[State]] | None = None  # what the newest backup may hold
        self.backup_number = 0
        self.is_backup_done = False
        self.is_cut = False  # the power is gone: what comes now is there up to some step of each device, or not at all
        self.done_count = self.doubt_count = self.refused_count = 0
        self._open: dict[str, list[State]] = {}  # of who runs a step: states before it

    # --- what the writer told ------------------------------------------------------------------------------------------

    def tried(self, step: Step) -> None:
        self.number = max(self.number, step.number if step.kind != "drop" else 0)
        if step.kind == "backup":
            self.backup = {who: list(states) for who, states in self.states.items()}
            self.backup_number, self.is_backup_done = step.number, False
        if step.kind == "expire":
            self.now_us = max(self.now_us, step.time_us)
        if step.who not in self.states:
            return
        before = self.states[step.who]
        self._open[step.who] = before
        fresh = [after(state, step) for state in (before[-1:] if self.is_cut else before)]
        self.ever[step.who].update(*fresh)
        # The newest comes last, also if it is what was there before: after a cut the next step goes on from it.
        self.states[step.who] = [state for state in before if state not in fresh] + fresh
        if len(self.states[step.who]) > DOUBTS_MAX:
            raise RuntimeError("too many steps in doubt for one round")
        if self.backup is not None and not self.is_backup_done:
            self.backup[step.who] += fresh

    def done(self, step: Step) -> None:
        if self.is_cut:
            return
        self.done_count += 1
        if step.kind == "backup":
            self.is_backup_done = True
        if step.who in self._open:
            self.states[step.who] = [after(state, step) for state in self._open.pop(step.who)]

    def refused(self, step: Step) -> None:
        """It was not stored, and the writer knows."""
        self.refused_count += 1
        if step.kind == "expire":  # the clock has moved, and hides, whatever became of the rest
            self.done(step)
        elif step.who in self._open:
            self.states[step.who] = self._open.pop(step.who)

    def doubt(self, step: Step) -> None:
        """Nobody knows; both may be."""
        self.doubt_count += 1
        self._open.pop(step.who, None)

    def ended(self) -> None:
        """The writer is gone; what it had begun is in doubt."""
        self.doubt_count += len(self._open)
        self._open.clear()
        self.is_cut = False

    # --- what was found ------------------------------------------------------------------------------------------------

    def compare(self, found: Mapping[str, Found], where: str) -> None:
        """Raise Violation unless each device holds what it may; what it holds is certain from then on."""
        for who, states in self.states.items():
            self.states[who] = [self._match(who, found[who], states, where)]

    def compare_backup(self, found: Mapping[str, Found], where: str) -> None:
        assert self.backup is not None
        for who, states in self.backup.items():
            if who == EXPIRING:  # it is read with the clock of now
                states = [after(state, Step("expire", who, time_us=self.now_us)) for state in states]
            self._match(who, found[who], states, f"{where}, backup {self.backup_number}")

    def _match(self, who: str, found: Found, states: list[State], where: str) -> State:
        where = f"{where}, {who}"
        doubles = [value for value, times in Counter(value for value, _ in found).items() if times > 1]
        if doubles:
            raise Violation("DUPLICATE", f"{where}: {name_of(doubles)}")
        held = dict(found)
        for state in states:
            if held == state:
                ordered = sorted(state, key=lambda value: state[value].time_us)  # stable: by insertion where times are equal
                if ordered != [value for value, _ in found]:
                    raise Violation("OUT OF ORDER", f"{where}: {first_difference(ordered, found)}")
                return state
        nearest = min(states, key=lambda state: len(state.items() ^ held.items()))
        raise self._explain(who, held, nearest, where)

    def _explain(self, who: str, held: State, state: State, where: str) -> Violation:
        missing, extra = state.keys() - held.keys(), held.keys() - state.keys()
        unknown = extra - self.ever[who]
        if unknown:
            return Violation("WRONG", f"{where}: {name_of(unknown)} was never written")
        changed = {value for value in held.keys() & state.keys() if held[value] != state[value]}
        if who != GUESTS:
            half = {batch(value) for value in missing} & {batch(value) for value in held}
            half |= {batch(value) for value in extra} - {batch(value) for value in state} - self._whole(who, held)
            half |= {batch(value) for value in changed} & {batch(value) for value in held.keys() - changed}
            if half:
                return Violation("HALF BATCH", f"{where}: {sorted(half)[:10]}")
        if missing:
            return Violation("LOST", f"{where}: {name_of(missing)}")
        if extra:
            return Violation("RESURRECTED", f"{where}: {name_of(extra)}")
        value = min(changed)
        name = "LOST" if held[value]._replace(unit=None) == state[value]._replace(unit=None) else "WRONG"
        return Violation(name, f"{where}: {len(changed)} differ, of batch {batch(value)} {held[value]} is there, not {state[value]}")

    def _whole(self, who: str, held: State) -> set[int]:
        ever, there = (Counter(batch(value) for value in values) for values in (self.ever[who], held))
        return {number for number, count in there.items() if ever[number] == count}


def batch(value: int) -> int:
    return value // BATCH_MAX


def name_of(values: Iterable[int]) -> str:
    values = sorted(values)
    return f"{len(values)} points of batches {sorted({batch(value) for value in values})[:10]}"


def first_difference(ordered: list[int], found: Found) -> str:
    place = next(i for i, (value, other) in enumerate(zip(ordered, found, strict=True)) if value != other[0])
    return f"at place {place} of {len(found)} is {found[place]}, not value {ordered[place]}"
