"""The report: what it contains, that nothing in a corpus can break it, and that it works in a browser."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis.corpus.corpus import Corpus
from analysis.evaluation.concepts import cells, cells_of, concepts_of
from analysis.evaluation.table import measure
from analysis.report.messages import files_from, message_rows
from analysis.report.page import render
from analysis.report.summary import findings
from tests.support.browser import CHROMIUM, Browser
from tests.support.synthetic_corpus import degenerate_corpora, only_messages, scene_corpus, sequence_corpus

pytestmark = pytest.mark.slow

LOG = [
    *({"kind": "train", "step": s, "epoch": 1, "loss": 4.0 - 0.1 * s, "images": 8} for s in range(1, 11)),
    {"kind": "validation", "step": 10, "epoch": 1, "loss": 3.0, "acc": 0.4, "candidates": 64, "active_symbols": 28,
     "perplexity": 13.0, "vocab_size": 32, "mean_length": 18.0, "slots": 36},
]  # fmt: skip
EVIL = '"><script>window.hacked = 1</script>{{ 7 * 7 }}</script>'


class Sections(HTMLParser):
    """Collects the sections' names, and every address from which something would be loaded."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "section":
            self.names.append(given["id"] or "")
        if tag in ("img", "script", "link", "iframe", "image", "use"):
            self.loaded += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href")]


def page_of(corpus: Corpus, title: str = "a run") -> str:
    return render(corpus, measure(corpus, permutations=2), title=title, permutations=2)


@pytest.fixture(scope="module")
def scenes() -> Corpus:
    return scene_corpus(80)


@pytest.fixture(scope="module")
def page(scenes: Corpus) -> str:
    return render(scenes, measure(scenes, permutations=19), LOG, title="a run", permutations=19)


# Contents


def test_every_section_is_there(page: str) -> None:
    found = Sections(page)
    assert found.names == [
        "short", "game", "played", "learning", "metrics", "usage", "heat", "gallery", "maps", "messages",
        "glossary",
    ]  # fmt: skip
    assert re.findall(r"<nav.*?</nav>", page, re.DOTALL)[0].count("<a ") == len(found.names)
    assert page.count("data-map=") == 64 and page.count("<article") == 28
    assert "28</b><small>of 32" in page and "chance 1.6 %" in page


def test_nothing_is_loaded_from_elsewhere(page: str) -> None:
    assert len(page) <= 3e6
    assert all(re.match(r"data:|#", address) for address in Sections(page).loaded)
    # The script puts sheets of pictures, which the page holds, behind messages.
    assert not re.search(r"@import|url\((?!#|'?data:|\"\$\{data\.messages)", page)


def test_the_largest_page_is_bounded() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (64, 3, 112, 112), dtype=np.uint8)
    corpus = Corpus(
        rng.integers(0, 1000, (64, 196)), np.ones((64, 196), bool), vocab_size=1000, grid=(14, 14), images=noise,
        keep_prob=rng.random((64, 196)).astype(np.float32), labels=np.arange(64),
    )  # fmt: skip
    assert 1e6 < len(render(corpus, measure(only_messages()), permutations=19)) < 6e6


def test_what_is_not_known_has_no_section() -> None:
    assert Sections(page_of(only_messages())).names == ["short", "game", "metrics", "usage", "glossary"]
    assert Sections(page_of(sequence_corpus())).names == [
        "short", "game", "metrics", "usage", "heat", "gallery", "glossary"
    ]  # fmt: skip
    bare = replace(scene_corpus(12), keep_prob=None, labels=None, attributes=None, patch_attributes=None, probes={})
    text = page_of(bare)
    assert "maps" in Sections(text).names and "Patches that speak stay bright" in text and 'id="k"' not in text


@pytest.mark.parametrize("name", degenerate_corpora())
@pytest.mark.filterwarnings("error")
def test_every_corpus_has_a_page(name: str) -> None:
    text = page_of(degenerate_corpora()[name])
    assert {"short", "game", "metrics", "glossary"} <= set(Sections(text).names)
    assert not re.search(r"\bnan\b", re.sub(r"<script.*", "", text, flags=re.DOTALL))


