import pytest

from playhead.db.pool import begin_as


def test_a_listeners_transaction_begins_with_role_limit_and_claims_in_one_message() -> None:
    assert begin_as({"sub": "F2B5E5C2-6A7F-4BDE-9F0C-1A2B3C4D5E6F", "role": "service_role"}) == (
        "begin; set local role authenticated; set local statement_timeout = 4500; "
        "set local idle_in_transaction_session_timeout = 3000; "
        "select set_config('request.jwt.claims', "
        '\'{"sub": "f2b5e5c2-6a7f-4bde-9f0c-1a2b3c4d5e6f", "role": "authenticated"}\', true)'
    )


@pytest.mark.parametrize("subject", ["", "x", "'; drop table audio_scripts; --", "\\'"])
def test_a_subject_that_is_no_uuid_gets_into_no_statement(subject: str) -> None:
    with pytest.raises(ValueError):
        begin_as({"sub": subject})
