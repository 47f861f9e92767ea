"""What Airflow lacks for this project: operators that do a stage of the flow once."""
