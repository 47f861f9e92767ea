"""A headless Chromium that is logged in to a test's Airflow."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import airflow_home
from apt_packages import PROGRAMS

if TYPE_CHECKING:
    from playwright.sync_api import Page

ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)


@contextlib.contextmanager
def logged_in(base_url: str, password: str, dark: bool = False) -> Iterator[Page]:
    """Yield a browser page in which the development user is logged in."""
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, PROGRAMS["chromium"])), None)
    assert program, "no chromium: run `python scripts/apt_packages.py chromium`"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        page = browser.new_page(
            base_url=base_url,
            viewport={"width": 1440, "height": 1000},
            timezone_id="UTC",
            color_scheme="dark" if dark else "light",
        )
        page.set_default_timeout(60_000)
        page.goto("/")
        page.locator("input[name=username]").fill(airflow_home.USER)
        page.locator("input[name=password]").fill(password)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_test_id("nav-dags-link").wait_for()
        yield page
        browser.close()


def shoot(page: Page, path: Path) -> None:
    """Take a screenshot; a copy goes to the folder that the environment variable SCREENSHOTS names."""
    page.screenshot(path=path, animations="disabled")
    assert path.stat().st_size > 20_000  # an empty page is smaller
    if wanted := os.environ.get("SCREENSHOTS"):
        Path(wanted).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, wanted)
