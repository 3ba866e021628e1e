"""Rates, time left, plain lines, the rich bar."""

import io

import pytest

from freqkit.cli.progress import Bar, Lines, Pace, amount, duration, steps, watcher
from freqkit.engine import Progress


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_rate_and_time_left():
    clock = Clock()
    pace = Pace(1000, clock)
    assert pace.rate is None
    assert pace.left is None
    clock.now += 5
    pace.advance(250)
    assert pace.rate == 50
    assert pace.left == 15


def test_a_slow_start_is_forgotten():
    clock = Clock()
    pace = Pace(10_000, clock, window=30)
    clock.now += 100
    pace.advance(10)
    for _ in range(60):
        clock.now += 1
        pace.advance(20)
    assert pace.rate == pytest.approx(20)
    assert pace.mean_rate == pytest.approx(1210 / 160)


def test_resumed_work_is_done_but_is_no_speed():
    clock = Clock()
    pace = Pace(1000, clock)
    clock.now += 1
    pace.advance(900, resumed=True)
    clock.now += 10
    pace.advance(50)
    assert pace.done == 950
    assert pace.rate == 5
    assert pace.left == 10


@pytest.mark.parametrize(("seconds", "words"), [(0.2, "0 s"), (59.4, "59 s"), (75, "1 min 15 s"), (3725, "1 h 02 min")])
def test_durations(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("value", "words"), [(0.123, "0.12"), (12.3, "12"), (9999, "9999"), (45321, "45k"), (1234567, "1.2M")]
)
def test_amounts(value, words):
    assert amount(value) == words


def test_lines_are_few_and_end_with_a_summary():
    clock, stream = Clock(), io.StringIO()
    lines = Lines(stream, every=10, clock=clock)
    lines.start("stage 1", 100, "forwards")
    for _ in range(100):
        clock.now += 0.5
        lines.advance(1)
    lines.note("something happened")
    lines.finish()
    printed = stream.getvalue().splitlines()
    assert printed[0] == "stage 1: 100 forwards"
    assert printed[1] == "stage 1: 20%, 2 forwards/s, 40 s left"
    assert printed[-2:] == ["something happened", "stage 1: done, 100 forwards in 50 s, 2 forwards/s"]
    assert len(printed) <= 8


def test_an_unfinished_piece_of_work_is_not_called_done():
    stream = io.StringIO()
    lines = Lines(stream, clock=Clock())
    lines.start("stage 1", 100)
    lines.advance(10)
    lines.finish()
    assert "stopped at 10" in stream.getvalue()


def test_both_watchers_are_progresses_and_a_pipe_gets_lines():
    from rich.console import Console

    assert isinstance(Lines(io.StringIO()), Progress)
    assert isinstance(Bar(Console(file=io.StringIO())), Progress)
    assert isinstance(watcher(io.StringIO()), Lines)


def test_a_terminal_gets_a_bar_with_rate_and_time_left():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    with watcher(stream) as bar:
        assert isinstance(bar, Bar)
        bar.start("stage 1", 10, "forwards")
        bar.advance(5)
        bar.note("a note [not markup]")
        bar.progress.refresh()
        bar.finish()
    text = stream.getvalue()
    assert "stage 1" in text
    assert "forwards/s" in text
    assert "left" in text
    assert "a note [not markup]" in text


def test_steps_adapts_a_callback_and_ends_also_on_errors():
    stream = io.StringIO()
    lines = Lines(stream, clock=Clock())
    with pytest.raises(RuntimeError), steps(lines, "training") as advance:
        advance(1, 4)
        advance(3, 4)
        raise RuntimeError
    assert stream.getvalue().splitlines() == ["training: 4 steps", "training: stopped at 3 steps in 0 s"]
