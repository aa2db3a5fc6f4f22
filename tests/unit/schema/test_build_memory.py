"""What an index build is given, against what the server has."""

import pytest

from embedmig.schema.build_memory import decide, read_shm_size
from embedmig.schema.index_design import index_of

_MIB = 1 << 20
_MEMINFO = "MemTotal:       16000000 kB\nMemFree: 1 kB\n"


@pytest.mark.parametrize(
    ("mounts", "size"),
    [
        ("shm /dev/shm tmpfs rw,nosuid,nodev,noexec,relatime,size=65536k 0 0\n", 64 * _MIB),
        ("proc /proc proc rw 0 0\ntmpfs /dev/shm tmpfs rw,size=2g,mode=1777 0 0\n", 2048 * _MIB),
        ("tmpfs /dev/shm tmpfs rw,nosuid,nodev 0 0\n", 8_000_000 * 1024),
        ("tmpfs /dev/shm tmpfs rw,size=50% 0 0\n", None),
        ("proc /proc proc rw 0 0\n", None),
    ],
)
def test_the_size_of_shared_memory_is_read_from_the_mounts(mounts: str, size: int | None) -> None:
    assert read_shm_size(mounts, _MEMINFO) == size


@pytest.mark.parametrize(("room", "workers"), [(64 * _MIB, 0), (512 * _MIB, 2), (None, 2)])
def test_workers_stay_only_where_the_graph_fits_into_shared_memory(room: int | None, workers: int) -> None:
    decided = decide(wanted=100 * _MIB, memory=128 * _MIB, workers=2, room=room)
    assert decided.parallel_workers == workers
    assert bool(decided.notes) == (workers == 0)


def test_too_little_memory_is_said_with_the_option_that_gives_more() -> None:
    (note,) = decide(wanted=1000 * _MIB, memory=64 * _MIB, workers=0, room=None).notes
    assert "--maintenance-work-mem 1000MB" in note


def test_long_index_names_keep_their_end_and_stay_apart() -> None:
    names = {index_of("t" * 40, "c" * 40 + end, "hnsw", number) for end in "ab" for number in (0, 1)}
    assert len(names) == 4
    assert all(len(name.encode()) <= 63 and "_hnsw_" in name for name in names)
    assert len(index_of("ü" * 60, "c", "hnsw").encode()) <= 63
