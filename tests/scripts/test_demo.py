"""What `make demo` prints of a training, from the lines of its log."""

from types import SimpleNamespace

import demo

LINE = (
    "2026-01-01T00:00:00.000000Z [info     ] 12:00:00 INFO epoch 3/30: loss 0.5012, accuracy 0.8000; validation loss "
    "0.4012, accuracy 0.8500; 4.3 s, 250 images/s, about 2 min left "
    "[airflow.task.hooks.airflow.providers.standard.hooks.subprocess.SubprocessHook] loc=subprocess.py:106"
)


def test_a_line_of_the_log_is_told_in_short():
    assert demo.EPOCH.search(LINE).groups() == (
        "3",
        "30",
        "validation loss 0.4012, accuracy 0.8500; 4.3 s, 250 images/s, about 2 min left",
    )
    step = "12:00:00 INFO epoch 3/30: step 5 of 10, loss 0.5000, 250 images/s, about 2 min left"
    assert demo.EPOCH.search(step)[3] == "step 5 of 10, loss 0.5000, 250 images/s, about 2 min left"


def test_without_a_terminal_a_line_is_printed_every_ten_seconds(monkeypatch, capsys):
    now = [50.0]
    monkeypatch.setattr(demo, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with demo.TrainingLine() as line:
        for seconds in range(25):
            now[0] = 50.0 + seconds
            line.tell(f"  epoch {seconds}")
    assert capsys.readouterr().out.splitlines() == ["  epoch 0", "  epoch 10", "  epoch 20"]
