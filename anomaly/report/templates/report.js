// Per image: f file, n output name, v verdict, s score, t threshold, w h size, m milliseconds, c count of regions,
// r regions [area, x0, y0, x1, y1, cx, cy, peak], o outlines [x, y, ...], p photo, q heatmap (base64), e error, a p-value among good parts,
// j millimetres per pixel. While another threshold is tried (see `trial.js`), d is the outline as a path.
// Where images were compared: k what was added up [name, value where the heatmap is highest], l the maps of these side by
// side (base64), b count of other images,
// z name of the most similar one, x the highest place beside the likest place there (base64).
const all = JSON.parse(document.getElementById("data").textContent);
const scored = all.filter((e) => e.s !== null);
const lowest = scored.reduce((a, e) => Math.min(a, e.s), Infinity);
const highest = scored.reduce((a, e) => Math.max(a, e.s), -Infinity);
const threshold = (scored.find((e) => e.t !== null) || { t: null }).t;
const from = Math.min(lowest, threshold ?? lowest), to = Math.max(highest, threshold ?? highest);
const span = to - from || 1;
const place = (score) => (score - from) / span;
const show = (x) => x === null || x === undefined ? "–" : (x !== 0 && Math.abs(x) < 0.001 ? x.toExponential(2) : String(+x.toPrecision(4)));
// Scores with as many decimals as tell them apart; `show` for everything else.
const decimals = Math.max(0, Math.min(9, 2 - Math.floor(Math.log10(span))));
const showScore = (x, more = 0) => x === null ? "–" : x.toFixed(decimals + more);
// Shown is how many times the spread of the good parts a score lies above the usual one, where a profile knows it.
const { usual, maskThreshold, scale, least } = JSON.parse(byId("judging").textContent);
const readableScore = (x) => x === null ? "–" : usual ? `${((x - usual[0]) / usual[1]).toFixed(1)} spreads` : showScore(x);
const readable = (e) => e.s === null ? "" : readableScore(e.s);
const promises = JSON.parse(byId("promises").textContent);  // [threshold, bound on false alarms, level that is outlined], highest first
const promised = (x) => promises.filter(([t]) => t < x).map(([, bound]) => bound)[0] ?? null;
const words = { defect: "Defect", ok: "OK", unfit: "Unfit", unjudged: "Unjudged", failed: "Failed", unreadable: "Unreadable" };
const PAGE = 60;
let wanted = "all", listed = [], shown = 0, open = -1, line = threshold ?? highest;


function picture(entry) {
  const pic = make("div", "pic");
  if (entry.w / entry.h > shape) pic.style.width = "100%"; else pic.style.height = "100%";
  pic.style.aspectRatio = `${entry.w} / ${entry.h}`;
  const photo = make("img", "photo"), heat = make("img", "heat");
  photo.src = "data:image/jpeg;base64," + entry.p;
  heat.src = "data:image/webp;base64," + entry.q;
  photo.alt = entry.f; heat.alt = "";
  const svg = draw("svg", { viewBox: `0 0 ${entry.w} ${entry.h}`, preserveAspectRatio: "none" });
  svg.append(...paths(entry));
  pic.append(photo, heat, svg);
  return pic;
}

function paths(entry) {
  const d = entry.d ?? entry.o.map((p) => "M" + p.map((v, i) => v + 0.5 + (i % 2 ? " " : ",")).join("") + "Z").join("");
  return d ? [draw("path", { d, class: "shade" }), draw("path", { d })] : [];
}

function gauge(entry) {
  const bar = make("div", "gauge " + entry.v), fill = make("i");
  fill.style.width = Math.max(1.5, 100 * place(entry.s)) + "%";
  bar.append(fill);
  if (entry.t !== null) {
    const mark = make("b");
    mark.style.left = `calc(${100 * place(entry.t)}% - 1px)`;
    bar.append(mark);
  }
  return bar;
}

// The folders that all images share are left out on the cards.
const folder = (name) => name.slice(0, Math.max(name.lastIndexOf("/"), name.lastIndexOf("\\")) + 1);
const shared = all.map((e) => folder(e.f)).reduce((a, b) => {
  while (!b.startsWith(a)) a = folder(a.slice(0, -1));
  return a;
}, all.length ? folder(all[0].f) : "");

function fileName(entry, whole) {
  const path = folder(entry.f), name = make("div", "name"), dim = make("span");
  for (const part of (whole ? path : path.slice(shared.length)).split(/(?<=[/\\])/)) dim.append(part, make("wbr"));
  name.append(dim, entry.f.slice(path.length));
  return name;
}

