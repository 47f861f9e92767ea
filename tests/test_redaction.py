"""Secrets are recognized in settings and hidden in messages."""

import pytest

from ml.redaction import has_credentials, is_secret, redacted, without_secrets


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("AWS_SECRET_ACCESS_KEY", "x", True),
        ("spark.hadoop.fs.s3a.access.key", "x", True),
        ("apiKey", "x", True),
        ("POSTGRES_PASSWORD", "x", True),
        ("AWS_SHARED_CREDENTIALS_FILE", "x", False),
        ("slack_conn_id", "chat", False),
        ("spark.kubernetes.authenticate.submission.oauthTokenFile", "/run/token", False),
        ("DATABASE_URL", "postgresql://airflow:hunter2@postgres/airflow", True),
        ("DATABASE_URL", "postgresql://postgres/airflow", False),
        ("spark.driver.memory", "4g", False),
    ],
)
def test_a_setting_is_secret_by_its_name_or_its_value(name, value, secret):
    assert is_secret(name, value) is secret


def test_messages_hide_secrets_at_any_depth():
    assert redacted({"a": ["s3://key:hunter2@bucket/x"], "password": "hunter2", "epochs": 3}) == {
        "a": ["s3://***@bucket/x"],
        "password": "***",
        "epochs": 3,
    }
    assert redacted("https://host/x?token=hunter2 is wrong") == "https://host/x?*** is wrong"
    assert redacted("file:///data/open-images") == "file:///data/open-images"


def test_a_text_loses_the_secrets_of_the_environment(monkeypatch):
    monkeypatch.setenv("SOME_TOKEN", "hunter2hunter2")
    monkeypatch.setenv("OTHER_TOKEN", "of")  # too short: it would hide parts of words
    assert without_secrets("a line of hunter2hunter2") == "a line of ***"
    assert without_secrets("hdfs://user:hunter2@host/x@y and webhdfs://user@host") == (
        "hdfs://***@host/x@y and webhdfs://user@host"
    )


def test_a_user_without_password_is_fine_where_it_is_part_of_the_address():
    assert not has_credentials("abfss://container@account.dfs.core.windows.net/x")
    assert not has_credentials("webhdfs://user@namenode:9870/x")
    assert not has_credentials("/data/what?/a:b@c")
    assert has_credentials("https://user@host/")


def test_a_folder_that_spark_names_after_an_archive_is_no_secret():
    assert not is_secret("spark.archives", "hdfs://name:8020/environment.tar.gz#environment")
    assert not is_secret("spark.archives", "s3a://bucket/environment.tar.gz#environment")
    assert is_secret("spark.archives", "s3a://bucket/environment.tar.gz?signature=abc")
