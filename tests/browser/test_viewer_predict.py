"""From a run's page in the viewer to a prediction, in a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("playwright")
pytest.importorskip("onnxruntime")
from playwright.sync_api import expect
from support.models import save_doubler
from support.run_dirs import make_run
from support.viewing import make_project, viewing

from guildlite.serve import behind_command, model_files
from guildlite.web.predict import ModelServers

if TYPE_CHECKING:
    from playwright.sync_api import Page


def test_predict_leads_to_an_answer_and_back(page: Page, tmp_path: Path) -> None:
    run = make_run(make_project(tmp_path).store)
    save_doubler(run.path / "model.onnx")
    with viewing(tmp_path, models=ModelServers(model_files, behind_command())) as client:
        base = str(client.base_url).rstrip("/")
        page.goto(f"{base}/runs/{run.id}")
        page.get_by_label("Sections of this run").get_by_role("link", name="Predict").click()
        # The page that waits gives way to the server's own by itself.
        expect(page.get_by_label("Request")).to_be_visible(timeout=60_000)
        page.get_by_label("Request").fill('[{"image": [1, 2, 3, 4]}]')
        page.get_by_role("button", name="Run", exact=True).click()
        expect(page.locator("#output")).to_have_text('[{"prediction":[2,4,6]}]')
        page.get_by_role("button", name="Copy as curl").click()
        expect(page.locator("#snippet")).to_contain_text(f"{base}/runs/{run.id}/predict/run -d")
        page.get_by_role("link", name="back to the run").click()
        expect(page).to_have_url(f"{base}/runs/{run.id}")
