"""The page of a run: what it answers is what the run says, and nobody but its own page is answered."""

from __future__ import annotations

import base64
import http.client
import io
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

import games
from analysis.__main__ import main as analysis
from analysis.corpus.corpus import Corpus
from games.build.data import load_images
from games.runs.trained import TrainedRun
from games.serve import server as serving
from games.serve.answers import Answers
from games.serve.server import serve
from patchgame_egg.views.transforms import EvaluationView, denormalise
from tests.support.browser import CHROMIUM, Browser
from tests.support.photo_run import photo_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of two classes, and a run of a tiny game on them, with its language."""
    return photo_run(tmp_path_factory.mktemp("home"), "--analyse-every", "0", "--precision", "fp32", dog="<b>dog")


@pytest.fixture(scope="module")
def run(folder: Path) -> TrainedRun:
    return games.load(folder / "run", device="cpu")


@pytest.fixture(scope="module")
def server(run: TrainedRun) -> Iterator[ThreadingHTTPServer]:
    answers = Answers(run)
    answers.prepare()
    found = serve(answers, 0)
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()
    yield found
    found.shutdown()
    found.server_close()
    thread.join()


def request(
    server: ThreadingHTTPServer, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, Any, http.client.HTTPResponse]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=300)
    connection.request("GET" if body is None else "POST", path, body, headers)
    response = connection.getresponse()
    data = response.read()
    kind = response.headers.get_content_type()
    return response.status, json.loads(data) if kind == "application/json" else data, response


def picture(folder: Path, number: int = 3) -> bytes:
    return sorted((folder / "photos" / "val").rglob("*.png"))[number].read_bytes()


def test_it_says_what_the_run_says(server: ThreadingHTTPServer, run: TrainedRun, folder: Path) -> None:
    file = sorted((folder / "photos" / "val").rglob("*.png"))[3]
    status, found, _ = request(server, "/speak", file.read_bytes())
    message, row = run.speak(file), run.describe(file).iloc[0]
    assert status == 200 and tuple(found["symbols"]) == row.symbols and found["length"] == len(row.symbols)
    speaking = [patch for patch in found["patches"] if patch["speaks"]]
    assert len(found["patches"]) == 16 and [p["symbols"][0] for p in speaking] == list(row.symbols)
    assert [p["keep"] for p in speaking] == pytest.approx(list(row.keep_prob), abs=1e-4)
    assert [p["box"] for p in found["patches"]] == [[r, c, 1] for r in range(4) for c in range(4)]
    assert [found["concepts"][str(s)] for s in row.symbols] == list(row.concepts)
    shown = Image.open(io.BytesIO(base64.b64decode(found["picture"].split(",")[1])))
    assert shown.size == (384, 384)
    # The listener's order of all images of the language, and the image's own place among them.
    language = run.language
    assert language is not None and language.images is not None
    assert language.image is not None
    scores, own = (run.heard(message)[0] @ torch.from_numpy(language.image).T), run.match(message, file)[0, 0]
    numbers, told = zip(*((pick["number"], pick["score"]) for pick in found["picks"]), strict=True)
    # The page looks at the pictures that the language keeps, which are rounded to 8 bits.
    assert len(set(numbers)) == 8 and list(told) == sorted(told, reverse=True)
    assert told == pytest.approx(scores[list(numbers)].tolist(), abs=5e-3)
    assert min(told) >= max(float(s) for i, s in enumerate(scores) if i not in numbers) - 5e-3
    assert found["score"] == pytest.approx(float(own), abs=1e-4) and found["among"] == 13
    low, high = (1 + int((scores >= own + slack).sum()) for slack in (5e-3, -5e-3))
    assert low <= found["place"] <= high
    assert [p["file"] for p in found["picks"]] == [language.files[p["number"]] for p in found["picks"]]


def test_one_of_its_own_images(server: ThreadingHTTPServer, run: TrainedRun) -> None:
    language = run.language
    assert language is not None and language.images is not None
    for number in (0, 11):
        status, found, _ = request(server, f"/held-out/{number}")
        assert status == 200 and found["number"] == number and found["among"] == 12
        assert found["symbols"] == language.symbols[number][language.mask[number]].tolist()
    status, data, response = request(server, "/picture/0.jpg")
    small = Image.open(io.BytesIO(data))
    assert status == 200 and small.size == (96, 96) and response.headers["Cache-Control"] == "max-age=3600"
    pixels = np.asarray(small.resize((32, 32), Image.Resampling.BOX), dtype=float).transpose(2, 0, 1)
    assert abs(pixels - language.images[0]).mean() < 12


def test_the_page_and_what_it_loads(server: ThreadingHTTPServer) -> None:
    for path, kind in (("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript")):
        status, _, response = request(server, path)
        assert status == 200 and response.headers.get_content_type() == kind
        assert "default-src 'self'" in response.headers["Content-Security-Policy"]
        assert response.headers["X-Content-Type-Options"] == "nosniff"
    about = request(server, "/run")[1]
    assert about == {
        "run": "run",
        "symbols": 16,
        "grid": 4,
        "slots": 16,
        "images": 12,
        "given": False,
        "chance": 1 / 12,
    }


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nothing", 404),
        ("/../server.py", 404),
        ("/page.html", 404),
        ("/picture/12.jpg", 404),
        ("/picture/-1.jpg", 404),
        ("/picture/99999999999999999999.jpg", 404),
        ("/held-out/12", 404),
        ("/held-out/x", 404),
    ],
)
def test_what_is_not_there(path: str, status: int, server: ThreadingHTTPServer) -> None:
    found, answer, _ = request(server, path)
    assert found == status and set(answer) == {"error"} and "\n" not in answer["error"]


def test_only_this_machine_s_own_page_is_answered(server: ThreadingHTTPServer, folder: Path) -> None:
    port, photo = server.server_port, picture(folder)
    assert server.server_address[0] == "127.0.0.1"
    for host in (
        "evil.example",
        f"evil.example:{port}",
        "127.0.0.1",
        f"127.0.0.1:{port + 1}",
        f"127.0.0.1.evil:{port}",
        "",
    ):
        assert request(server, "/run", Host=host)[:2] == (403, {"error": "this page is for this machine alone"})
    assert request(server, "/run", Host=f"localhost:{port}")[0] == 200
    for origin in (
        "http://evil.example",
        "null",
        f"https://127.0.0.1:{port}",
        "http://127.0.0.1",
        "http://localhost:1",
    ):
        assert request(server, "/speak", photo, Origin=origin)[0] == 403
    assert request(server, "/speak", photo, Origin=f"http://127.0.0.1:{port}")[0] == 200


def bomb() -> bytes:
    """A small file with very many pixels."""
    file = io.BytesIO()
    Image.new("1", (9_000, 8_000)).save(file, "PNG")
    return file.getvalue()


def huge_text() -> bytes:
    file, info = io.BytesIO(), PngImagePlugin.PngInfo()
    info.add_text("x", "a" * 100_000_000, zip=True)
    Image.new("RGB", (4, 4)).save(file, "PNG", pnginfo=info)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "this cannot be read as an image"),
        (b"no image", "this cannot be read as an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "this cannot be read as an image"),
        (bomb, "9000 x 8000 pixels: give one of at most 50 million"),
        (huge_text, "this cannot be read as an image"),
    ],
)
def test_what_is_no_image_is_said_in_a_line(data: Any, said: str, server: ThreadingHTTPServer) -> None:
    status, answer, _ = request(server, "/speak", data() if callable(data) else data)
    assert status == 415 and said in answer["error"] and "\n" not in answer["error"]


def test_a_broken_image(server: ThreadingHTTPServer, folder: Path) -> None:
    photo = picture(folder)
    status, answer, _ = request(server, "/speak", photo[: len(photo) // 2])
    assert status == 415 and answer["error"].startswith("this cannot be read as an image: ")


def test_files_that_are_too_large_are_not_read(server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "LARGEST_FILE", 100)
    assert request(server, "/speak", b"a" * 100)[0] == 415
    status, answer, _ = request(server, "/speak", b"a" * 101)
    assert status == 413 and answer["error"] == "the file has 101 bytes: give one of at most 100"
    for length in ("", "-1", "1e3", "9" * 40):
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
        connection.putrequest("POST", "/speak")
        if length:
            connection.putheader("Content-Length", length)
        connection.endheaders()
        assert connection.getresponse().status == 411


def test_a_failure_is_one_line_and_the_server_goes_on(
    server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Answers, "about", lambda self: 1 // 0)
    status, answer, _ = request(server, "/run")
    assert status == 500 and answer == {"error": "this failed; the terminal says why"}
    assert capsys.readouterr().err == "error: /run: ZeroDivisionError('integer division or modulo by zero')\n"
    monkeypatch.undo()
    assert request(server, "/run")[0] == 200


def test_a_run_without_a_language_speaks_and_picks_nothing(run: TrainedRun, folder: Path) -> None:
    for language in (None, replace(Corpus.load(folder / "run" / "corpus.npz"), images=None)):
        other = TrainedRun(run.agents, run.config, run.folder)
        other.__dict__["language"] = language
        found = Answers(other).of_file(picture(folder))
        assert found["picks"] == [] and found["place"] is None and found["symbols"]


def test_a_run_without_images_chooses_among_those_of_a_folder(run: TrainedRun, folder: Path) -> None:
    shared = TrainedRun(run.agents, run.config, run.folder)
    shared.__dict__["language"] = replace(Corpus.load(folder / "run" / "corpus.npz"), images=None)
    place = folder / "photos" / "val"
    broken = place / "broken.png"
    broken.write_bytes(b"no image")
    try:
        answers = Answers(shared, place)
    finally:
        broken.unlink()
    # The photos that the run kept itself, found again and seen alike.
    own, files = Answers(run), sorted(str(p.relative_to(place)) for p in place.rglob("*.png"))
    assert sorted(answers.gallery.names) == files and len(answers.images) == len(own.images) == 12
    assert answers.gallery.origin == f"12 images of {place}" and answers.about()["given"]
    for number, name in enumerate(answers.gallery.names):
        at = next(i for i, kept in enumerate(own.gallery.names) if kept.endswith(name))
        assert torch.equal(answers.images[number], own.images[at])
    found, kept = (a.of_file(picture(folder)) for a in (answers, own))
    assert [p["score"] for p in found["picks"]] == pytest.approx([p["score"] for p in kept["picks"]], abs=1e-3)
    assert found["place"] == kept["place"]


def test_scenes_are_drawn_anew(run: TrainedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("games.serve.gallery.MOST", 6)
    images = replace(run.config.images, data="scenes", root="", scenes=16)
    other = TrainedRun(run.agents, replace(run.config, images=images), None)
    answers = Answers(other)
    held_out = load_images(other.config, other.config.load_size)[1]
    assert answers.gallery.origin.startswith("6 of ") and "held-out scenes, drawn anew" in answers.gallery.origin
    for number in range(6):
        at = int(answers.gallery.names[number].removeprefix("scene "))
        image, label = held_out[at]
        assert answers.gallery.classes[number] == held_out.classes[label]
        seen = denormalise(EvaluationView(other.config.images.image_size)(image[None]))[0]
        assert (seen * 255 - answers.images[number]).abs().max() <= 0.51
    found = answers.of_held_out(2)
    assert found["picks"] and found["among"] == 6 and not answers.about()["given"]


def test_mistakes_end_in_a_line(folder: Path, server: ThreadingHTTPServer, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(folder / "run")
    (folder / "empty").mkdir()
    for words, said in (
        ([run, "--port", "70000"], "--port 70000: must be between 0 and 65535"),
        ([run, "--port", str(server.server_port)], f"--port {server.server_port}: Address already in use; another"),
        ([str(folder / "none")], "none is no folder: give a run"),
        ([str(folder / "photos")], "photos"),
        ([run, "--device", "none"], "--device none: "),
        ([run, "--images", str(folder / "none")], "none is no folder: give one with images"),
        ([run, "--images", str(folder / "empty")], "empty"),
        ([], "the following arguments are required: RUN"),
    ):
        with pytest.raises(SystemExit) as stop:
            analysis(["play", *words])
        error = capsys.readouterr().err
        assert stop.value.code == 2 and error.startswith("error: ") and said in error and error.count("\n") == 1


@pytest.mark.process
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize(("width", "dark"), [(1100, False), (390, True)])
def test_in_a_browser(width: int, dark: bool, server: ThreadingHTTPServer, folder: Path, tmp_path: Path) -> None:
    browser = Browser(tmp_path)
    try:
        browser.look(width, dark=dark)
        browser.call("Page.navigate", url=f"http://127.0.0.1:{server.server_port}/")
        wait = "new Promise((done) => { const look = () => (%s) ? done(true) : setTimeout(look, 50); look(); })"
        browser.run(wait % "document.getElementById('own') && !document.getElementById('own').hidden")
        browser.run("document.getElementById('own').click()")
        browser.run(wait % "document.querySelectorAll('#picks img').length === 8")
        assert browser.run("document.querySelectorAll('#picture rect').length") == 16
        speaking = browser.run("document.querySelectorAll('#picture rect.speaks').length")
        assert 0 < speaking < 16
        # A name with markup stays text.
        assert browser.run("document.querySelectorAll('#picks b').length") == 0
        browser.run("document.querySelector('#picture rect.speaks').dispatchEvent(new MouseEvent('click'))")
        assert "This patch says" in browser.run("document.getElementById('patch').textContent")
        assert browser.run("document.querySelectorAll('#picture .hit').length") >= 1
        # A dropped file is asked about like any other.
        data = base64.b64encode(picture(folder)).decode()
        browser.run(
            "(() => {"
            f"const bytes = Uint8Array.from(atob('{data}'), (c) => c.charCodeAt(0));"
            "const files = new DataTransfer(); files.items.add(new File([bytes], 'x.png', {type: 'image/png'}));"
            "answer = null; dispatchEvent(new DragEvent('drop', {dataTransfer: files}));})()"
        )
        browser.run(wait % "answer && answer.number === null")
        assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    finally:
        browser.close()
