"""The report in a real browser, from the file system: at the width of a desk and of a phone, by eye and by keyboard."""

import json
import re
import shutil
import subprocess

import pytest
from test_site import made  # noqa: F401  a report with one study

from itlib.claims_ledger import claim_ids
from itlib.site import build

BROWSER = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), "")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--allow-file-access-from-files", "--virtual-time-budget=8000",
)  # fmt: skip

# Loads the report at one width and writes what it finds into a page of its own.
PROBE = """<!doctype html><body><iframe id="page" width="WIDTH" height="900" src="PAGE"></iframe><pre id="found"></pre>
<script>
document.getElementById("page").addEventListener("load", event => {
  const view = event.target.contentWindow, page = event.target.contentDocument, found = {};
  const all = query => [...page.querySelectorAll(query)];
  const seen = row => row.getClientRects().length > 0;
  found.overflow = page.documentElement.scrollWidth - page.documentElement.clientWidth;
  found.images = all("img").filter(image => image.loading !== "lazy").map(image => image.naturalWidth > 0);
  found.unnamed = all("img").filter(image => !image.alt.trim()).length;
  all("details").forEach(item => { item.open = true; });
  const reachable = all("a[href], select, input, summary, [tabindex='0']").filter(seen);
  found.reachable = reachable.length;
  found.unreached = reachable.filter(item => { item.focus(); return page.activeElement !== item; })
    .map(item => item.outerHTML.slice(0, 80));
  const rows = all("#claims tbody tr"), verdict = page.getElementById("verdict");
  found.rows = rows.filter(seen).length;
  const choose = (field, value) => {
    field.value = value;
    field.dispatchEvent(new view.Event("input", {bubbles: true}));
    return rows.filter(seen).map(row => row.querySelector("th").id);
  };
  found.reproduced = choose(verdict, "reproduced");
  found.said = page.getElementById("count").textContent;
  choose(verdict, "");
  found.text = choose(page.getElementById("text"), "SC7");
  document.getElementById("found").textContent = JSON.stringify(found);
});
</script></body>"""


@pytest.mark.slow
@pytest.mark.skipif(not BROWSER, reason="no Chromium here")
@pytest.mark.parametrize("width", [1280, 360])
def test_the_report_works_in_a_browser(made, width, tmp_path):  # noqa: F811
    page = build(made, "cpu")
    verdicts = {claim["id"]: claim["verdict"] for claim in json.loads(next(made.rglob("claims.json")).read_text())}
    probe = tmp_path / "probe.html"
    probe.write_text(PROBE.replace("WIDTH", str(width)).replace("PAGE", page.as_uri()))
    command = [BROWSER, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", probe.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    found = json.loads(re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.S).group(1).replace("&lt;", "<")
                       .replace("&gt;", ">").replace("&amp;", "&"))  # fmt: skip
    assert found["overflow"] <= 0, "the page scrolls sideways"
    assert found["images"] and all(found["images"]) and found["unnamed"] == 0
    assert found["reachable"] > 10 and found["unreached"] == []
    assert found["rows"] == len(claim_ids())
    right = [name for name, verdict in verdicts.items() if verdict == "reproduced"]
    assert found["reproduced"] == right and found["said"] == f"{len(right)} claims".replace("1 claims", "1 claim")
    assert "SC7" in found["text"] and len(found["text"]) < found["rows"]
