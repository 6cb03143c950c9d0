"use strict";
// The line: asks once a second for what is new; draws the newest part large and the last ones as a strip.
const SHOWN = 24;
const TOO_SOON = 700; // ms after a part came in which G and D may be meant for the one before
let parts = [], shown = "", profile = "", busy = false, beats = 0, changed = -TOO_SOON;
byId("here").textContent = location.origin;

function card(part) {
  const node = make("a", "card");
  node.href = `/parts/${part.id}`;
  node.dataset.id = part.id;
  node.setAttribute("role", "listitem");
  node.setAttribute("aria-label", `Part ${part.id}, ${words[part.verdict]}, ${reason(part)} ${fresh(part)}`);
  const frame = make("div", "frame", picture(part, "small"));
  frame.style.setProperty("--shape", `${part.width} / ${part.height}`);
  const head = make("div", "line1", tag(part.verdict), make("span", "count", part.p_value === null ? short(part.score) : `p ${share(part.p_value)}`));
  const called = make("div", "name", part.name || `part ${part.id}`), told = fresh(part);
  called.title = part.name || ""; // long ones are cut
  const said = make("div", "said", head, called, ...(told ? [make("div", "told", told)] : []));
  node.append(frame, said);
  return node;
}

function drawNewest(part) {
  const hero = byId("hero");
  hero.hidden = false;
  hero.href = `/parts/${part.id}`;
  hero.setAttribute("aria-label", `Open part ${part.id}`);
  hero.firstElementChild.replaceChildren(picture(part, "large"));
  hero.parentElement.style.setProperty("--ratio", part.width / part.height);
  byId("when").textContent = `part ${part.id} · ${part.name || "no name"} · ${part.profile || part.object} · ${when(part.received)}`;
  byId("verdict").replaceChildren(tag(part.verdict));
  byId("verdict").className = "verdict " + part.verdict;
  byId("why").textContent = reason(part) + (part.unfit.length ? "" : `; ${stated(part)}`);
  byId("evidence").replaceChildren(...bars(part));
  byId("spoke").hidden = !Object.keys(part.evidence).length;
  byId("ask").hidden = part.profile === null;
  changed = performance.now();
}

function drawDay(found) {
  const total = Object.values(found.today).reduce((a, b) => a + b, 0);
  byId("counts").replaceChildren(...["defect", "ok", "unfit", "unjudged"].filter((v) => found.today[v] || v === "defect" || v === "ok").map((v) => {
    const n = found.today[v] || 0;
    const node = make("div", "", make("b", "", String(n)), tag(v), make("small", "", total ? share(n / total) : "–"));
    node.classList.add("count-of", v);
    return node;
  }));
  const names = Object.keys(found.drift).filter((name) => found.drift[name]);
  byId("promises").replaceChildren(...names.slice(0, 4).map((name) => {
    const drift = found.drift[name], link = make("a", "", name);
    link.href = `/profiles/${encodeURIComponent(name)}`;
    const state = drift.alarm ? make("strong", "warn", `⚠ drift since part ${drift.alarm_at}`) : make("span", "", `no drift in ${drift.followed} parts`);
    const node = make("div", "promise", make("p", "", link, " ", make("span", "bound", bounds[name] || ""), " · ", state), driftPlot(drift));
    return node;
  }));
}

const bounds = {};
async function learnBounds() {
  for (const one of (await ask("/v1/profiles")).profiles) {
    bounds[one.name] = one.broken ? "cannot be read" : one.bound === null ? "no promise" : `false alarms at most ${share(one.bound)} (version ${one.version})`;
  }
}

function show() {
  byId("none").hidden = parts.length > 0 || !(shown || profile); // nothing of this kind, or nothing at all
  byId("how").hidden = parts.length > 0 || Boolean(shown || profile);
  byId("older").hidden = parts.length < SHOWN;
  const grid = byId("grid"), focused = document.activeElement && document.activeElement.dataset.id;
  const known = new Map([...grid.children].map((node) => [node.dataset.id, node]));
  grid.replaceChildren(...parts.map((part) => {
    const old = known.get(String(part.id));
    return old && old.dataset.was === (part.was || "") ? old : stamped(part);
  }));
  if (focused) grid.querySelector(`[data-id="${CSS.escape(focused)}"]`)?.focus();
}
function stamped(part) {
  const node = card(part);
  node.dataset.was = part.was || "";
  return node;
}

function address(after) {
  const wanted = new URLSearchParams({ limit: SHOWN });
  if (after) wanted.set("after", after);
  if (shown) wanted.set("verdict", shown);
  if (profile) wanted.set("profile", profile);
  return `/v1/parts?${wanted}`;
}

async function look(anew = false) {
  if (busy || (!anew && (byId("pause").checked || document.hidden))) return;
  busy = true;
  try {
    if (anew || beats % 15 === 0) await learnBounds();
    const all = anew || beats % 15 === 0;
    const found = await ask(address(all ? 0 : parts.length ? parts[0].id : 0));
    const before = parts.length ? parts[0].id : 0;
    parts = all ? found.parts : [...found.parts, ...parts].slice(0, SHOWN);
    beats += 1;
    drawDay(found);
    show();
    if (parts.length && parts[0].id !== before) {
      drawNewest(parts[0]);
      say(`Part ${parts[0].id}: ${words[parts[0].verdict]}`);
    }
  } catch (error) {
    byId("link").textContent = "⚠ " + error.message;
  } finally {
    busy = false;
  }
}

document.querySelectorAll("[data-show]").forEach((button) => button.addEventListener("click", () => {
  shown = button.dataset.show;
  document.querySelectorAll("[data-show]").forEach((one) => one.setAttribute("aria-pressed", String(one === button)));
  look(true);
}));
byId("profile").addEventListener("change", (event) => { profile = event.target.value; look(true); });
byId("heatmaps").addEventListener("change", (event) => document.body.classList.toggle("hot", event.target.checked));
byId("older").addEventListener("click", async () => {
  const wanted = new URLSearchParams({ limit: SHOWN, before: parts[parts.length - 1].id });
  if (shown) wanted.set("verdict", shown);
  if (profile) wanted.set("profile", profile);
  byId("pause").checked = true;
  parts = parts.concat((await ask(`/v1/parts?${wanted}`)).parts);
  show();
});
function judgeNewest(was) {
  if (!parts.length) return;
  if (performance.now() - changed > TOO_SOON) { judge(parts[0], was, "", byId("came")); return; }
  byId("came").textContent = `Part ${parts[0].id} has just come: press again if you mean it.`;
  byId("came").hidden = false;
}
document.querySelectorAll("[data-was]").forEach((button) => button.addEventListener("click", () => judgeNewest(button.dataset.was)));
document.addEventListener("keydown", (event) => {
  if (typing(event)) return;
  const cards = [...byId("grid").children], at = cards.indexOf(document.activeElement);
  const key = event.key.toLowerCase();
  if (key === "arrowright") (cards[at + 1] || cards[0])?.focus();
  else if (key === "arrowleft") (cards[at - 1] || cards[0])?.focus();
  else if (key === "h") byId("heatmaps").click();
  else if (key === "p") byId("pause").click();
  else if (key === "g" || key === "d") {
    const was = key === "g" ? "good" : "defect";
    if (at < 0) judgeNewest(was);
    else judge(parts[at], was, "", byId("came"));
  }
  else return;
  event.preventDefault();
});
document.addEventListener("visibilitychange", () => look());
look(true);
setInterval(() => look(), 1000);