def test_photos_without_classes_have_no_section_about_them(scenes: Corpus) -> None:
    """All of one class: no map with one column, no histogram from 0 to 0, no name over every picture."""
    nobody = replace(
        scenes, labels=np.zeros(len(scenes), dtype=np.int64), label_names=("image",), attributes=None,
        patch_attributes=None, object_area=None,
    )  # fmt: skip
    text = page_of(nobody)
    assert Sections(text).names == [
        "short", "game", "played", "metrics", "usage", "gallery", "maps", "messages", "glossary"
    ]  # fmt: skip
    for absent in ("<figcaption>", "no concept beyond luck", "given the symbol", "<dt>classes</dt>"):
        assert absent not in text
    assert "Nothing that varies is known of the images" in text


def test_ids_that_were_numbered_anew_are_said(scenes: Corpus) -> None:
    far = replace(scenes, symbols=scenes.symbols * 10**9, vocab_size=10**11)
    text = page_of(far)
    assert f"up to {int(far.symbols[far.mask].max()):,}, numbered anew" in text


def test_a_log_without_validation_and_an_empty_one_have_pages(scenes: Corpus) -> None:
    frame = measure(only_messages())
    assert "no values yet" in render(only_messages(), frame, LOG[:3])
    assert "learning" not in Sections(render(only_messages(), frame, [{"kind": "other"}])).names


def test_luck_is_marked(page: str) -> None:
    def verdicts(metric: str, of: str) -> list[str]:
        pattern = rf'<tr class="(\w+)">\s*<th scope="row"><a href="#term-{metric}">[^<]*</a> <span class="of">{of}<'
        return re.findall(pattern, page)

    assert verdicts("ami", "background of the patch") == ["more"] == verdicts("ami", "colour of the patch")
    assert verdicts("ami", "size") == ["luck"]


def test_findings_say_what_the_language_is_about(scenes: Corpus) -> None:
    said = " ".join(findings(measure(scenes, permutations=19), scenes.candidates, scenes.vocab_size))
    assert re.search(r"most about colour of the patch \(AMI 0\.\d+[^)]*\), background of the patch \(AMI 0\.\d+", said)
    assert re.search(r"Nothing beyond luck about [^.]*size", said)
    assert "28 of 32 symbols" in said and "avoid objects" in said
    guess = replace(scenes, probes={"as played": np.zeros(80, bool)})
    assert "no better than guessing" in " ".join(findings(measure(guess, permutations=0), 64, 32))
    hashed = replace(scenes, probes={"as played": np.ones(80, bool), "noise images": np.arange(80) % 2 == 0})
    assert "part of the code is about pixels" in " ".join(findings(measure(hashed, permutations=0), 64, 32))
    assert findings(pd.DataFrame(columns=["metric", "reason", "of"]), None, 5) == []


def test_cells_count_and_doubt() -> None:
    corpus = scene_corpus(60)
    concept = next(c for c in concepts_of(corpus) if c.name == "background of the patch")
    found = cells(corpus, concept, draws=30)
    counts = np.zeros_like(found.counts)
    for i in range(60):
        for t in range(36):
            if corpus.mask[i, t] and concept.values[i, t] >= 0:
                counts[corpus.symbols[i, t], concept.values[i, t]] += 1
    assert np.array_equal(found.counts, counts)
    assert np.isclose(found.lift[3, 3], counts[3, 3] * counts.sum() / counts[3].sum() / counts[:, 3].sum())
    assert all(found.sure[v, v] for v in range(10)) and found.sure.sum() < 14
    rng = np.random.default_rng(1)
    meaningless = replace(corpus, symbols=np.repeat(rng.integers(0, 32, (60, 1)), 36, axis=1))
    assert sum(cells(meaningless, c).sure.sum() for c in concepts_of(corpus)) <= 2


