"""The project's extensions of Airflow: operators for stages, notifications and web pages."""
