"""The DAG of sweeps: data once, a bounded number of mapped trainings, and one candidate."""

import pytest

from ml.config.sweep import SweepConfig
from ml.config.training import TrainingConfig


@pytest.fixture(scope="module")
def dag():
    from open_images_sweep import dag

    return dag


def test_the_data_are_prepared_once_and_the_best_is_evaluated_alone(dag):
    assert {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks} == {
        "open_sweep": ["data.extract"],
        "data.extract": ["data.join_labels"],
        "data.join_labels": ["data.chip"],
        "data.chip": ["data.featurize"],
        "data.featurize": ["open_members"],
        "open_members": ["train"],
        "train": ["sweep"],
        "sweep": ["choose_best"],
        "choose_best": ["explore"],
        "explore": ["evaluate"],
        "evaluate": [],
    }


def test_only_so_many_trainings_run_at_a_time_and_each_has_the_time_of_a_training(dag):
    from ml.config.deployment import Deployment

    trained = dag.get_task("train")
    assert trained.is_mapped
    assert trained.max_active_tis_per_dag == Deployment().sweep_trainings == 1
    assert trained.execution_timeout.total_seconds() == 3600 * Deployment().timeout("train")


def test_the_best_training_is_offered_as_a_candidate(dag):
    from open_images.assets import CANDIDATE

    assert {task.task_id: task.outlets for task in dag.tasks if task.outlets} == {"evaluate": [CANDIDATE]}
    assert "choose_best" in dag.get_task("evaluate").run


def test_the_form_begins_with_the_sweep_and_has_what_a_training_has(dag):
    names = list(dag.params)
    assert names[:2] == ["grid", "seeds"]
    assert set(SweepConfig.model_fields) - set(names) == {"force", "baseline", "retrain_without_news"}
    assert set(names) - {"grid", "seeds"} <= set(TrainingConfig.model_fields)


def test_airflow_can_store_it(dag):
    from airflow.serialization.serialized_objects import DagSerialization

    kept = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    assert kept.get_task("train").is_mapped
    assert kept.get_task("train").max_active_tis_per_dag == 1


def test_the_page_says_what_the_labels_are(dag):
    assert "perceived by annotators" in dag.doc_md
    assert dag.schedule is None
