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

# Layers that rarely change come first: the locked packages, and PostgreSQL's drivers for Airflow's database.
COPY pyproject.toml uv.lock README.md ./
RUN uv sync --frozen --no-cache --no-dev --group postgres --no-install-project

COPY ml ml
COPY spark_jobs spark_jobs
COPY dags dags
COPY plugins plugins
COPY docker docker
RUN uv sync --frozen --no-cache --no-dev --group postgres

ENV PATH=/opt/venv/bin:$PATH \
    JAVA_HOME=/opt/java \
    PYSPARK_PYTHON=/opt/venv/bin/python \
    PYSPARK_DRIVER_PYTHON=/opt/venv/bin/python \
    PYTHONUNBUFFERED=1 \
    TF_CPP_MIN_LOG_LEVEL=2 \
    AIRFLOW_HOME=/opt/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/open-images-faces/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/opt/open-images-faces/plugins \
    AIRFLOW__CORE__LOAD_EXAMPLES=False \
    AIRFLOW__USAGE_DATA_COLLECTION__ENABLED=False \
    OPEN_IMAGES_CONFIG=/opt/open-images-faces/docker/deployment.yaml

# Spark starts sooner with an archive of its classes, and works without one.
RUN python -m spark_jobs.class_data || true

# New volumes inherit the owner of the folder that they are mounted on.
RUN useradd --uid 50000 --create-home airflow \
    && mkdir -p /opt/airflow /data/storage /data/open-images \
    && chown airflow:airflow /opt/airflow /data/storage
USER airflow

# tini forwards signals and reaps orphaned processes of Spark jobs.
ENTRYPOINT ["tini", "--"]
CMD ["airflow", "version"]
