"""Framing: every record once, and nothing believed that a checksum denies."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.event_files import header, records

from guildlite.tfevents import BadFraming, BadPayload, RecordReader

PAYLOADS = [b"first", b"", b"x" * 300, b"last"]


class Scripted(io.BytesIO):
    """A file that hands out at most `most` bytes a read."""

    def __init__(self, data: bytes, most: int) -> None:
        super().__init__(data)
        self._most = most

    def read(self, size: int | None = -1) -> bytes:
        wanted = self._most if size is None or size < 0 else min(size, self._most)
        return super().read(wanted)


def read_all(reader: RecordReader) -> list[bytes]:
    found = []
    while (payload := reader.read()) is not None:
        found.append(payload)
    return found


def test_records_are_read_in_order_up_to_the_end():
    data = records(*PAYLOADS)
    reader = RecordReader(io.BytesIO(data))
    assert read_all(reader) == PAYLOADS
    assert reader.offset == len(data)
    assert reader.read() is None


@pytest.mark.parametrize("cut", range(len(records(*PAYLOADS)) + 1))
def test_a_file_cut_at_any_byte_is_waited_for(cut: int):
    data = records(*PAYLOADS)
    file = io.BytesIO(data[:cut])
    reader = RecordReader(file)
    before = read_all(reader)
    assert before == PAYLOADS[: len(before)]
    resumed = RecordReader(io.BytesIO(data), reader.offset)
    file.seek(cut)
    file.write(data[cut:])
    assert before + read_all(reader) == before + read_all(resumed) == PAYLOADS


@given(st.lists(st.binary(max_size=80), max_size=8), st.integers(1, 400))
def test_a_file_that_hands_out_slices_never_gives_a_wrong_record(payloads: list[bytes], most: int):
    # A slice too short for the next record is the same as bytes not yet there.
    found = read_all(RecordReader(Scripted(records(*payloads), most)))
    assert found == payloads[: len(found)]
    if most >= max((len(payload) + 16 for payload in payloads), default=0):
        assert found == payloads


@pytest.mark.parametrize("bit", range(12 * 8))
def test_any_flipped_bit_of_a_header_ends_the_file(bit: int):
    data = bytearray(records(*PAYLOADS))
    start = len(records(PAYLOADS[0]))
    data[start + bit // 8] ^= 1 << bit % 8
    reader = RecordReader(io.BytesIO(bytes(data)))
    assert reader.read() == PAYLOADS[0]
    for _ in range(2):
        with pytest.raises(BadFraming) as caught:
            reader.read()
        assert caught.value.offset == reader.offset == start


@pytest.mark.parametrize("bit", range((5 + 4) * 8))
def test_any_flipped_bit_of_a_payload_or_its_checksum_costs_that_record_only(bit: int):
    data = bytearray(records(*PAYLOADS))
    data[12 + bit // 8] ^= 1 << bit % 8
    reader = RecordReader(io.BytesIO(bytes(data)))
    with pytest.raises(BadPayload) as caught:
        reader.read()
    assert caught.value.offset == 0
    assert read_all(reader) == PAYLOADS[1:]


@pytest.mark.parametrize("size", [2**40, 2**64 - 1, (256 << 20) + 1])
def test_an_absurd_length_with_a_right_checksum_is_not_believed(size: int):
    reader = RecordReader(io.BytesIO(records(b"good") + header(size) + b"tail"))
    assert reader.read() == b"good"
    with pytest.raises(BadFraming, match=str(size)):
        reader.read()


def test_a_long_record_that_is_not_there_yet_is_not_asked_for():
    class Counting(io.BytesIO):
        asked = 0

        def read(self, size: int | None = -1) -> bytes:
            self.asked = max(self.asked, size or 0)
            return super().read(size)

    file = Counting(header(200 << 20) + b"only this")
    assert RecordReader(file).read() is None
    assert file.asked <= 12 + len(b"only this")


def test_zeros_at_the_end_are_damage():
    reader = RecordReader(io.BytesIO(records(b"good") + bytes(64)))
    assert reader.read() == b"good"
    with pytest.raises(BadFraming):
        reader.read()


def test_records_longer_than_a_block_and_across_blocks():
    payloads = [bytes([index]) * (100_000 * (index + 1)) for index in range(6)]
    assert read_all(RecordReader(io.BytesIO(records(*payloads)))) == payloads
