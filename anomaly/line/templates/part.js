"use strict";
// One part: photograph, heatmap and the nearest good picture side by side, and what people say of it.
const number = Number(byId("main").dataset.part);
let part = null;

function pane(id, child) { byId(id).replaceChildren(child); }

function drawPart() {
  byId("when").textContent = `part ${part.id} · ${part.profile ? `profile ${part.profile}, version ${part.version}` : part.object} · ${when(part.received)}`;
  byId("verdict").replaceChildren(tag(part.verdict));
  byId("name").textContent = part.name || "";
  byId("why").textContent = reason(part) + (part.unfit.length ? "" : `; ${stated(part)}`);
  byId("was").textContent = part.was ? `said: ${fresh(part)}` : "";
  byId("ask").hidden = part.profile === null;
  pane("photo", part.has_photo ? picture(part, "large", { heat: false }) : make("p", "broken", "The photograph was removed; only the last ones are kept."));
  pane("heat", picture(part, "large", { lines: false }));
  byId("evidence").replaceChildren(...bars(part), ...pictures());
  if (!Object.keys(part.evidence).length) byId("evidence").textContent = "Judged by the name of the part alone.";
  byId("regions").replaceChildren(part.regions.length ? regions() : "None.");
  const rows = [["Score", short(part.score)], ["Threshold", short(part.threshold)], ["p-value", share(part.p_value)], ["Spreads", short(part.spreads)], ["Size", `${part.width} × ${part.height} px`], ["Model", part.model], ["In the model", `${part.milliseconds} ms`]];
  byId("facts").replaceChildren(...rows.map(([name, value]) => make("tr", "", make("th", "", name), make("td", "", value))));
}

function pictures() {
  if (!part.has_photo) return [];
  const all = Object.keys(part.evidence).map((name) => {
    const image = make("img");
    image.src = `/v1/parts/${part.id}/evidence/${encodeURIComponent(name)}`;
    image.alt = `Map of ${name.replace("_", " ")}`;
    return make("figure", "", image, make("figcaption", "", name.replace("_", " ")));
  });
  return all.length ? [make("div", "maps", ...all)] : [];
}

function regions() {
  const head = make("tr", "", ...["Area px", "At x, y", "Peak"].map((text) => make("th", "", text)));
  const rows = part.regions.slice(0, 12).map((one) => make("tr", "", make("td", "", String(one.area)), make("td", "", one.centroid_xy.map(Math.round).join(", ")), make("td", "", short(one.peak))));
  return make("table", "regions", head, ...rows);
}

async function neighbour() {
  const found = await ask(`/v1/parts/${number}/neighbour`);
  if (found.picture === null) { pane("neighbour", make("p", "broken", found.said)); return; }
  const image = make("img", "photo");
  image.src = found.picture;
  image.alt = found.said;
  const pic = make("span", "pic", image);
  pic.style.setProperty("--shape", `${part.width} / ${part.height}`);
  pic.style.setProperty("--ratio", part.width / part.height);
  pane("neighbour", pic);
  byId("neighbour-name").textContent = `· ${found.said}`;
}

async function go(newer) {
  const wanted = new URLSearchParams(newer ? { after: number, limit: 200 } : { before: number, limit: 1 });
  const found = (await ask(`/v1/parts?${wanted}`)).parts;
  if (found.length) location.href = `/parts/${found[found.length - 1].id}`;
}
async function judged(was) {
  await judge(part, was, byId("note").value, byId("came"));
  byId("was").textContent = part.was ? `said: ${fresh(part)}` : "";
}
document.querySelectorAll("[data-was]").forEach((button) => button.addEventListener("click", () => judged(button.dataset.was)));
document.addEventListener("keydown", (event) => {
  if (typing(event)) return;
  const key = event.key.toLowerCase();
  if (key === "escape") location.href = "/";
  else if (key === "arrowleft") go(true);
  else if (key === "arrowright") go(false);
  else if (part && part.profile && key === "g") judged("good");
  else if (part && part.profile && key === "d") judged("defect");
});
ask(`/v1/parts/${number}`).then((found) => { part = found; drawPart(); return neighbour(); }).catch((error) => { byId("why").textContent = error.message; });
