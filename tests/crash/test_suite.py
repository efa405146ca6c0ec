"""The crash suite itself: a store that is broken on purpose fails it, by the right name; one that is not passes."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash.book import Book, Violation
from tests.crash.disks import PoweredRounds, mounted
from tests.crash.driver import NOON_US, Fault, Rounds
from tests.crash.faults import Kill, NthCall
from tests.crash.story import COLUMNS, EXPIRING, GUESTS, REGISTERS, Row, Step, rows_of

SEED = 20261121
TRIES = 30


def expect(name: str, tries: Callable[[], object]) -> None:
    """One of the tries has to fail by this name, or one of these."""
    with pytest.raises(Violation) as caught:
        for _ in range(TRIES):
            tries()
    assert caught.value.name in name.split(" or "), caught.value


@pytest.mark.slow
def test_a_store_without_sync_fails_in_a_power_cut(tmp_path: Path) -> None:
    with mounted(tmp_path, "ext4") as disk:
        work = PoweredRounds(disk, seed=SEED, broken="without_sync")
        expect("LOST", work.cut)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("broken", "name"),
    [
        ("torn_batches", "HALF BATCH"),
        ("dropped_tail", "LOST or RESURRECTED"),  # what one recovery gave up, the next may find again
    ],
)
def test_a_broken_store_fails_when_it_is_killed(tmp_path: Path, broken: str, name: str) -> None:
    work = Rounds(tmp_path / "data", seed=SEED, broken=broken)
    expect(name, lambda: work.round(Kill(work.dice)))


@pytest.mark.parametrize(
    ("broken", "name"),
    [("forgotten_delete", "RESURRECTED"), ("wrong_order", "OUT OF ORDER"), ("untold_error", "EXCEPTION"), ("endless_wait", "HANG")],
)
def test_a_broken_store_fails_when_it_is_opened_again(tmp_path: Path, broken: str, name: str) -> None:
    work = Rounds(tmp_path / "data", seed=SEED, broken=broken, hang_s=2.0 if name == "HANG" else 60.0)
    expect(name, lambda: work.round(Fault(), [work.author().script(80)]))


def test_a_store_that_ignores_an_error_fails_when_a_write_fails(tmp_path: Path) -> None:
    work = Rounds(tmp_path / "data", seed=SEED, broken="ignored_error")

    def fail() -> None:
        fault = NthCall("EIO", work.dice.randrange(40, 90), calls="pwrite", error=errno.EIO)
        work.round(fault, [work.author().script(40)])

    expect("LOST", fail)


# --- the book: what is found, made up ------------------------------------------------------------------------------------------

FIRST = Step("put", COLUMNS, 1, NOON_US, 3)
SECOND = Step("put", COLUMNS, 2, NOON_US - 1000, 2)


def book_of(*steps: Step) -> Book:
    book = Book(NOON_US)
    for step in steps:
        book.tried(step)
        book.done(step)
    return book


def found(*steps: Step) -> list[tuple[int, Row]]:
    rows = [item for step in steps for item in rows_of(step).items()]
    return sorted(rows, key=lambda item: item[1].time_us)


def compare(book: Book, columns: list[tuple[int, Row]]) -> None:
    book.compare({COLUMNS: columns, EXPIRING: [], REGISTERS: [], GUESTS: []}, "made up")


def test_what_is_right_passes() -> None:
    book = book_of(FIRST, SECOND)
    compare(book, found(FIRST, SECOND))
    book.tried(third := Step("put", COLUMNS, 3, NOON_US, 5))
    book.ended()
    compare(book, found(FIRST, SECOND, third))
    book.tried(Step("put", COLUMNS, 4, NOON_US, 5))
    book.ended()
    compare(book, found(FIRST, SECOND, third))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("LOST", lambda rows: []),
        ("HALF BATCH", lambda rows: rows[:-1]),
        ("DUPLICATE", lambda rows: rows + rows[-1:]),
        ("OUT OF ORDER", lambda rows: rows[::-1]),
        ("WRONG", lambda rows: [*rows, (99 * 4096, Row(NOON_US * 2, "v0"))]),
        ("WRONG", lambda rows: [(value, row._replace(time_us=row.time_us + 1)) for value, row in rows]),
        ("RESURRECTED", lambda rows: rows + [(value, row._replace(time_us=row.time_us + 10**6)) for value, row in found(SECOND)]),
    ],
)
def test_what_is_wrong_has_a_name(name: str, change: Callable[[list[tuple[int, Row]]], list[tuple[int, Row]]]) -> None:
    book = book_of(FIRST, SECOND, Step("delete", COLUMNS, 2))
    with pytest.raises(Violation) as caught:
        compare(book, change(found(FIRST)))
    assert caught.value.name == name


def test_a_refused_batch_that_is_there_is_resurrected_and_a_lost_edit_is_lost() -> None:
    book = book_of(FIRST)
    book.tried(SECOND)
    book.refused(SECOND)
    with pytest.raises(Violation, match=r"^RESURRECTED"):
        compare(book, found(FIRST, SECOND))
    book = book_of(FIRST, Step("edit", COLUMNS, 1, count=7))
    with pytest.raises(Violation, match=r"^LOST"):
        compare(book, found(FIRST))
    compare(book, [(value, row._replace(unit="7")) for value, row in found(FIRST)])
