"""The pages in a browser: the answers of a prediction, two models compared from 'Models', a photograph in 'Try it'."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import matplotlib.cbook
import pytest
import yaml

from ml import storage
from ml.config.deployment import Deployment
from ml.promotion.run import gate, open_promotion, promote
from support.airflow_root import Airflow, make_root, running, wait_for
from support.browser import logged_in
from support.browser import shoot as take_screenshot
from support.promotions import make_candidate

pytestmark = [pytest.mark.slow, pytest.mark.browser]
PREDICTION, COMPARISON = "open_images_prediction", "open_images_comparison"
HOPPER = Path(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
REAL = Path(__file__).parents[3] / "shared" / "openimages_sample" / "test"  # real photographs, where they are
LOOKS = [(theme, width) for theme in ("light", "dark") for width in (1600, 420)]


@pytest.fixture(scope="module")
def airflow(sample_release, tmp_path_factory) -> Iterator[Airflow]:
    """An Airflow with a champion, a worse candidate with other parameters, and no run that is under way."""
    root = tmp_path_factory.mktemp("pages") / "root"
    where = make_root(root, sample_release)
    deployment = root / "var" / "deployment.yaml"
    deployment.write_text(deployment.read_text() + yaml.safe_dump({"roots": [str(tmp_path_factory.getbasetemp())]}))
    with running(root, PREDICTION, COMPARISON) as (client, password):
        champion = make_candidate(where, "champion", "2026-01-01T00:00:00+00:00", network=network())
        promotion = open_promotion(str(where), "crown", {"candidate": champion.trained.uri}, Deployment())
        gate(promotion.run)
        promote(promotion.run, "by ada")
        worse = make_candidate(where, "worse", "2026-02-01T00:00:00+00:00", right=80, sharpness=-40.0)
        record = storage.read_json(storage.join(worse.run.uri, "run.json"))
        changed = {**record, "config": {**record["config"], "epochs": 3}}
        storage.write_json(storage.join(worse.run.uri, "run.json"), changed)
        yield Airflow(root, where, client, password, PREDICTION)


def network():
    """A network that calls red chips female, with a feature map that 'Try it' explains."""
    import keras
    import numpy as np

    pixels = keras.Input((32, 32, 3), dtype="uint8")
    maps = keras.layers.Conv2D(2, 1, use_bias=False)
    scaled = keras.layers.Rescaling(1 / 255)(pixels)
    made = keras.Model(pixels, keras.layers.Softmax()(keras.layers.GlobalAveragePooling2D()(maps(scaled))))
    maps.set_weights([40 * np.array([[[[1, -1], [0, 0], [-1, 1]]]], float)])
    return made


@pytest.fixture
def page(airflow):
    with logged_in(str(airflow.client.base_url), airflow.password) as page:
        yield page


@pytest.fixture
def shoot(page, tmp_path):
    """Take screenshots of a page in both themes and widths; nothing may be wider than the window."""

    def fits():
        return page.locator(".open-images").evaluate("pane => pane.scrollWidth <= pane.clientWidth")

    def shoot_(name):
        for theme, width in LOOKS:
            page.emulate_media(color_scheme=theme)
            page.set_viewport_size({"width": width, "height": 1200})
            wait_for("a page that fits", fits)
            take_screenshot(page, tmp_path / f"{name}-{theme}-{width}.png")

    return shoot_


@pytest.fixture(scope="module")
def predicted(airflow, tmp_path_factory) -> str:
    """The id of a prediction run over a folder of photographs."""
    folder = tmp_path_factory.mktemp("photographs")
    shutil.copy(HOPPER, folder / "hopper.jpg")
    (folder / "broken.jpg").write_bytes(b"no photograph")
    for photograph in sorted(REAL.glob("*.jpg"))[:20]:
        shutil.copy(photograph, folder)
    run_id = airflow.trigger(photographs=f"file://{folder}", max_fault_share=0.6)
    if airflow.wait_to_end(run_id) != "success":
        raise AssertionError(airflow.states(run_id))
    return run_id


def tab_of(page, dag, run_id):
    page.goto(f"/dags/{dag}/runs/{run_id}/plugin/report")
    return page.locator(".open-images")


def test_a_prediction_shows_its_answers_and_hands_them_out(predicted, page, shoot, tmp_path):
    tab = tab_of(page, PREDICTION, predicted)
    answers = tab.get_by_role("region", name=re.compile("^Rows 1 to"))
    answers.wait_for()
    hopper = answers.get_by_role("row").filter(has_text="hopper.jpg")
    assert re.search(r"\d+\.\d%", hopper.inner_text())
    tab.get_by_label("Path contains").fill("no such path")
    tab.get_by_text("No row matches.").wait_for()
    tab.get_by_label("Path contains").fill("HOPPER")
    answers.get_by_role("row").filter(has_text="hopper.jpg").wait_for()
    assert answers.get_by_role("row").count() == 2  # with the heading
    tab.get_by_role("search").get_by_label("Table").select_option("photographs")
    tab.get_by_label("Path contains").fill("")
    tab.get_by_role("search").get_by_label("Status").select_option("unreadable")
    tab.get_by_text("broken.jpg").wait_for()
    with page.expect_download() as download:
        tab.get_by_role("link", name="faces as CSV").click()
    download.value.save_as(tmp_path / "faces.csv")
    rows = list(csv.DictReader((tmp_path / "faces.csv").open(encoding="utf-8")))
    assert "hopper.jpg" in {row["photo"] for row in rows}
    picture = tab.get_by_role("img", name=re.compile("hopper.jpg with its faces"))
    picture.scroll_into_view_if_needed()
    wait_for("the annotated photograph", lambda: picture.evaluate("img => img.complete && img.naturalWidth"))
    tab.get_by_role("search").get_by_label("Table").select_option("faces")
    tab.evaluate("pane => pane.scrollTo(0, 0)")
    shoot("prediction")


def test_a_run_that_failed_before_it_had_a_folder_says_why_in_its_tab(airflow, page, shoot):
    run_id = airflow.trigger(photographs="/nowhere")
    assert airflow.wait_to_end(run_id) == "failed"
    tab = tab_of(page, PREDICTION, run_id)
    tab.get_by_text("Failed at open_prediction.").wait_for()
    tab.get_by_text(re.compile("not below a root of this deployment")).wait_for()
    tab.get_by_role("link", name="Log of open_prediction").wait_for()
    shoot("failed")


def test_two_models_are_compared_from_the_page_of_models(airflow, page, shoot):
    page.goto("/plugin/models")
    models = page.locator(".open-images")
    table = models.get_by_role("region", name=re.compile("^2 of 2 models"))
    table.wait_for()
    assert models.get_by_text("champion", exact=True).count() == 1, "one badge"
    assert table.get_by_role("columnheader", name="epochs").count() == 1, "a parameter that differs"
    assert table.get_by_role("columnheader", name="seed").count() == 0
    assert "version 1" in table.inner_text()
    for box in table.get_by_role("checkbox").all():
        box.check()
    models.get_by_role("button", name="Compare on the same test faces").click()
    models.get_by_text(re.compile("McNemar's exact test")).wait_for(timeout=180_000)
    models.get_by_text(re.compile("McNemar's exact test")).scroll_into_view_if_needed()
    shoot("models-compared")
    models.evaluate("pane => pane.scrollTo(0, 0)")
    shoot("models")
    (run,) = airflow.ask("GET", f"/dags/{COMPARISON}/dagRuns")["dag_runs"]
    tab = tab_of(page, COMPARISON, run["dag_run_id"])
    tab.get_by_text(re.compile("McNemar's exact test")).wait_for()
    shoot("comparison")


def test_a_photograph_is_answered_in_the_page_try_it(airflow, page, shoot, tmp_path):
    before = storage.list_files(f"file://{airflow.storage}")
    page.get_by_role("link", name="Try it", exact=True).click()
    trial = page.locator(".open-images")
    trial.get_by_text(re.compile("The champion, version 1, answers")).wait_for()
    trial.get_by_text(re.compile("must not be used")).wait_for()
    (tmp_path / "notes.txt").write_text("no photograph")
    picker = trial.locator("input[type=file]")
    picker.set_input_files(tmp_path / "notes.txt")
    trial.get_by_text("Choose a JPEG or PNG file.").wait_for()
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff no photograph")
    picker.set_input_files(tmp_path / "broken.jpg")
    trial.get_by_text(re.compile("not a readable photograph")).wait_for(timeout=180_000)
    picker.set_input_files(HOPPER)
    trial.get_by_role("heading", name="One face").wait_for(timeout=180_000)
    for name in ("What the network saw", "Where the network looked"):
        picture = trial.get_by_role("img", name=name)
        assert picture.evaluate("img => img.naturalWidth") == 224
    shoot("try-it")
    assert storage.list_files(f"file://{airflow.storage}") == before, "nothing is stored"
    if not REAL.is_dir():
        return
    for photograph in sorted(REAL.glob("*.jpg"))[:3]:
        picker.set_input_files(photograph)
        trial.get_by_text(re.compile("^(One face|[0-9]+ faces|The detector found no face.)")).first.wait_for()