def test_what_rests_on_a_sample_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = sequence_corpus(60)
    assert "rest on a random part" not in page_of(corpus)
    monkeypatch.setattr("analysis.report.page.MAX_ITEMS", 50)
    assert "Of 60 messages, some numbers rest on a random part: classifiers on 50." in page_of(corpus)
    monkeypatch.setattr("analysis.report.page.VALUE_ITEMS", 55)
    assert "classifiers on 50, what compares all pairs on 55." in page_of(corpus)


def test_cells_of_languages_made_twice_are_those_of_remembered_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = scene_corpus(40)
    remembered = cells_of(corpus, concepts_of(corpus), draws=20)
    monkeypatch.setattr("analysis.evaluation.concepts._REMEMBERED", 0)
    for found, concept in zip(remembered, concepts_of(corpus), strict=True):
        other = cells(corpus, concept, draws=20)
        assert np.array_equal(found.z, other.z) and np.array_equal(found.sure, other.sure)
        # The plain form: a table for each shuffled language.
        values = np.broadcast_to(concept.values.reshape(40, -1), corpus.symbols.shape)
        rng, tables = np.random.default_rng(0), []
        for _ in range(20):
            held, table = values[rng.permutation(40)], np.zeros(found.counts.shape)
            known = corpus.mask & (held >= 0)
            np.add.at(table, (corpus.symbols[known], held[known]), 1)
            tables.append(table)
        deviation = np.sqrt(np.maximum(np.var(tables, axis=0, ddof=1), 1 / 20))
        assert np.allclose(found.z, (found.counts - np.mean(tables, axis=0)) / deviation, atol=1e-9)


def test_symbols_have_words_and_messages_glosses(page: str, scenes: Corpus) -> None:
    cards = dict(re.findall(r'<article data-symbol="(\d+)" data-words="([^"]*)"', page))
    assert {"sky", "background"} <= set(cards["4"].split()) and "like luck" not in page.split("<h3>In words</h3>")[0][
        -1:
    ]
    rows = re.findall(r'<tr data-words="([^"]*)" data-symbols="([^"]*)"><th scope="row">image (\d+)<', page)
    assert 10 < len(rows) <= 24, "of the held-out images"
    right = [set(words.split()) & set(scenes.captions[int(number)][0].split()) for words, _, number in rows if words]
    assert np.mean([bool(found) for found in right]) > 0.8
    for _, symbols, number in rows:
        assert set(map(int, symbols.split())) == set(scenes.said(int(number))), (
            "everything said is explained, or is a ?"
        )


def test_what_shuffled_languages_tell_as_well_has_no_glosses(scenes: Corpus) -> None:
    rng = np.random.default_rng(5)
    page = page_of(replace(scenes, symbols=rng.integers(0, 32, scenes.symbols.shape)))
    assert "<h3>In words</h3>" in page and "like luck" in page
    assert "<tr data-words" not in page and 'class="in-words"' not in page
    few = page_of(replace(scenes, captions=(("a cat",), *[()] * 79)))
    assert "not put into words: 0 of 80 images have words" in few


# Messages and files


def test_messages_stand_beside_their_files(scenes: Corpus, tmp_path: Path) -> None:
    files = tuple(f"val/{i % 2}/{i}.png" for i in range(80))
    for file in files[:1]:
        (tmp_path / "photos" / file).parent.mkdir(parents=True)
        (tmp_path / "photos" / file).touch()
    known = replace(scenes, files=files, info={"config": {"images": {"root": str(tmp_path / "photos")}}})
    assert files_from(known, tmp_path / "runs" / "first" / "report.html") == "../../photos"
    assert files_from(replace(known, info={}), tmp_path / "x.html") == ""
    assert files_from(replace(known, files=("gone.png", *files[1:])), tmp_path / "x.html") == ""
    found = message_rows(known, "../../photos")
    assert found is not None and found["at"] == "../../photos" and len(found["rows"]) == 80 == found["all"]
    file, kind, right, said = found["rows"][7]
    assert (file, kind) == ("val/1/7.png", scenes.label_names[scenes.labels[7]])  # type: ignore[index]
    assert right == scenes.probes["as played"][7] and said == " ".join(map(str, scenes.said(7)))
    assert message_rows(only_messages(), "") is None


