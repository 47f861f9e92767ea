"""Tests of `ml.class_data`, and of the archive that `spark_jobs.class_data` makes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ml import class_data
from ml.java import java_home

COUNT = "from pyspark.sql import SparkSession; print('rows', SparkSession.builder.getOrCreate().range(7).count())"


@pytest.fixture
def prefix(monkeypatch, tmp_path):
    """An environment that has no archive yet."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    return tmp_path


@pytest.fixture
def java(tmp_path):
    """A Java's home."""
    program = tmp_path / "java" / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text("one")
    return tmp_path / "java"


def test_an_archive_is_of_one_java_and_one_pyspark(prefix, java):
    archive = class_data.archive_path(java)
    assert archive == class_data.archive_path(java)
    (java / "bin" / "java").write_text("another version")
    other = class_data.archive_path(java)
    assert other != archive
    assert other.parent == archive.parent == prefix / ".tools" / "class-data"


def test_without_an_archive_no_option_names_one(prefix, java):
    assert "SharedArchiveFile" not in class_data.submit_environment(java, {})["SPARK_SUBMIT_OPTS"]


def test_options_of_the_user_come_last_and_ours_only_once(prefix, java):
    archive = class_data.archive_path(java)
    archive.parent.mkdir(parents=True)
    archive.touch()
    first = class_data.submit_environment(java, {"SPARK_SUBMIT_OPTS": "-Dmine=1"})
    assert first["SPARK_SUBMIT_OPTS"].endswith(" -Dmine=1")
    assert first["SPARK_SUBMIT_OPTS"].count(str(archive)) == 1
    assert class_data.submit_environment(java, first) == first


@pytest.mark.slow
def test_a_job_takes_its_classes_from_the_archive_and_says_nothing_where_it_cannot(tmp_path):
    assert class_data.archive_path(java_home()).exists(), "make setup makes it"
    job, loaded = tmp_path / "job.py", tmp_path / "loaded.txt"
    job.write_text(COUNT)

    def submit(*options):
        told = class_data.submit_environment(java_home(), {})
        told["SPARK_SUBMIT_OPTS"] += f" -Xlog:class+load:file={loaded}"
        program = str(Path(sys.executable).with_name("spark-submit"))
        command = [program, "--conf", "spark.ui.enabled=false", *options, str(job)]
        done = subprocess.run(command, env={**os.environ, **told}, capture_output=True, text=True, check=True)
        shared = sum("org.apache.spark" in line and "shared objects file" in line for line in loaded.open())
        return done.stdout, shared

    printed, shared = submit("--master", "local[1]")
    assert printed == "rows 7\n"
    assert shared > 1000
    # A class path other than that of the archive.
    printed, shared = submit("--master", "local[1]", "--driver-class-path", str(tmp_path))
    assert printed == "rows 7\n"
    assert shared == 0
