"""The watching thread always hears that it shall stop."""

from agora.runtime.pace import Pace


def test_a_watch_that_goes_to_rest_just_as_it_is_stopped_does_not_sleep_for_ever():
    pace = Pace()
    pace._idle = True
    # What `watching` does at its end, between the thread's look at `_stop` and its going to rest.
    pace._stop.set()
    pace._work.set()
    pace._rest()
    assert pace._work.is_set()


def test_a_flag_that_is_raised_just_as_the_loop_has_its_turn_is_taken_down():
    class Racing(list[None]):
        def append(self, item: None) -> None:
            super().append(item)
            pace.turns += 1
            pace._stop.set()

    pace = Pace(flag=Racing())
    pace._watch()
    assert pace.flag == []
    assert pace.turns == 1