def test_pictures_of_five_thousand_messages_are_small() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5200, 3, 48, 48), dtype=np.uint8)
    corpus = Corpus(rng.integers(0, 128, (5200, 36)), rng.random((5200, 36)) < 0.5, 128, images=images)
    found = message_rows(corpus, "")
    assert found is not None and len(found["rows"]) == 5000 and found["all"] == 5200
    # Noise is what JPEG does worst.
    assert 1e6 < sum(map(len, found["sheets"])) < 3.3e6
    sheet = Image.open(io.BytesIO(base64.b64decode(found["sheets"][0].split(",")[1])))
    assert sheet.size == (512, 512)
    shown = np.asarray(sheet, dtype=float)[32:64, 64:96]
    small = np.asarray(
        Image.fromarray(images[18].transpose(1, 2, 0)).resize((32, 32), Image.Resampling.BOX), dtype=float
    )
    assert np.corrcoef(shown.mean(axis=2).ravel(), small.mean(axis=2).ravel())[0, 1] > 0.7


# In a browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("the page is looked at in Chromium, which is not installed")
    started = Browser(tmp_path_factory.mktemp("profile"))
    yield started
    started.close()


@pytest.fixture(scope="module")
def file(page: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page)
    return path


SHOWN = "[...document.querySelectorAll('.gallery article')].filter(a => !a.hidden).map(a => Number(a.dataset.symbol))"
ROWS = "[...document.querySelectorAll('.glosses tbody tr')].filter(r => !r.hidden).map(r => r.dataset.words)"
BRIGHT = "[...document.querySelectorAll('[data-map]')].map(f => Number(f.dataset.bright))"
TYPE = """(text => {{ const box = document.getElementById('find'); box.value = text;
box.dispatchEvent(new Event('input')) }})('{}')"""
SLIDE = """(k => {{ const box = document.getElementById('k'); box.value = k;
box.dispatchEvent(new Event('input')) }})({})"""


