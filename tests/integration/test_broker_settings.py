"""Settings of the broker that a private node takes from ``deploy/``, as an operator's own would."""

from __future__ import annotations

from dev.broker import BrokerNode


def test_what_waits_for_its_time_does_not_wait_for_minutes_more_after_a_restart(
    broker: BrokerNode,
) -> None:
    asked = "application:get_env(rabbit, dead_letter_worker_publisher_confirm_timeout)."

    assert broker.ctl("eval", asked).strip() == "{ok,5000}"
