"use strict";
// Profiles: the list of all, and one with its good pictures, the version that is proposed, and those there were.
const name = byId("main").dataset.profile;
let profile = null, sending = false, none = null;

function tile(one) {
  const node = make("a", "tile");
  node.href = `/profiles/${encodeURIComponent(one.name)}`;
  node.append(make("b", "", one.name));
  if (one.broken) node.append(make("p", "warn", one.broken));
  else {
    const counts = ["defect", "ok", "unfit"].filter((v) => one.today[v]).map((v) => make("span", "", tag(v), ` ${one.today[v]} `));
    node.append(make("p", "", one.object, ` · version ${one.version}`), make("p", "", one.bound === null ? "no false-alarm rate is promised" : `false alarms at most ${share(one.bound)} with ${share(one.confidence)} confidence`), make("p", "", ...(counts.length ? counts : ["nothing judged today"])));
    if (one.drift && one.drift.alarm) node.append(make("p", "warn", `⚠ drift since part ${one.drift.alarm_at}`));
  }
  return node;
}

async function list() {
  const found = (await ask("/v1/profiles")).profiles, drafts = byId("list").dataset.drafts.split("|").filter(Boolean);
  byId("list").replaceChildren(...found.map(tile), ...drafts.map((draft) => {
    const node = make("a", "tile", make("b", "", draft), make("p", "", "pictures are here, not calibrated yet"));
    node.href = `/profiles/${encodeURIComponent(draft)}`;
    return node;
  }));
  if (!found.length && !drafts.length) byId("list").textContent = "None yet.";
}

// One profile --------------------------------------------------------------------------------------------------

function drawProfile() {
  const there = profile.version !== null, pictures = profile.pictures.length;
  byId("kicker").textContent = there ? `profile · ${profile.object} · model ${profile.model} · version ${profile.version}` : "a profile that is not calibrated yet";
  if (profile.broken) note(profile.broken);
  byId("promise").textContent = there ? profile.promise : "Give photographs of good parts, then press Calibrate.";
  byId("state").hidden = !(there && profile.drift && profile.drift.alarm);
  if (there && profile.drift) {
    byId("state").textContent = profile.drift.alarm ? `⚠ Drift since part ${profile.drift.alarm_at}. ${profile.drift.sentence}` : "";
    byId("drift").replaceChildren(driftPlot(profile.drift), make("p", "hint", `${profile.drift.followed} parts followed, ${profile.drift.set_aside} set aside. ${profile.drift.sentence}`));
  } else byId("drift").textContent = "Followed once a version judges.";
  byId("origin").textContent = there ? `${profile.parts} parts calibrate, ${profile.references} pictures are references. ${pictures} pictures are here for the next version.` : `${pictures} pictures.`;
  byId("object").parentElement.hidden = there;
  byId("rate").options[0].textContent = there ? "as it is promised now" : "as few as can be promised";
  byId("calibrate").querySelector("button").disabled = pictures === 0;
  byId("needs").hidden = pictures > 0;
  byId("record").replaceChildren(...record());
  drawGoods();
  drawVersions();
  drawProposal();
}

const counted = (n, one, more) => `${n} ${n === 1 ? one : more}`;
function record() {
  const links = (ids) => ids.slice(0, 20).map((id) => { const a = make("a", "", ` ${id}`); a.href = `/parts/${id}`; return a; });
  const said = [`${counted(profile.misses.length, "miss", "misses")} (defects called ok)`, ...links(profile.misses), `; ${counted(profile.false_alarms.length, "false alarm", "false alarms")} (good parts called defective)`, ...links(profile.false_alarms), "."];
  return said;
}

function drawGoods() {
  const odd = new Map((profile.proposal ? profile.proposal.outliers : []).map((one) => [one.content, one.times]));
  const order = [...profile.pictures].sort((a, b) => (odd.get(b.content) || 0) - (odd.get(a.content) || 0));
  byId("goods").replaceChildren(...order.slice(0, 120).map((one) => {
    const image = make("img");
    image.src = `/v1/goods/${one.content}`;
    image.alt = one.name || "good part";
    image.loading = "lazy";
    const node = make("figure", odd.has(one.content) ? "odd" : "", image);
    node.setAttribute("role", "listitem");
    const text = odd.has(one.content) ? `look at this one: ${odd.get(one.content).toFixed(1)} × as far from the others` : one.origin === "given" ? one.name || "" : one.origin;
    const gone = make("button", "gone", "✕");
    gone.title = "Take this picture out";
    gone.setAttribute("aria-label", `Take ${one.name || "this picture"} out`);
    gone.addEventListener("click", async () => { await ask(`/v1/profiles/${encodeURIComponent(name)}/good/${one.content}`, { method: "DELETE" }); look(); });
    node.append(make("figcaption", "", text), gone);
    return node;
  }));
}

function drawVersions() {
  const head = make("tr", "", ...["Version", "Made", "Why", ""].map((text) => make("th", "", text)));
  byId("versions").replaceChildren(head, ...profile.versions.map((one) => {
    const row = make("tr", one.number === profile.version ? "now" : "", make("td", "", String(one.number)), make("td", "", when(one.made)), make("td", "", one.reason));
    if (one.number === profile.version) row.append(make("td", "", make("strong", "", "judges")));
    else {
      const back = make("button", "", "Go back to it");
      back.addEventListener("click", () => act(() => tell(`/v1/profiles/${encodeURIComponent(name)}/back`, { version: one.number })));
      row.append(make("td", "", back));
    }
    return row;
  }));
  if (!profile.versions.length) byId("versions").replaceChildren(make("tr", "", make("td", "", "None yet.")));
}