function card(entry, index) {
  const node = make("button", "card");
  node.dataset.index = index;
  const frame = make("div", "frame");
  if (entry.p) frame.append(picture(entry));
  else frame.append(make("div", "broken", entry.e || "no picture kept"));
  if (entry.p && entry.l) frame.append(make("div", "lit", most(entry).filter(([, value]) => value > 0).map((one) => one.join(" ")).join(", ")));
  node.append(frame, make("div", "said", make("div", "line1"), make("div", "gauge"), fileName(entry, false)));
  dress(node, entry);
  return node;
}

// What of a card changes with the threshold.
function dress(node, entry) {
  const line = node.querySelector(".line1");
  line.replaceChildren(make("span", "tag " + entry.v, words[entry.v]), readable(entry));
  if (entry.c) line.append(make("span", "count", entry.c + (entry.c === 1 ? " region" : " regions")));
  if (entry.s === null) node.querySelector(".gauge")?.remove();
  else node.querySelector(".gauge").replaceWith(gauge(entry));
  node.querySelector("svg")?.replaceChildren(...paths(entry));
  drawAnew(entry);
}

function fill(upTo) {
  const piece = document.createDocumentFragment();
  for (; shown < Math.min(upTo, listed.length); shown++) piece.append(card(listed[shown], shown));
  byId("grid").append(piece);
}

const area = (e) => e.r ? e.r.reduce((a, r) => Math.max(a, r[0]), 0) : -1;
const orders = {
  worst: () => 0,
  best: (a, b) => (a.s === null) - (b.s === null) || a.s - b.s,
  area: (a, b) => area(b) - area(a),
  name: (a, b) => a.f.localeCompare(b.f, undefined, { numeric: true }),
};

function list() {
  const text = byId("search").value.trim().toLowerCase();
  listed = all.filter((e) => (wanted === "all" || e.v === wanted) && e.f.toLowerCase().includes(text));
  listed.sort(orders[byId("sort").value]);
  byId("grid").replaceChildren();
  byId("none").hidden = listed.length > 0;
  shown = 0;
  fill(PAGE);
}

const W = 600, H = 88;
function histogram() {
  if (scored.length < 2) return;
  document.querySelector(".scores").hidden = false;
  byId("lowest").textContent = readableScore(from);
  byId("highest").textContent = readableScore(to);
  const slider = byId("line");
  slider.value = Math.round(place(line) * 1000);
  let asked = false;
  slider.addEventListener("input", () => {
    if (asked) return;
    asked = true;  // once for each picture that the screen shows
    requestAnimationFrame(() => {
      asked = false;
      tryLine(Number(showScore(from + span * slider.value / 1000, 1)));  // as it is printed, so that the flag gives the same
    });
  });
  showCounts();
}
function judgedLine() {
  tryLine(threshold ?? highest);
  byId("line").value = Math.round(place(line) * 1000);
}

function bars() {
  const bins = Math.min(60, Math.max(12, Math.round(Math.sqrt(scored.length) * 3)));
  const kinds = ["ok", "unjudged", "unfit", "defect"];
  const table = Array.from({ length: bins }, () => ({ ok: 0, unjudged: 0, unfit: 0, defect: 0 }));
  for (const e of scored) table[Math.min(bins - 1, Math.floor(place(e.s) * bins))][e.v]++;
  const most = Math.max(...table.map((b) => b.ok + b.unjudged + b.unfit + b.defect));
  const svg = draw("svg", { viewBox: `0 0 ${W} 92`, preserveAspectRatio: "none", role: "img", "aria-label": "Histogram of the image scores" });
  table.forEach((bin, i) => {
    let y = H;
    for (const kind of kinds) {
      const height = bin[kind] / most * (H - 6);
      if (!height) continue;
      y -= height;
      svg.append(draw("rect", { x: i * W / bins + 0.5, y, width: W / bins - 1, height, class: kind }));
    }
  });
  svg.append(draw("line", { x1: 0, x2: W, y1: H, y2: H, class: "axis" }));
  for (const [score, kind] of [[threshold, "mark"], [line, "try"]]) {
    if (score !== null) svg.append(draw("line", { x1: place(score) * W, x2: place(score) * W, y1: 0, y2: H + 4, class: kind }));
  }
  byId("histogram").replaceChildren(svg);
}

function row(table, ...cells) {
  const tr = make("tr");
  cells.forEach((cell, i) => tr.append(make(i ? "td" : "th", "", cell)));
  table.append(tr);
  return tr;
}

