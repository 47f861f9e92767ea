# One image for Airflow, Spark and MLflow in docker-compose.yaml.
# Debian 12 is named because Debian 13 has no openjdk-17.
FROM python:3.12-slim-bookworm

RUN apt-get update \
    && apt-get install --yes --no-install-recommends openjdk-17-jre-headless procps tini \
    && rm -rf /var/lib/apt/lists/* \
    # The same path to Java on every processor architecture.
    && ln -s "$(dirname "$(dirname "$(readlink -f /usr/bin/java)")")" /opt/java

# The same version of uv as in scripts/setup.py.
RUN pip install --no-cache-dir uv==0.13.9

WORKDIR /opt/open-images-faces
ENV UV_PROJECT_ENVIRONMENT=/opt/venv \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_PYTHON_DOWNLOADS=never

# Layers that rarely change come first: the locked packages, with the clients of S3 and HDFS, PostgreSQL's drivers for the
# databases of Airflow and MLflow, and what Airflow needs on Kubernetes.
ENV PACKAGES="--frozen --no-cache --no-dev --extra s3 --extra hdfs --group postgres --group kubernetes"
COPY pyproject.toml uv.lock README.md ./
RUN uv sync $PACKAGES --no-install-project

# docker-compose.gpu.yaml sets this to and-cuda. The lock file leaves CUDA's libraries out; the constraints keep all other
# packages at their locked versions.
ARG TENSORFLOW_EXTRA=""
RUN if [ -n "$TENSORFLOW_EXTRA" ]; then \
        uv pip freeze --python /opt/venv/bin/python > /tmp/locked.txt \
        && uv pip install --no-cache --python /opt/venv/bin/python --constraint /tmp/locked.txt \
            "tensorflow[$TENSORFLOW_EXTRA]" \
        && rm /tmp/locked.txt; \
    fi

COPY ml ml
COPY spark_jobs spark_jobs
COPY dags dags
COPY plugins plugins
COPY docker docker
# --inexact keeps packages that the lock file leaves out.
RUN uv sync $PACKAGES --inexact

ENV PATH=/opt/venv/bin:$PATH \
    JAVA_HOME=/opt/java \
    PYSPARK_PYTHON=/opt/venv/bin/python \
    PYSPARK_DRIVER_PYTHON=/opt/venv/bin/python \
    PYTHONUNBUFFERED=1 \
    # All that this project writes on its own disk: the root is read-only in docker-compose.yaml.
    HOME=/scratch \
    TMPDIR=/scratch \
    SPARK_LOCAL_DIRS=/scratch \
    AIRFLOW_HOME=/opt/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/open-images-faces/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/opt/open-images-faces/plugins \
    AIRFLOW__CORE__LOAD_EXAMPLES=False \
    OPEN_IMAGES_CONFIG=/opt/open-images-faces/docker/deployment.yaml

# New volumes inherit the owner of the folder that they are mounted on.
RUN useradd --uid 50000 --create-home airflow \
    && mkdir -p /opt/airflow /data/storage /data/open-images /data/store /mlflow /scratch \
    && chown airflow:airflow /opt/airflow /data/storage /data/store /mlflow /scratch

# Spark starts sooner with an archive of its classes, and works without one.
RUN python -m spark_jobs.class_data || true

USER airflow

# tini forwards signals and reaps orphaned processes of Spark jobs.
ENTRYPOINT ["tini", "--"]
CMD ["airflow", "version"]