function drawProposal() {
  const one = profile.proposal, box = byId("proposal");
  if (!one) { box.replaceChildren(none); return; } // also after a restart, which forgets proposals
  if (one.state === "working") {
    const bar = make("progress");
    bar.max = Math.max(1, one.total);
    bar.value = one.done;
    bar.setAttribute("aria-label", "Calibrating");
    box.replaceChildren(make("p", "", `Being made: ${one.reason}.`), bar, make("p", "hint", `${one.done} of ${one.total} pictures`));
    return;
  }
  if (one.state === "failed") { box.replaceChildren(make("p", "warn", "It cannot be made."), make("p", "", one.message)); return; }
  const parts = [make("p", "", make("strong", "", one.state === "applied" ? "Applied: " : "Proposed: "), one.reason, "."), make("p", "", one.message), make("p", "hint", `${one.how ? one.how + ". " : ""}${one.parts} parts calibrate, ${one.references} references, threshold ${short(one.threshold)}.`)];
  if (one.outliers.length) parts.push(make("p", "warn", one.outliers.length === 1 ? "⚠ One picture is unlike all others: look at it first, then calibrate again without it." : `⚠ ${one.outliers.length} pictures are unlike all others: look at them first, then calibrate again without them.`));
  if (one.state === "ready") parts.push(...changes(one), applying(one));
  box.replaceChildren(...parts);
}

function changes(one) {
  if (!one.looked_at) return [];
  const said = one.changes.length ? `Of ${counted(one.looked_at, "part", "parts")} that were judged ${one.changes.length} would be judged otherwise:` : `None of the last ${counted(one.looked_at, "part", "parts")} would be judged otherwise.`;
  const missed = one.misses ? [make("p", one.misses[0] ? "warn" : "", `${one.misses[0]} of ${one.misses[1]} known defects would be missed.`)] : [];
  const list = one.changes.map((change) => {
    const link = make("a", "", `part ${change.part}`);
    link.href = `/parts/${change.part}`;
    const image = make("img");
    image.src = `/v1/parts/${change.part}/photograph?size=small`;
    image.alt = "";
    return make("li", "", image, link, " ", tag(change.before), " → ", tag(change.after), change.was ? ` (was ${change.was === "good" ? "good" : "a defect"})` : "");
  });
  return [make("p", "", said), make("ul", "changes", ...list), ...missed];
}

function applying(one) {
  const button = make("button", "main", "Let it judge from now on");
  button.addEventListener("click", () => act(() => tell(`/v1/profiles/${encodeURIComponent(name)}/apply`, { proposal: one.id })));
  return make("p", "", button);
}

async function act(what) {
  try { await what(); } catch (error) { note(error.message); }
  await look();
}
function note(text) { byId("added").textContent = text; byId("added").hidden = !text; }

async function look() {
  try {
    profile = await ask(`/v1/profiles/${encodeURIComponent(name)}`);
  } catch (error) {
    note(error.message);
    return;
  }
  drawProfile();
}

async function send(files) {
  if (sending || !files.length) return;
  sending = true;
  let added = 0, known = 0;
  const wrong = [];
  for (const file of files) {
    note(`Sending ${added + known + wrong.length + 1} of ${files.length} …`);
    const form = new FormData();
    form.append("image", file, file.name);
    try {
      const found = await ask(`/v1/profiles/${encodeURIComponent(name)}/good`, { method: "POST", body: form });
      added += found.added;
      known += found.known;
      wrong.push(...found.unusable.map((one) => `${file.name}: ${one.message}`));
    } catch (error) {
      wrong.push(`${file.name}: ${error.message}`);
    }
  }
  sending = false;
  note(`${added} added${known ? `, ${known} were here already` : ""}${wrong.length ? `. Not usable: ${wrong.join("; ")}` : "."}`);
  await look();
}

function prepare() {
  none = byId("proposal").firstElementChild;
  const drop = byId("drop"), files = byId("files");
  files.addEventListener("change", () => { send([...files.files]).then(() => { files.value = ""; }); });
  for (const kind of ["dragover", "dragleave", "drop"]) drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.toggle("over", kind === "dragover"); });
  drop.addEventListener("drop", (event) => send([...event.dataTransfer.files]));
  byId("calibrate").addEventListener("submit", (event) => {
    event.preventDefault();
    const rate = byId("rate").value;
    act(() => tell(`/v1/profiles/${encodeURIComponent(name)}/proposal`, {
      object: byId("object").value.trim() || null, false_alarms: rate ? Number(rate) : null,
      drop_outliers: byId("drop-outliers").checked, best_effort: byId("best-effort").checked,
    }));
  });
  look();
  setInterval(() => { if (profile && profile.proposal && profile.proposal.state === "working" && !document.hidden) look(); }, 500);
}

if (name) prepare();
else {
  list().catch((error) => { byId("list").textContent = error.message; });
  byId("new").addEventListener("submit", (event) => { event.preventDefault(); location.href = `/profiles/${encodeURIComponent(byId("name").value.trim())}`; });
}
