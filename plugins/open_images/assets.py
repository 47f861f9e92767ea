"""The assets by which the DAGs start one another. What an event means is in its extras."""

from __future__ import annotations

from airflow.sdk import Asset

# An evaluated model. Extras: those of `ProcessStageOperator`.
CANDIDATE = Asset("open_images_candidate", uri="x-open-images://candidate")
# The model that predictions use. Extras: the version that is champion now, the one before, and who decided.
CHAMPION = Asset("open_images_champion", uri="x-open-images://champion")
# A delivery of annotations and photographs in the landing folder.
LANDING = Asset("open_images_landing", uri="x-open-images://landing")
