"""
How much one read or write carries.
"""

from functools import cache

import pytest

from coatcheck._backends.portions import BATCH, MOST, SLICE, Portions, Reading, Writing, weight
from coatcheck._coding.codec import Codec
from coatcheck._record.documents import new_document
from coatcheck.errors import BackendUnavailableError

CODEC = Codec()
MB = 1_000_000


@cache
def record(size):
    return CODEC.decode("t", CODEC.encode(new_document("t", "SUCCESS", "x" * size)))


def records(count, size):
    return [record(size)] * count


def gone():
    return BackendUnavailableError("no answer in time")


def read(portions, count, size, *, rate=1e9):
    """
    Read *count* records over a line of so many bytes a second; return how many each read had.
    """
    sizes = []
    while count:
        asked = min(count, portions.count())
        portions.came(asked, records(asked, size), asked * size / rate)
        sizes.append(asked)
        count -= asked
    return sizes


def test_the_size_of_a_record():
    """
    The bytes of a record, or those of its fields where it is kept as fields.
    """
    assert 1_000 < weight(records(1, 1_000)) < 1_500
    fields = CODEC.decode_fields("t", {"status": "SUCCESS", "result": "x" * 500}, ("result",))
    assert 500 <= weight([fields]) < 600


def test_small_records_are_read_a_thousand_at_a_time():
    """
    After a look at the first few, a read carries as many as it may.
    """
    portions = Portions()

    assert 4 == portions.count()
    assert [4, 64, 1000, 1000] == read(portions, 2068, 200)


def test_records_that_are_not_there_have_no_size():
    """
    Of ids under which nothing is stored nothing is learned about sizes.
    """
    portions = Portions()
    for _ in range(4):
        portions.came(portions.count(), [], 1.0)

    assert BATCH == portions.count()
    assert 250 == portions.count(250)


def test_large_records_fit_into_a_bounded_amount():
    """
    What one read carries has a bounded size, after the first few.
    """
    sizes = read(Portions(), 100, 2 * MB)

    assert 4 == sizes[0]
    assert max(sizes[1:]) * 2 * MB <= MOST
    assert all(size == 1 for size in read(Portions(), 20, 9 * MB)[1:])


def test_a_slow_line_carries_what_takes_half_a_second():
    """
    What one read carries arrives within a fraction of an operation's time.
    """
    sizes = read(Portions(), 100, MB, rate=5 * MB)

    assert max(sizes[1:]) * MB <= 5 * MB * SLICE
    assert {1} == set(read(Portions(), 20, MB, rate=MB / 10)[1:])


def test_a_long_way_makes_no_small_portions():
    """
    A round trip that takes long says nothing of how much would arrive with it.
    """
    portions = Portions()
    for _ in range(4):
        portions.came(portions.count(), records(portions.count(), 0), 0.7)

    assert BATCH == portions.count()


def test_one_small_record_does_not_hide_that_others_are_large():
    """
    What was learned of large records fades with many small ones, not with a few.
    """
    portions = Portions()
    read(portions, 10, MB)
    for _ in range(20):
        read(portions, 1, 100)
    assert portions.count() < 20

    assert 1000 in read(portions, 5_000, 100)


def test_what_came_to_nothing_is_asked_for_in_parts():
    """
    A read that took all of its time is halved and halved again, and remembered by all reads.
    """
    portions = Portions()
    read(portions, 2000, 100)
    reading = Reading(portions, map(str, range(1000)))
    assert 1000 == len(reading.next())
    reading.failed(gone())
    assert portions.count() == len(reading.next()) == 125
    with pytest.raises(BackendUnavailableError):
        reading.failed(gone())
    assert 15 == portions.count()


def test_a_store_that_says_nothing_is_not_asked_again():
    """
    Where nothing ever came, the first read that fails ends it: the store is away.
    """
    reading = Reading(Portions(), ["a", "b"])
    reading.next()
    with pytest.raises(BackendUnavailableError):
        reading.failed(gone())


def test_much_that_does_not_arrive_is_asked_for_in_parts_once():
    """
    Where records are known to be large, less is tried; where that comes to nothing, too, the store
    is away.
    """
    portions = Portions()
    read(portions, 20, MB)
    reading = Reading(portions, map(str, range(20)))
    assert 8 == len(reading.next())
    reading.failed(gone())
    assert 1 == len(reading.next())
    reading.came(records(1, MB))
    portions._count = 8
    assert 1 < len(reading.next())
    reading.failed(gone())
    reading.next()
    with pytest.raises(BackendUnavailableError):
        reading.failed(gone())


def test_one_record_that_does_not_arrive_is_an_error():
    """
    Less than one record cannot be asked for.
    """
    reading = Reading(Portions(), ["a"])
    reading.next()
    with pytest.raises(BackendUnavailableError):
        reading.failed(gone())


def test_reading_comes_to_everything_once():
    """
    Whatever fails on the way, each id is read, in order.
    """
    portions, ids, seen = Portions(), [str(n) for n in range(700)], []
    reading = Reading(portions, ids)
    turn = 0
    while portion := reading.next():
        turn += 1
        if turn % 3 == 2 and len(portion) > 1:
            reading.failed(gone())
        else:
            seen += portion
            reading.came(records(len(portion), 10_000))

    assert ids == seen


def test_writes_are_cut_by_bytes_and_by_number():
    """
    One write has a bounded size and a bounded number of records, and always one at least.
    """
    writing = Writing(Portions(), [b"x" * MB] * 30 + [b"y" * 20 * MB] + [b"z"] * 1500, len)
    sizes = []
    while portion := writing.next():
        sizes.append((len(portion), sum(map(len, portion))))
        writing.went()

    assert [8, 8, 8] == [number for number, _ in sizes[:3]]
    assert all(size <= MOST or number == 1 for number, size in sizes)
    assert 1000 in {number for number, _ in sizes}
    assert 1531 == sum(number for number, _ in sizes)


def test_records_are_made_when_their_turn_comes():
    """
    Of what is to be written no more is encoded than one write carries.
    """
    made = []

    def encoded():
        for number in range(100):
            made.append(number)
            yield b"x" * MB

    writing = Writing(Portions(), encoded(), len)
    writing.next()

    assert len(made) <= 9


def test_writes_that_came_to_nothing_are_made_in_parts():
    """
    A write that took all of its time is written again in smaller parts, in order.
    """
    writing = Writing(Portions(), [b"%d" % n * MB for n in range(8)], len)
    written, turn = [], 0
    while portion := writing.next():
        turn += 1
        if turn in (1, 4):
            writing.failed(gone())
        else:
            written += portion
            writing.went()

    assert list(b"01234567") == [value[0] for value in written]


def test_a_store_that_takes_nothing_is_not_asked_again():
    """
    Where nothing was ever written, the first write that fails ends it; so does a single record.
    """
    for items in ([b"a", b"b"], [b"a"]):
        writing = Writing(Portions(), items, len)
        writing.next()
        with pytest.raises(BackendUnavailableError):
            writing.failed(gone())
