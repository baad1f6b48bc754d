"""The viewer: what it holds, where it lies, what it refuses, and what a browser shows when somebody clicks."""

from __future__ import annotations

import io
import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
from browser import Browser, chromium, needs_chromium
from PIL import Image
from typer.testing import CliRunner

from unimm.cli import app
from unimm.report import page, serve, viewer
from unimm.runs.gallery import FoundObject, write_gallery

REPORTS = Path(__file__).parents[2] / "reports"
TEMPLATES = Path(viewer.__file__).parent / "templates"
HOSTILE = 'a </script><script>document.title = "bad"</script> circle'
TASKS = ("single_object", "counting", "color_attr")
IMAGES = 12
GOLDEN = Path(__file__).parents[1] / "data" / "result_v1.json"


def keep_images(run_dir: Path, arm: str, seed: int, right: list[bool], latents: int = 16) -> Path:
    """A finished run that keeps IMAGES images, four of each task, of one shade each."""
    run_dir.mkdir(parents=True, exist_ok=True)
    result = json.loads(GOLDEN.read_text(encoding="utf-8"))
    result |= {"arm": arm, "seed": seed, "latent_shape": {"tokens": latents, "channels": 16}}
    (run_dir / "result.json").write_text(json.dumps(result))
    found = FoundObject(colour="red", shape="circle", box=(3.0, 4.0, 20.0, 21.0), score=0.91)
    rows: list[dict[str, Any]] = [
        {
            "prompt": HOSTILE if n == 0 else f"prompt {n}",
            "tag": TASKS[n // 4],
            "key": f"{n}/0",
            "correct": right[n],
            "reason": "" if right[n] else "expected circle>=2, found 1",
            "found": [found],
        }
        for n in range(IMAGES)
    ]
    shades = np.arange(IMAGES, dtype=np.uint8)[:, None, None, None] * 20
    write_gallery(run_dir, np.broadcast_to(shades, (IMAGES, 32, 32, 3)).copy(), rows)
    items = {"prompts": [{"prompt": row["prompt"], "tag": row["tag"]} for row in rows]}
    items |= {"scores": {"atoms/shape": [0.5] * IMAGES, "geneval/overall": [1.0] * IMAGES}}
    (run_dir / "items.json").write_text(json.dumps(items))
    return run_dir


LEFT = [n % 2 == 0 for n in range(IMAGES)]
RIGHT = [n % 3 == 0 for n in range(IMAGES)]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    for seed in (0, 1):
        keep_images(tmp_path / "runs" / "clip_fm" / f"seed{seed}", "clip_fm", seed, LEFT)
        keep_images(tmp_path / "runs" / "vae_fm" / f"seed{seed}", "vae_fm", seed, RIGHT, latents=64)
    return tmp_path


def test_a_runs_viewer_is_one_file_that_fetches_nothing(tmp_path: Path) -> None:
    run = keep_images(tmp_path / "run", "clip_fm", 0, LEFT)
    written = viewer.write(run)
    assert written == run / "viewer" / "index.html"
    assert [path.name for path in written.parent.iterdir()] == ["index.html"]
    text = written.read_text(encoding="utf-8")
    assert "</script><script>document" not in text and "\\u003c/script>" in text
    assert not re.findall(r"https?://", text)
    assert len(re.findall(r'"uri":"data:image/webp;base64,', text)) == 3, "a sheet a task"
    assert "default-src 'none'" in text


def test_a_studys_viewer_is_a_folder_with_a_script_a_run(study: Path) -> None:
    viewer.write(study)
    (study / "viewer" / "runs" / "007.js").write_text("of a run that is gone")
    text = viewer.write(study).read_text(encoding="utf-8")
    scripts = sorted((study / "viewer" / "runs").iterdir())
    assert [path.name for path in scripts] == ["000.js", "001.js", "002.js", "003.js"]
    assert "data:image/webp" not in text
    third = scripts[2].read_text(encoding="utf-8")
    assert third.startswith("unimmRun(2, {")
    image = json.loads(third.removeprefix("unimmRun(2, ").removesuffix(");\n"))["images"][1]
    assert image["facts"] == {"shape": 0.5} and image["key"] == "1/0"
    assert image["found"] == ["red circle, x 3 to 20, y 4 to 21, fit 0.91"]


def test_runs_of_before_show_the_images_of_their_page(run_dir: Path) -> None:
    text = viewer.write(run_dir).read_text(encoding="utf-8")
    assert len(re.findall(r'"uri":"data:image/png;base64,', text)) == 1 and text.count('"key":null') == 3


def test_a_run_without_images_is_refused(run_dir: Path) -> None:
    (run_dir / "samples" / "grid.json").unlink()
    answer = CliRunner().invoke(app, ["view", str(run_dir), "--no-serve"])
    assert answer.exit_code == 2 and "keeps no images: score it again with `unimm score" in answer.output


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    answer = CliRunner().invoke(app, ["view", str(tmp_path), "--no-serve"])
    assert answer.exit_code == 2 and "holds no finished run" in answer.output


def test_an_unfinished_run_is_named_with_the_command_that_goes_on_with_it(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("name: a\n")
    for verb in (["view", "--no-serve"], ["report"]):
        answer = CliRunner().invoke(app, [*verb, str(tmp_path)])
        assert answer.exit_code == 2
        assert f"Go on with it: `unimm run {tmp_path}/config.yaml --out {tmp_path} --resume`" in answer.output


@pytest.fixture
def served(study: Path) -> Iterator[str]:
    running = serve.server(viewer.write(study).parent, 0)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield serve.address(running)
    running.shutdown()
    running.server_close()
    thread.join()


def test_it_is_served_on_this_machine_alone_and_nothing_above_it(served: str, study: Path) -> None:
    assert served.startswith("http://127.0.0.1:")
    with urlopen(served) as answer:
        assert answer.read() == (study / "viewer" / "index.html").read_bytes()
    with pytest.raises(OSError, match="404"):
        urlopen(f"{served}../runs/clip_fm/seed0/result.json")
    with pytest.raises(ValueError, match="give another --port, or 0 for any"):
        serve.server(study, int(served.rstrip("/").rpartition(":")[2]))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


def shown(browser: Browser) -> int:
    return int(browser.script("return document.querySelectorAll('#images button').length"))


def wait_for(browser: Browser, selector: str, text: str) -> None:
    """Until the page says so: a run's script is loaded meanwhile."""
    deadline = time.monotonic() + 20
    while text not in (said := browser.text(selector)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert text in said


@needs_chromium
def test_a_runs_images_are_filtered_and_described_by_clicks(browser: Browser, tmp_path: Path) -> None:
    run = keep_images(tmp_path / "run", "clip_fm", 0, LEFT)
    browser.open(viewer.write(run).as_uri())
    assert browser.text("#count") == "12 of 12 images" and shown(browser) == 12
    assert "bad" not in browser.script("return document.title"), "a prompt is no code"
    browser.choose("#task", "counting")
    browser.choose("#judged", "wrong")
    assert browser.text("#count") == "2 of 12 images" and shown(browser) == 2
    browser.click("#images button:nth-child(1)")
    detail = browser.text("#detail")
    for expected in ("prompt 5", "wrong: expected circle>=2, found 1", "red circle, x 3 to 20", "shape 0.5", "5/0"):
        assert expected in detail
    browser.click("#detail button")
    browser.choose("#task", "all")
    browser.choose("#judged", "correct")
    assert browser.text("#count") == "6 of 12 images"


@needs_chromium
def test_two_arms_stand_side_by_side_under_one_noise_key(browser: Browser, served: str) -> None:
    browser.open(served)
    wait_for(browser, "#count", "12 of 12 images")
    browser.choose("#seed", "1")
    browser.choose("#beside", "vae_fm, seed 1")
    wait_for(browser, "#noise", "16 x 16, 64 x 16")  # latents of two shapes have no noise in common
    browser.choose("#judged", "the two differ")
    wanted = sum(left != right for left, right in zip(LEFT, RIGHT, strict=True))
    assert browser.text("#count") == f"{wanted} of 12 images"
    assert shown(browser) == wanted
    browser.click("#images button:nth-child(1)")
    detail = browser.text("#detail")
    assert "clip_fm, seed 1" in detail and "vae_fm, seed 1" in detail and detail.count("2/0") == 2
    browser.click("#detail button")
    browser.choose("#beside", "clip_fm, seed 0")
    wait_for(browser, "#noise", "drawn from the same noise")


@needs_chromium
def test_a_tile_shows_its_own_image(browser: Browser, tmp_path: Path) -> None:
    """Image n is of the one shade 20 n: its pixels in a screenshot are its own, not its neighbour's."""
    browser.open(viewer.write(keep_images(tmp_path / "run", "clip_fm", 0, LEFT)).as_uri())
    browser.resize(1200)
    middle = browser.script(
        "return [...document.querySelectorAll('.picture')].map(e => e.getBoundingClientRect())"
        ".map(r => [(r.left + r.right) / 2, (r.top + r.bottom) / 2])"
    )
    pixels = np.asarray(Image.open(io.BytesIO(browser.screenshot())).convert("L")).astype(int)
    shades = [pixels[int(y), int(x)] for x, y in middle]
    np.testing.assert_allclose(shades, np.arange(IMAGES) * 20, atol=4)


@needs_chromium
@pytest.mark.parametrize("width", [400, 1200])
def test_pages_fit_their_window(browser: Browser, run_dir: Path, width: int) -> None:
    """Nothing is wider than the window, with every section open."""
    browser.resize(width)
    browser.open(page.write(run_dir).as_uri())
    browser.script("document.querySelectorAll('details').forEach(d => d.open = true)")
    wide = browser.script(
        "return [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1)"
        ".map(e => e.tagName + ' ' + e.textContent.slice(0, 40))"
    )
    assert wide == []


COMMITTED = ("nano/clip-fm/report", "design_choices/report", "as_published-and-design_choices/compare", "tuning/report")


@needs_chromium
@pytest.mark.parametrize("name", COMMITTED)
def test_committed_pages_fit_in_the_present_style(browser: Browser, name: str, tmp_path: Path) -> None:
    """Wide tables scroll by themselves in a wide window, and on a telephone nothing does."""
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    text = (REPORTS / f"{name}.html").read_text(encoding="utf-8")
    text, styles = re.subn(r"<style>.*?</style>", lambda _: f"<style>{style}</style>", text, flags=re.DOTALL)
    assert styles == 1
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    for width in (400, 1200):
        browser.resize(width)
        browser.open((tmp_path / "page.html").as_uri())
        browser.script("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert browser.script("return document.documentElement.scrollWidth <= innerWidth"), width
    browser.resize(400)
    prose = browser.script(
        "return [...document.querySelectorAll('.stack tbody td:not(.number, :empty)')]"
        ".filter(e => e.offsetParent && getComputedStyle(e).textAlign !== 'left').length"
    )
    assert prose == 0, "sentences begin at the left"
    held_back = browser.script(
        "return [...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1).length"
    )
    assert held_back == 0, "and nothing of a table lies beyond its edge"


@needs_chromium
def test_contents_open_the_section_that_they_name(browser: Browser, run_dir: Path) -> None:
    browser.resize(1200)
    browser.open(page.write(run_dir).as_uri())
    assert not browser.script("return document.getElementById('provenance').closest('details').open")
    browser.click("nav a[href='#provenance']")
    assert browser.script("return document.getElementById('provenance').closest('details').open")


@needs_chromium
def test_pages_are_dark_for_those_who_prefer_it(browser: Browser, run_dir: Path) -> None:
    browser.open(page.write(run_dir).as_uri())
    shade = "return getComputedStyle(document.body).backgroundColor"
    browser.resize(1200, dark=True)
    assert browser.script(shade) == "rgb(22, 24, 28)"
    browser.resize(1200)
    assert browser.script(shade) == "rgb(255, 255, 255)"