@pytest.mark.process
def test_the_page_opens_without_complaint(browser: Browser, file: Path) -> None:
    browser.complaints.clear()
    browser.look()
    browser.open(file)
    assert browser.complaints == []
    assert browser.run("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert browser.run("document.querySelectorAll('.figures svg').length") == 8
    ids = browser.run("[...document.querySelectorAll('[id]')].filter(e => !e.closest('svg')).map(e => e.id)")
    assert len(ids) == len(set(ids))


@pytest.mark.process
def test_messages_are_found_and_made_as_they_are_looked_at(browser: Browser, scenes: Corpus, tmp_path: Path) -> None:
    files = tuple(f"val/a b/#{i}.png" for i in range(80))
    known = replace(scenes, files=files)
    page = tmp_path / "report.html"
    page.write_text(render(known, measure(known, permutations=2), permutations=2, files_at="../my photos"))
    browser.complaints.clear()
    browser.open(page)
    count = "document.querySelectorAll('#rows tr').length"
    assert browser.run(count) == 50 and browser.run("document.querySelectorAll('#rows i').length") == 50
    browser.run("document.getElementById('more').click()")
    assert browser.run(count) == 80 and browser.run("document.getElementById('more').hidden")
    assert browser.run("document.querySelector('#rows a').getAttribute('href')") == "../my%20photos/val/a%20b/%230.png"
    seek = "box = document.getElementById('seek'); box.value = '{}'; box.dispatchEvent(new Event('input'))"
    browser.run(seek.format("#7.png"))
    assert browser.run(count) == 1 and browser.run("location.hash").startswith("#seek=")
    browser.run(seek.format(str(scenes.said(0)[0])))
    having = sum(scenes.said(0)[0] in scenes.said(i) or str(scenes.said(0)[0]) in files[i] for i in range(80))
    assert browser.run("document.getElementById('sought').textContent") == f"{having} messages"
    browser.run("document.querySelector('#rows td:nth-child(4) a').click()")
    assert "symbol=" in browser.run("location.hash")
    assert browser.complaints == []


@pytest.mark.process
def test_search_filters_the_dictionary(browser: Browser, file: Path) -> None:
    browser.open(file)
    assert len(browser.run(SHOWN)) == 24
    browser.run("document.getElementById('list').click()")
    assert len(browser.run(SHOWN)) == 28
    browser.run(TYPE.format("12"))
    assert browser.run(SHOWN) == [12] and browser.run("location.hash").endswith("symbol=12")
    browser.run(TYPE.format("sky background"))
    assert browser.run(SHOWN) == [4] and browser.run("document.getElementById('found').textContent") == "1 symbol"
    browser.run(TYPE.format("sky"))
    rows = browser.run(ROWS)
    assert rows and all("sky" in words.split() for words in rows)
    assert browser.run("document.getElementById('found-messages').textContent").startswith(f"{len(rows)} of ")
    browser.run(TYPE.format("no such word"))
    assert browser.run(ROWS) == []
    assert browser.run(SHOWN) == []
    browser.run(TYPE.format(""))
    assert len(browser.run(SHOWN)) == 28


@pytest.mark.process
def test_the_slider_changes_which_patches_are_shown(browser: Browser, file: Path, scenes: Corpus) -> None:
    browser.open(file)
    assert browser.run(BRIGHT) == scenes.mask.sum(axis=1)[:64].tolist()
    veil = "document.querySelector('[data-map=\"3\"] .veil').getAttribute('d')"
    for k in (0, 5, 36):
        browser.run(SLIDE.format(k))
        assert set(browser.run(BRIGHT)) == {k} and f"k={k}" in browser.run("location.hash")
    browser.run(SLIDE.format(35))
    assert scenes.keep_prob is not None
    row, column = divmod(int(scenes.keep_prob[3].argmin()), 6)
    assert browser.run(veil) == f"M{column} {row}h1v1h-1z"
    browser.run("document.getElementById('as-said').click()")
    assert browser.run(BRIGHT) == scenes.mask.sum(axis=1)[:64].tolist()


@pytest.mark.process
def test_the_address_is_the_state(browser: Browser, file: Path) -> None:
    browser.open(file, "#symbol=2&k=5&by=colour")
    assert browser.run(SHOWN) == [2] and set(browser.run(BRIGHT)) == {5}
    assert browser.run("document.getElementById('k').value") == "5"
    assert browser.run("[...document.querySelectorAll('.heat')].filter(t => !t.hidden).map(t => t.dataset.by)") == [
        "colour"
    ]
    browser.open(file, "#k=nonsense&symbol=9999&by=nothing")
    assert browser.run(SHOWN) == [] and set(browser.run(BRIGHT)) == {0}
    browser.run("location.hash = 'glossary'")
    assert browser.run(SHOWN) == []


@pytest.mark.process
def test_a_tapped_patch_shows_where_its_symbol_is_said(browser: Browser, file: Path, scenes: Corpus) -> None:
    browser.look()
    browser.open(file)
    patch = int(np.flatnonzero(scenes.mask[0])[0])
    row, column = divmod(patch, 6)
    browser.run(f"""(() => {{ const map = document.querySelector('[data-map="0"] .map');
        const box = map.getBoundingClientRect(); map.dispatchEvent(new MouseEvent('click', {{
        clientX: box.left + box.width * {(column + 0.5) / 6}, clientY: box.top + box.height * {(row + 0.5) / 6} }}))
    }})()""")
    symbol = int(scenes.symbols[0, patch])
    assert browser.run(SHOWN) == [symbol]
    hits = browser.run("[...document.querySelectorAll('.hit')].map(p => p.getAttribute('d').split('M').length - 1)")
    assert hits == ((scenes.symbols == symbol) & scenes.mask).sum(axis=1)[:64].tolist()
    browser.run("document.getElementById('all').click()")
    assert len(browser.run(SHOWN)) == 24


@pytest.mark.process
@pytest.mark.parametrize("width", [320, 390, 768, 1180])
def test_nothing_overflows(browser: Browser, file: Path, width: int) -> None:
    browser.look(width)
    browser.open(file)
    browser.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.run("document.documentElement.scrollWidth") <= width
    wide = browser.run(f"""[...document.querySelectorAll('main *')].filter(e => !e.closest('.wide, svg, .track, .map')
        && e.getBoundingClientRect().right > {width} + 1).map(e => e.outerHTML.slice(0, 80))""")
    assert wide == []


CONTRASTS = """(() => {
  const parse = (text) => { const n = (text.match(/[\\d.]+/g) || []).map(Number);
    const scale = text.startsWith('color(') ? 255 : 1;
    return [scale * n[0], scale * n[1], scale * n[2], n[3] ?? 1]; };
  const linear = (x) => x <= 0.04045 * 255 ? x / 255 / 12.92 : ((x / 255 + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const behind = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
    if (c[3] > 0.99) return c; } return [255, 255, 255]; };
  const poor = [];
  for (const e of document.querySelectorAll('body *')) {
    if (!['SCRIPT', 'STYLE', 'OPTION'].includes(e.tagName) && e.getClientRects().length
        && [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())) {
      const style = getComputedStyle(e);
      const pair = [light(parse(e.closest('svg') ? style.fill : style.color)), light(behind(e))].sort((a, b) => b - a);
      const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
      if (ratio < 4.5) poor.push(ratio.toFixed(2) + ' ' + e.outerHTML.slice(0, 90));
    } }
  return poor; })()"""


@pytest.mark.process
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_can_be_read(browser: Browser, file: Path, dark: bool) -> None:
    browser.look(dark=dark)
    browser.open(file)
    browser.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    background = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (int(re.findall(r"\d+", background)[0]) < 60) == dark
    assert browser.run(CONTRASTS) == []


@pytest.mark.process
def test_paper_is_white_and_has_no_controls(browser: Browser, file: Path) -> None:
    browser.look(dark=True, paper=True)
    browser.open(file)
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not browser.run("['nav', '.controls', '.find'].some(s => document.querySelector(s).getClientRects().length)")
    browser.run("dispatchEvent(new Event('beforeprint'))")
    assert browser.run("[...document.querySelectorAll('details')].every(d => d.open)")
    browser.run("dispatchEvent(new Event('afterprint'))")
    assert not browser.run("[...document.querySelectorAll('details')].some(d => d.open)")
    browser.look()


@pytest.mark.process
def test_what_a_corpus_says_is_text_and_never_markup(browser: Browser, scenes: Corpus, tmp_path: Path) -> None:
    evil = replace(
        scenes, label_names=(EVIL,) * 10, attribute_names=(EVIL, *scenes.attribute_names[1:]),
        value_names=((EVIL,) * 10, *scenes.value_names[1:]), patch_attribute_names=(EVIL, "background"),
        patch_value_names=((EVIL,) * 10, scenes.patch_value_names[1]), info={EVIL: EVIL, "more": {"b": [EVIL]}},
        probes={"as played": scenes.probes["as played"], EVIL: scenes.probes["as played"]},
    )  # fmt: skip
    text = page_of(evil, title=EVIL)
    assert "<script>window" not in text and text.count("<script") == 2
    path = tmp_path / "evil.html"
    path.write_text(text)
    browser.complaints.clear()
    browser.open(path, "#find=" + "%22%3E%3Cscript%3Ewindow.hacked=1%3C/script%3E")
    assert browser.run("window.hacked === undefined") and browser.complaints == []
    assert "{{ 7 * 7 }}" in browser.run("document.body.innerText")


@pytest.mark.process
def test_a_page_without_sections_works(browser: Browser, tmp_path: Path) -> None:
    for name, corpus in (("messages", only_messages()), ("sequences", sequence_corpus())):
        path = tmp_path / f"{name}.html"
        path.write_text(page_of(corpus))
        browser.complaints.clear()
        browser.look(390)
        browser.open(path, "#symbol=3&k=2")
        assert browser.complaints == [] and browser.run("document.documentElement.scrollWidth") <= 390