function facts(entry) {
  const box = byId("facts");
  box.replaceChildren(make("p", "line1", make("span", "tag " + entry.v, words[entry.v]), make("span", "big", readable(entry))));
  if (entry.s !== null) box.append(gauge(entry));
  box.append(fileName(entry, true));
  if (entry.e) box.append(make("p", "broken", entry.e));
  if (entry.s === null) return;
  const table = make("table");
  if (entry.a !== null) {
    row(table, "good parts that score as high (p-value)", share(entry.a));
    row(table, "raw score, raw threshold", `${showScore(entry.s)}, ${showScore(entry.t)}`);
  }
  row(table, "threshold", entry.t === null ? "–" : readableScore(entry.t));
  row(table, "size", `${entry.w} × ${entry.h} px`);
  row(table, "time", `${show(entry.m)} ms`);
  if (entry.b) row(table, "compared with", `${entry.b} other picture${entry.b > 1 ? "s" : ""}`);
  box.append(table);
  if (entry.l) box.append(parts(entry));
  if (entry.x) box.append(strip("Where the heatmap is highest", entry.x, ["here", `compared with this, in ${entry.z}`]));
  if (entry.r.length) box.append(regions(entry));
  const base = entry.n.split("/").map(encodeURIComponent).join("/");
  const links = make("p", "hint", "Beside this report: ");
  for (const [word, path] of [["overlay", `overlays/${base}.jpg`], ["mask", `masks/${base}.png`], ["heatmap", `heatmaps/${base}.tiff`]]) {
    const link = make("a", "", word);
    link.href = path; link.target = "_blank";
    links.append(link);
  }
  box.append(links);
}

const evidence = {
  text: "the text", self_similarity: "unlike the rest of the picture", dark_lines: "lines", company: "unlike the other pictures",
  references: "unlike the references",
};
const most = (entry) => [...entry.k].sort(([, a], [, b]) => b - a).map(([part, value]) => [evidence[part] || part, value.toFixed(1)]);
// Each part's map lies in one picture beside the others; numbers are those of the place where the heatmap is highest.
function parts(entry) {
  const node = make("figure", "strip"), table = make("div", "parts"), count = entry.k.length;
  entry.k.forEach(([name, value], i) => {
    const one = make("div", "one"), map = make("img");
    map.src = "data:image/jpeg;base64," + entry.l; map.alt = "";
    map.style.aspectRatio = `${entry.w} / ${entry.h}`;
    map.style.objectPosition = `${count > 1 ? 100 * i / (count - 1) : 0}% 0`;  // covers, so this one is seen
    one.append(map, make("span", "", `${evidence[name] || name} `, make("b", "", value.toFixed(1))));
    table.append(one);
  });
  node.append(make("figcaption", "", "What lit it up, and by how much where it is highest"), table);
  return node;
}
function strip(title, image, words) {
  const node = make("figure", "strip"), img = make("img");
  img.src = "data:image/jpeg;base64," + image; img.alt = title;
  const below = make("div", "words");
  below.append(...words.map((word) => make("span", "", word)));
  node.append(make("figcaption", "", title), img, below);
  return node;
}

function regions(entry) {
  const table = make("table", "regions"), head = make("tr");
  const metric = entry.j ? ["area mm²", "longer side mm"] : ["area px"];
  for (const word of ["#", "peak", ...metric, "centre x, y"]) head.append(make("th", "", word));
  table.append(head);
  entry.r.forEach(([size, x0, y0, x1, y1, cx, cy, peak], i) => {
    const sizes = entry.j ? [show(size * entry.j ** 2), show(Math.max(x1 - x0, y1 - y0) * entry.j)] : [size.toLocaleString("en")];
    const tr = row(table, String(i + 1), showScore(peak), ...sizes, `${cx}, ${cy}`);
    tr.addEventListener("mouseenter", () => {
      const svg = document.querySelector(".stage svg"), pad = Math.max(entry.w, entry.h) / 100;
      svg?.append(draw("rect", { x: x0 - pad, y: y0 - pad, width: x1 - x0 + 2 * pad, height: y1 - y0 + 2 * pad }));
    });
    tr.addEventListener("mouseleave", () => document.querySelectorAll(".stage rect").forEach((r) => r.remove()));
  });
  if (entry.c > entry.r.length) row(table, "", `and ${entry.c - entry.r.length} more`);
  return table;
}

function detail(index) {
  open = Math.max(0, Math.min(listed.length - 1, index));
  const entry = listed[open], stage = document.querySelector(".stage");
  stage.classList.remove("near");
  stage.replaceChildren();
  if (entry.p) {
    const pic = picture(entry);
    pic.style.width = `min(100cqw, 100cqh * ${entry.w / entry.h})`;
    pic.style.height = "auto";
    stage.append(pic);
    drawAnew(entry);
    // Where the report lies in its result folder there is a sharper photograph beside it.
    const sharper = new Image();
    sharper.onload = () => { pic.firstChild.src = sharper.src; };
    sharper.src = "previews/photo/" + entry.n.split("/").map(encodeURIComponent).join("/") + ".jpg";
  }
  facts(entry);
  byId("place").textContent = `${open + 1} of ${listed.length}`;
  if (!byId("detail").open) byId("detail").showModal();
  byId("detail").focus();
}

