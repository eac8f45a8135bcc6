"""What the cancels of many do to others: nothing."""

import asyncio
import os

import storm

# WEIR_STORM=2000 is the storm in full; so is tests/bench/cancel_storm.
EACH = int(os.environ.get("WEIR_STORM", "25"))


def test_a_storm_of_cancels_hits_nobody_else_and_costs_no_connection(start_weir, side):
    side.clear()
    weir = start_weir(ini=storm.ini(side, 8))
    count, _ = asyncio.run(storm.storm(weir, side, 40, EACH, 8))
    assert count.foreign_rows == [] and count.foreign_cancels == [] and count.errors == []
    assert count.n_given_up > 10 * EACH and count.n_answered and count.n_read > 20
    assert "reason=cancel_grace" not in weir.log() and "reason=dirty" not in weir.log()
