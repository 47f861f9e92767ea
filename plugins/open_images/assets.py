"""The assets through which the DAGs trigger each other. The extras of an event carry its details."""

from __future__ import annotations

from airflow.sdk import Asset

# An evaluated model. Extras: see `event_extra` in `operators/stage.py`.
CANDIDATE = Asset("open_images_candidate", uri="x-open-images://candidate")
# The model that predictions use. Extras: the new champion, the previous one, and who decided.
CHAMPION = Asset("open_images_champion", uri="x-open-images://champion")
# A delivery of annotations and photographs in the landing folder.
LANDING = Asset("open_images_landing", uri="x-open-images://landing")
