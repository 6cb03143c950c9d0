// Another threshold, tried in the browser: verdicts, outlines and counts at once, and what is promised. Nothing is
// written; the command to type is. Uses what `report.js` defines, and is read before it.

// From a heatmap's value to a level, and from a level to the opacity of the heat layer, as `overlay.py` draws it.
const OPACITY = [[0, 0], [40, 0], [128, 150], [255, 215]];
function between(steps, x) {
  const last = steps.length - 1;
  if (x <= steps[0][0]) return steps[0][1];
  for (let i = 1; i <= last; i++) {
    const [[a, from], [b, to]] = [steps[i - 1], steps[i]];
    if (x <= b) return from + (to - from) * (x - a) / (b - a || 1);
  }
  return steps[last][1];
}
const opacityAt = (value) => between(OPACITY, between([[scale.low, 0], [scale.threshold, 128], [scale.high, 255]], value));

// What is outlined at a threshold: what as many good parts exceed anywhere; without a profile always the same level.
const maskLevel = (threshold) => (promises.find(([t]) => t < threshold) ?? promises.at(-1) ?? [0, 0, maskThreshold])[2] ?? threshold;

async function layer(entry) {
  const image = new Image();
  image.src = "data:image/webp;base64," + entry.q;
  await image.decode();
  const canvas = document.createElement("canvas"), [w, h] = [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.drawImage(image, 0, 0);
  const alpha = pen.getImageData(0, 0, w, h).data.filter((_, i) => i % 4 === 3);
  return { w, h, alpha };
}

// The regions at or above a level, without those that are too small: how many, and which cells are theirs.
function regionsOf({ w, h, alpha }, level, entry) {
  const cells = new Uint8Array(w * h), wide = entry.w / w, high = entry.h / h;
  let count = 0;
  for (let start = 0; start < cells.length; start++) {
    if (cells[start] || alpha[start] < level) continue;
    const found = [start];
    let [x0, x1, y0, y1] = [w, 0, h, 0];
    cells[start] = 1;
    for (let i = 0; i < found.length; i++) {
      const x = found[i] % w, y = (found[i] - x) / w;
      x0 = Math.min(x0, x); x1 = Math.max(x1, x); y0 = Math.min(y0, y); y1 = Math.max(y1, y);
      for (let v = Math.max(0, y - 1); v <= Math.min(h - 1, y + 1); v++)
        for (let u = Math.max(0, x - 1); u <= Math.min(w - 1, x + 1); u++)
          if (!cells[v * w + u] && alpha[v * w + u] >= level) { cells[v * w + u] = 1; found.push(v * w + u); }
    }
    const size = Math.max((x1 - x0 + 1) * wide, (y1 - y0 + 1) * high);
    if (found.length * wide * high >= least[0] && size >= least[1]) count++;
    else for (const cell of found) cells[cell] = 2;
  }
  return { count, cells };
}

// The outline as pieces of path, by marching squares with places interpolated (Lorensen and Cline 1987, in the plane).
function outlineOf({ w, h, alpha }, cells, level, entry) {
  const at = (x, y) => x < 0 || y < 0 || x >= w || y >= h || cells[y * w + x] !== 1 ? Math.min(level - 1, x < 0 || y < 0 || x >= w || y >= h ? 0 : alpha[y * w + x]) : alpha[y * w + x];
  const place = (x, y) => `${((x + 0.5) * entry.w / w).toFixed(1)},${((y + 0.5) * entry.h / h).toFixed(1)}`;
  const pieces = [];
  for (let y = -1; y < h; y++) for (let x = -1; x < w; x++) {
    const corners = [[x, y], [x + 1, y], [x + 1, y + 1], [x, y + 1]], values = corners.map((c) => at(...c));
    const cut = [];
    for (let i = 0; i < 4; i++) {
      const [a, b] = [values[i], values[(i + 1) % 4]], [p, q] = [corners[i], corners[(i + 1) % 4]];
      if (a >= level === b >= level) continue;
      const t = (level - a) / (b - a);
      cut.push(place(p[0] + t * (q[0] - p[0]), p[1] + t * (q[1] - p[1])));
    }
    for (let i = 0; i + 1 < cut.length; i += 2) pieces.push(`M${cut[i]}L${cut[i + 1]}`);
  }
  return pieces.join("");
}

const JUDGED = ["ok", "defect", "unjudged"];
const first = new Map();  // each entry as it was judged
function remember() { for (const e of scored) first.set(e, { v: e.v, c: e.c, r: e.r, t: e.t }); }

function tryLine(value) {
  line = value;
  const moved = line !== threshold;
  for (const e of scored) {
    const was = first.get(e), judged = JUDGED.includes(was.v);
    Object.assign(e, was, { d: undefined, pending: false });
    if (!moved || !judged) continue;
    Object.assign(e, { t: line, v: e.s >= line ? "defect" : "ok" });
    if (e.v === "ok") Object.assign(e, { d: "", c: 0, r: [] });
    else if (was.v !== "defect" || maskLevel(line) !== maskThreshold) Object.assign(e, { d: "", c: 0, r: [], pending: true });
  }
  document.body.classList.toggle("tried", moved);
  byId("back").hidden = !moved;
  showCounts();
  if (wanted === "all") document.querySelectorAll(".card[data-index]").forEach((node) => dress(node, listed[node.dataset.index]));
  else list();
}

async function drawAnew(entry) {
  if (!entry.pending || !entry.q) return;
  Object.assign(entry, { pending: false, drawing: true });
  const tried = line, found = await layer(entry);
  entry.drawing = false;
  const top = found.alpha.reduce((a, b) => Math.max(a, b), 0), level = Math.min(opacityAt(maskLevel(tried)), top);
  if (tried !== line || level < 1) return;  // so far below the threshold of the run nothing is drawn, or outlined
  const { count, cells } = regionsOf(found, level, entry);
  Object.assign(entry, { c: count, d: outlineOf(found, cells, level, entry) });
  if (!count) { entry.v = "ok"; showCounts(); }  // all are smaller than the smallest defect
  const node = document.querySelector(`.card[data-index="${listed.indexOf(entry)}"]`);
  if (node) dress(node, entry);
  if (byId("detail").open && listed[open] === entry) {
    document.querySelector(".stage svg")?.replaceChildren(...paths(entry));
    facts(entry);
  }
}

function showCounts() {
  const counts = {};
  for (const e of all) counts[e.v] = (counts[e.v] ?? 0) + 1;
  for (const chip of document.querySelectorAll(".chips [data-show]")) {
    const count = chip.dataset.show === "all" ? all.length : counts[chip.dataset.show] ?? 0;
    chip.querySelector("b").textContent = count;
    chip.hidden = !count && chip.dataset.show !== wanted && chip.dataset.show !== "all";
  }
  const [bad, judged] = [counts.defect ?? 0, (counts.defect ?? 0) + (counts.ok ?? 0)];
  byId("verdicts").textContent = judged ? `${bad} of ${judged}` : byId("verdicts").dataset.none;
  const bound = promised(line);
  const most = promises.length ? (bound === null ? ", no promise about false alarms" : `, false alarms at most ${share(bound)}`) : "";
  const typed = `steer-anomaly judge ${byId("promises").dataset.out} --threshold ${line === threshold ? show(line) : showScore(line, 1)}`;
  const hits = scored.filter((e) => JUDGED.includes(e.v) && e.s >= line).length;
  byId("whatif").replaceChildren(`${hits} of ${scored.length} at or above ${readableScore(line)}${most}`);
  byId("typed").textContent = typed;
  bars();
}