function zoom(event) {
  const stage = document.querySelector(".stage"), pic = stage.querySelector(".pic");
  if (!pic) return;
  if (event.type === "click") stage.classList.toggle("near");
  const box = stage.getBoundingClientRect();
  const at = (v, start, size) => 100 * (v - start) / size;
  pic.style.transformOrigin = `${at(event.clientX, box.left, box.width)}% ${at(event.clientY, box.top, box.height)}%`;
  pic.style.transform = stage.classList.contains("near") ? "scale(3)" : "";
}

function setHeat(value) {
  document.querySelectorAll(".heat-range").forEach((input) => { input.value = value; });
  document.documentElement.style.setProperty("--heat", value / 100);
}
function setLines(on) {
  document.querySelectorAll(".lines-box").forEach((input) => { input.checked = on; });
  document.body.classList.toggle("plain", !on);
}
function choose(verdict) {
  wanted = verdict;
  document.querySelectorAll(".chips button").forEach((b) => b.setAttribute("aria-pressed", b.dataset.show === verdict));
  list();
}

function moveFocus(key) {
  const cards = [...document.querySelectorAll(".card[data-index]")];
  const at = cards.indexOf(document.activeElement);
  const across = getComputedStyle(byId("grid")).gridTemplateColumns.split(" ").length;
  const next = at < 0 ? 0 : at + { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across }[key];
  cards[next]?.focus();
}

document.addEventListener("click", (event) => {
  const target = event.target.closest("[data-show], [data-go], [data-keys], #back, .card[data-index]");
  if (!target) return;
  if (target.id === "back") { judgedLine(); return; }
  if (target.dataset.keys) { showKeys(); return; }
  if (target.dataset.show) { event.preventDefault(); choose(target.dataset.show); }
  else if (target.dataset.go === "close") byId("detail").close();
  else if (target.dataset.go) detail(open + Number(target.dataset.go));
  else detail(Number(target.dataset.index));
});
function showKeys() {
  const keys = byId("keys");
  if (keys.open) keys.close();
  else keys.showModal();
}
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "?" && !event.target.matches("input[type=search]")) { event.preventDefault(); showKeys(); return; }
  if (byId("keys").open) return;
  const inDetail = byId("detail").open;
  const typing = event.target.matches("input[type=search], select, input[type=range]");
  if (typing) { if (event.key === "Escape" && !inDetail) event.target.blur(); return; }
  if (event.key === "/" && !inDetail) { event.preventDefault(); byId("search").focus(); }
  else if (event.key === "t" && !inDetail) { event.preventDefault(); byId("line").focus(); }
  else if (event.key === "r") judgedLine();
  else if (event.key === "h") setHeat(Number(document.querySelector(".heat-range").value) ? 0 : 80);
  else if (event.key === "o") setLines(!document.querySelector(".lines-box").checked);
  else if (inDetail && (event.key === "ArrowRight" || event.key === "ArrowLeft")) {
    event.preventDefault();
    detail(open + (event.key === "ArrowRight" ? 1 : -1));
  } else if (!inDetail && event.key.startsWith("Arrow") && (listed.length && document.activeElement?.matches(".card") || event.key !== "ArrowDown" && event.key !== "ArrowUp")) {
    event.preventDefault();
    moveFocus(event.key);
  }
});
byId("detail").addEventListener("close", () => {
  fill(open + 1);
  document.querySelector(`.card[data-index="${open}"]`)?.focus();
});
document.querySelector(".stage").addEventListener("click", zoom);
document.querySelector(".stage").addEventListener("mousemove", (e) => { if (e.currentTarget.classList.contains("near")) zoom(e); });
byId("search").addEventListener("input", list);
byId("sort").addEventListener("change", list);
document.querySelectorAll(".heat-range").forEach((i) => i.addEventListener("input", () => setHeat(i.value)));
document.querySelectorAll(".lines-box").forEach((i) => i.addEventListener("change", () => setLines(i.checked)));
addEventListener("beforeprint", () => fill(240));
new IntersectionObserver((seen) => { if (seen[0].isIntersecting) fill(shown + PAGE); }, { rootMargin: "1200px" }).observe(byId("more"));
const shapes = scored.map((e) => e.w / e.h).sort((a, b) => a - b);
const shape = Math.max(0.7, Math.min(1.8, shapes[shapes.length >> 1] || 1));
document.documentElement.style.setProperty("--shape", shape);
remember();
histogram();
list();
const asked = /^#image=(\d+)$/.exec(location.hash);
if (asked && listed.length) detail(Number(asked[1]) - 1);
