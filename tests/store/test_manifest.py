"""The manifest: commits are whole, durable and seen again after reopening."""

from pathlib import Path

import pytest

from tsengine.errors import InputError
from tsengine.store.manifest import Manifest, SegmentEntry, Tombstone


def segment(id: int, **changes: int) -> SegmentEntry:
    fields = {
        "month": 600,
        "size_bytes": 4096,
        "point_count": 10,
        "first_us": -5,
        "last_us": 2**62,
        "first_device": 1,
        "last_device": 2**32 - 1,
        "first_log_seq": 1,
        "last_log_seq": 9,
        "tier": 1,
    }
    return SegmentEntry(id=id, **(fields | changes))


def test_a_new_manifest_is_empty(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    assert (manifest.applied_seq, manifest.segments(), manifest.tombstones(), manifest.next_segment_id) == (0, [], [], 1)
    assert manifest.next_sequence(1) is None


def test_a_commit_is_seen_after_reopening(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    early, late = Tombstone(1, -(2**63), -1, 4), Tombstone(1, 0, 2**63 - 1, 5)
    manifest.commit(add=[segment(2), segment(1)], tombstones_add=[late, early], applied_seq=9, next_sequences={7: 1 << 61, 8: 3})
    manifest.commit(remove=[1], add=[segment(300, month=-1)], tombstones_remove=[late], next_sequences={8: None})
    manifest.close()
    manifest = Manifest(tmp_path)
    assert manifest.segments() == [segment(2), segment(300, month=-1)]
    assert manifest.tombstones() == [early]
    assert (manifest.applied_seq, manifest.next_segment_id) == (9, 301)
    assert (manifest.next_sequence(7), manifest.next_sequence(8)) == (1 << 61, None)
    assert manifest.next_sequences() == {7: 1 << 61}


def test_tombstones_of_one_device_come_in_order_of_time_also_before_1970(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    tombstones = [Tombstone(device, start, start + 5, 1) for device in (1, 2) for start in (-(2**62), -10, 0, 10)]
    manifest.commit(tombstones_add=reversed(tombstones))
    manifest.commit(tombstones_add=tombstones[:1], tombstones_remove=[Tombstone(9, 0, 0, 0)])
    assert manifest.tombstones() == tombstones


def test_a_refused_commit_changes_nothing(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    manifest.commit(add=[segment(1)], applied_seq=3)
    for refused in ({"add": [segment(5), segment(1)]}, {"remove": [1, 2]}):
        with pytest.raises(InputError, match="nothing was changed"):
            manifest.commit(**refused, applied_seq=8, next_sequences={1: 1}, tombstones_add=[Tombstone(1, 0, 1, 8)])
    assert (manifest.segments(), manifest.applied_seq, manifest.next_segment_id) == ([segment(1)], 3, 2)
    assert (manifest.tombstones(), manifest.next_sequences()) == ([], {})


def test_a_segment_may_replace_itself(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    manifest.commit(add=[segment(1)])
    manifest.commit(remove=[1], add=[segment(1, size_bytes=1)])
    assert manifest.segments() == [segment(1, size_bytes=1)]


def test_ids_and_sequences_only_rise(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    manifest.commit(add=[segment(9)], next_sequences={1: 50}, applied_seq=7)
    manifest.commit(remove=[9], next_segment_id=4, next_sequences={1: 40}, applied_seq=6)
    assert (manifest.next_segment_id, manifest.next_sequence(1), manifest.applied_seq) == (10, 50, 7)
    manifest.commit(next_segment_id=20)
    assert manifest.next_segment_id == 20


def test_a_copy_opens(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path / "manifest")
    manifest.commit(add=[segment(1)], applied_seq=3)
    manifest.copy(tmp_path / "copy")
    assert Manifest(tmp_path / "copy").segments() == [segment(1)]
