"use strict";
// What all pages share beside `nodes.js`: asking the service, drawing a part.
const words = { defect: "Defect", ok: "OK", unfit: "Unfit", unjudged: "Unjudged" };
const signs = { defect: "✕", ok: "✓", unfit: "?", unjudged: "–" };
const short = (x) => x === null || x === undefined ? "–" : String(+x.toPrecision(4));

function say(text) { byId("said").textContent = text; }

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    byId("link").textContent = "⚠ no connection to the service";
    throw new Error("There is no connection to the service.");
  }
  byId("link").textContent = "";
  if (answer.status === 401) location.href = "/login";
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error ? body.error.message : `The service said ${answer.status}.`);
  return body;
}
const tell = (path, content) => ask(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(content) });

function tag(verdict) {
  const node = make("span", "tag " + verdict, make("span", "sign", signs[verdict] || "!"), " ", words[verdict] || verdict);
  node.firstChild.setAttribute("aria-hidden", "true");
  return node;
}
function fresh(part) { return part.was ? (part.was === "good" ? "was good" : "was a defect") : ""; }

// The photograph, its heatmap and its outlines on top of each other; what is not wanted is left out.
function picture(part, size, { heat = true, lines = true, photo = true } = {}) {
  const pic = make("span", "pic");
  pic.style.setProperty("--shape", `${part.width} / ${part.height}`);
  pic.style.setProperty("--ratio", part.width / part.height);
  if (photo && part.has_photo) {
    const image = make("img", "photo");
    image.src = `/v1/parts/${part.id}/photograph?size=${size}`;
    image.alt = `Photograph of part ${part.id}`;
    image.loading = "lazy";
    pic.append(image);
  }
  if (heat && part.has_photo) {
    const image = make("img", "heat");
    image.src = `/v1/parts/${part.id}/heat`;
    image.alt = "";
    image.loading = "lazy";
    pic.append(image);
  }
  const d = lines ? part.outlines.map((p) => "M" + p.map((v, i) => v + 0.5 + (i % 2 ? " " : ",")).join("") + "Z").join("") : "";
  if (d) {
    const svg = draw("svg", { viewBox: `0 0 ${part.width} ${part.height}`, preserveAspectRatio: "none", "aria-hidden": "true" });
    svg.append(draw("path", { d, class: "shade" }), draw("path", { d }));
    pic.append(svg);
  }
  return pic;
}

// Why the verdict is what it is, in one line.
function reason(part) {
  if (part.unfit.length) return part.unfit.join(" ");
  const far = part.spreads === null ? "" : Math.abs(part.spreads).toFixed(1);
  const place = part.spreads === null ? `score ${short(part.score)}` : `${far} usual spreads ${part.spreads < 0 ? "below" : "above"} a usual good part`;
  const odds = part.p_value === null ? "" : `; p‑value ${share(part.p_value)}`;
  return place + odds;
}
function stated(part) {
  const at = part.threshold === null ? "" : `, threshold ${short(part.threshold)}`;
  return `score ${short(part.score)}${at}`;
}

// A whole bar is the threshold where one is known in the evidence's own unit, so that those of a good part are short.
function bars(part) {
  const entries = Object.entries(part.evidence), whole = part.profile === null ? 1e-9 : part.threshold || 1e-9;
  const most = Math.max(whole, ...entries.map(([, value]) => Math.abs(value)));
  return entries.map(([name, value]) => {
    const fill = make("i");
    fill.style.width = `${100 * Math.max(0, value) / most}%`;
    return make("div", "evi", make("span", "", name.replace("_", " ")), make("span", "rail", fill), make("b", "", value.toFixed(1)));
  });
}

// The evidence of drift, as in the report: the alarm is at the line.
function driftPlot(drift) {
  const svg = draw("svg", { class: "drift", viewBox: "0 0 600 92", preserveAspectRatio: "none", role: "img", "aria-label": drift.alarm ? "Drift: alarm" : "Drift: no alarm" });
  svg.append(draw("line", { class: "mark", x1: 0, x2: 600, y1: drift.alarm_y, y2: drift.alarm_y }), draw("polyline", { points: drift.points }));
  return make("div", "plot", svg, make("span", "", "alarm"));
}
const when = (text) => new Date(text).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });

// What people say of a part: buttons with data-was, keys G and D.
async function judge(part, was, note, out) {
  const place = `/v1/profiles/${encodeURIComponent(part.profile || "-")}/feedback`;
  try {
    const answer = await tell(place, { part: part.id, was, note: note || null });
    out.replaceChildren(`Part ${part.id}. ${answer.said} `);
    if (answer.proposal) {
      const link = make("a", "", "See what would change");
      link.href = `/profiles/${encodeURIComponent(part.profile)}#next-head`;
      out.append(link);
    }
    part.was = was;
    say(answer.said);
  } catch (error) {
    out.textContent = error.message;
  }
  out.hidden = false;
}
function typing(event) {
  return event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== "checkbox";
}
