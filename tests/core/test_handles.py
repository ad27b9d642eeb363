"""`mitogen.core.handles`: the numbers of the wire protocol."""

from __future__ import annotations

from mitogen.core import handles

NUMBERS = {name: value for name, value in vars(handles).items() if name.isupper()}


def test_the_numbers_are_those_of_the_protocol() -> None:
    names = "GET_MODULE CALL_FUNCTION FORWARD_LOG ADD_ROUTE DEL_ROUTE ALLOCATE_ID SHUTDOWN LOAD_MODULE"
    names += " FORWARD_MODULE DETACHING CALL_SERVICE"
    assert [NUMBERS[name] for name in names.split()] == list(range(100, 111))
    assert handles.IS_DEAD == 999


def test_no_number_has_two_meanings() -> None:
    assert len(set(NUMBERS.values())) == len(NUMBERS)


def test_dynamic_handles_come_after_all_standard_ones() -> None:
    assert max(NUMBERS.values()) == handles.FIRST_DYNAMIC_HANDLE == 1000
