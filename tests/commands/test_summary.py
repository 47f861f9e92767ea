"""What commands print of a run."""

import pytest
from rich.console import Console

from ml.commands.summary import metrics_table
from support.promotions import evaluation


@pytest.mark.parametrize("beats", [True, False])
def test_an_accuracy_no_better_than_the_baseline_is_told(beats):
    record = evaluation(108).model_copy(update={"beats_majority": beats})
    console = Console(width=120)
    with console.capture() as captured:
        console.print(metrics_table(record, "test split"))
    told = captured.get()
    assert "accuracy" in told
    assert (f"No better than always answering {record.majority.label}" in told) != beats
