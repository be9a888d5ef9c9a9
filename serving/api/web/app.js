// The page of Groundwork: ask a question, read the answer, see each quote in its document.
//
// No framework and no build. All content of the service and of documents is added as text nodes, never as
// HTML, so a document can't run anything here. The address names the open passage
// (#document=ID&start=..&end=..), so citations are plain links: they can be shared, and Back closes them.

const byId = (id) => document.getElementById(id);
const page = byId("page");
const reader = byId("reader");
const phone = matchMedia("(max-width: 999px)"); // below this the reader is a sheet over the page: see app.css

/** Creates an element with attributes and children; strings become text nodes, null and "" are skipped. */
function element(tag, attributes = {}, ...children) {
  const drawn = tag === "svg" || tag === "rect";
  const node = document.createElementNS(`http://www.w3.org/${drawn ? "2000/svg" : "1999/xhtml"}`, tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== ""));
  return node;
}

const counted = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
const SUFFIXES = { one: "st", two: "nd", few: "rd", other: "th" };
const ordinal = (n) => n + SUFFIXES[new Intl.PluralRules("en", { type: "ordinal" }).select(n)];

// ---------------------------------------------------------------------------------------------------------
// The service

/** An error as one sentence for a person; `title` names the kind of problem. */
class Problem extends Error {
  constructor(title, detail, status) {
    super(detail);
    this.title = title;
    this.status = status;
  }
}

/** Returns the JSON of a response. Throws a Problem, or an AbortError when `signal` fires. */
async function request(path, { body, signal } = {}) {
  const options = { headers: { Accept: "application/json", ...identityHeaders() }, signal };
  if (body) {
    options.method = "POST";
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The service can’t be reached", "Check that Groundwork is running, then try again.");
  }
  const answer = await response.json().catch((error) => {
    if (error.name === "AbortError") throw error;
    return null; // a proxy's HTML page, perhaps: reported below by its status
  });
  if (response.ok && answer !== null) return answer;
  throw new Problem(
    answer?.title ?? "The service could not answer",
    answer?.detail ?? `It replied with status ${response.status} and no explanation.`,
    response.status,
  );
}

/** Runs one piece of work at a time: starting another cancels the one before it, whose result is dropped. */
function latestOnly() {
  let current = new AbortController();
  const cancel = () => current.abort();
  async function run(work, { done, failed }) {
    cancel();
    const mine = (current = new AbortController());
    try {
      const result = await work(mine.signal);
      if (!mine.signal.aborted) done(result);
    } catch (error) {
      if (mine.signal.aborted) return;
      if (!(error instanceof Problem)) throw error;
      failed(error);
    }
  }
  return { run, cancel };
}

// ---------------------------------------------------------------------------------------------------------
// Identity of the person

const REMEMBERED = "groundwork.identity";
let me = null;

function identityHeaders() {
  if (me?.identity !== "local") return {};
  return { "X-Groundwork-Tenant": byId("tenant").value, "X-Groundwork-Groups": groupsEntered().join(",") };
}

function groupsEntered() {
  return byId("groups").value.split(",").map((group) => group.trim()).filter(Boolean);
}

async function meetCaller() {
  me = await request("/v1/me");
  if (me.identity === "local") {
    offerIdentities(me.tenants, recalledIdentity());
  } else {
    byId("signed-in").textContent = ["Signed in to " + me.tenant, ...me.groups].join(" · ");
    byId("signed-in").hidden = false;
  }
}

function offerIdentities(tenants, recalled) {
  byId("tenant").replaceChildren(...tenants.map((tenant) => element("option", { value: tenant }, tenant)));
  byId("tenant").value = tenants.includes(recalled.tenant) ? recalled.tenant : me.tenant;
  byId("groups").value = recalled.groups ?? me.groups.join(", ");
  byId("identity").hidden = false;
}

function recalledIdentity() {
  try {
    return JSON.parse(localStorage.getItem(REMEMBERED)) ?? {};
  } catch {
    return {}; // storage may be switched off, or hold something else: start afresh
  }
}

function rememberIdentity() {
  try {
    const chosen = { tenant: byId("tenant").value, groups: byId("groups").value };
    localStorage.setItem(REMEMBERED, JSON.stringify(chosen));
  } catch {
    // Without storage the choice lasts until the page is left.
  }
}

/** Clears the page, whose content was shown to another identity. */
function changeIdentity() {
  if (!byId("identity").reportValidity()) return; // header values are ASCII
  rememberIdentity();
  closePassage();
  startConversation();
  startAfresh();
}

function readersLabel(readers) {
  const tenant = me?.identity === "local" ? byId("tenant").value : me?.tenant;
  return readers.length ? `Restricted to ${readers.join(", ")}` : `Open to everyone in ${tenant}`;
}

// ---------------------------------------------------------------------------------------------------------
// Narrowing down

/** Returns the fields under the question as a filter for the service (or null), and in words. */
function narrowing() {
  const value = (id) => byId(id).value.trim();
  const [path, since, key, wanted] = ["within-path", "within-since", "within-key", "within-value"].map(value);
  const parts = [];
  if (path) parts.push([{ field: "path", prefix: path }, `in ${path}`]);
  if (since) parts.push([{ field: "ingested_at", gte: since }, `added since ${since}`]);
  if (key && wanted) parts.push([{ field: `metadata.${key}`, in: readings(wanted) }, `${key} is ${wanted}`]);
  else if (key) parts.push([{ field: `metadata.${key}`, exists: true }, `${key} is given`]);
  const filters = parts.map(([filter]) => filter);
  return { filter: filters.length ? { and: filters } : null, words: parts.map(([, words]) => words).join(", ") };
}

/** Returns a value in the types that metadata may have: 7.4 and true are also a number and a boolean. */
function readings(written) {
  if (written === "true" || written === "false") return [written, written === "true"];
  return /^[+-]?\d{1,15}(\.\d{1,15})?$/.test(written) ? [written, Number(written)] : [written];
}

function showNarrowing() {
  const { words } = narrowing();
  byId("narrow-words").textContent = words;
  byId("narrow-clear").hidden = !words;
}

function clearNarrowing() {
  for (const field of byId("narrow").querySelectorAll("input")) field.value = "";
  showNarrowing();
  byId("within-path").focus(); // the button is about to disappear
}

// ---------------------------------------------------------------------------------------------------------
// Asking and answering

const oneQuestion = latestOnly();
let asked = "";
let askedWithin = null; // the filter it was asked with
let cited = new Map(); // the address of a passage -> its citation, which knows more than the address

function show(stage) {
  byId("status").textContent = stage === "waiting" ? "Searching your documents" : "";
  if (stage !== "answered" && stage !== "refused") byId("answer").replaceChildren();
  byId("asked-as").hidden = true;
  for (const section of document.querySelectorAll("[data-stage]")) {
    section.hidden = !section.dataset.stage.split(" ").includes(stage);
  }
}

function startAfresh() {
  oneQuestion.cancel();
  asked = "";
  cited = new Map();
  document.title = "Groundwork";
  show("empty");
}

function ask(question) {
  asked = question;
  askedWithin = narrowing().filter;
  byId("question").value = question;
  document.title = `${question} · Groundwork`;
  forgetWhy();
  show("waiting");
  const body = { question, filter: askedWithin, conversation: conversation ?? "new" };
  return oneQuestion.run((signal) => request("/v1/ask", { body, signal }), {
    done: (answer) => {
      goOn(question, answer.conversation);
      showAnswer(answer);
    },
    failed: (problem) => {
      if (problem.status === 404) startConversation(); // it has expired, or was deleted: the next try begins another
      showProblem(problem);
    },
  });
}

// The questions before explain a follow-up question, until a new conversation starts.
let conversation = null;
let questionsBefore = [];
let understoodAs = "";

function goOn(question, id) {
  conversation = id;
  questionsBefore.push(question);
  byId("asked-before").textContent = `In this conversation: ${questionsBefore.slice(-3).join(" · ")}`;
  byId("conversation").hidden = false;
}

function startConversation() {
  conversation = null;
  questionsBefore = [];
  byId("conversation").hidden = true;
}

function showProblem(problem) {
  closePassage();
  byId("problem-title").textContent = problem.title;
  byId("problem-detail").textContent = problem.message;
  show("failed");
}

function showAnswer(answer) {
  const refused = answer.status === "refused";
  const passages = refused ? (answer.refusal.closest ?? []) : answer.citations;
  cited = new Map(passages.map((passage) => [addressOf(passage), passage]));
  show(answer.status);
  understoodAs = answer.asked_as ?? answer.question;
  byId("asked-as").textContent = answer.asked_as ? `Understood as: ${answer.asked_as}` : "";
  byId("asked-as").hidden = !answer.asked_as;
  const disagreement = answer.conflict?.length ? [conflict(answer.conflict)] : [];
  byId("answer").replaceChildren(...(refused ? refusal(answer.refusal) : [sentences(answer), ...disagreement]));
  byId("account").textContent = account(answer);
  byId("sources-title").textContent = refused ? "Closest passages" : "Sources";
  byId("sources").replaceChildren(...passages.map((passage) => sourceCard(passage, !refused)));
  byId("sources").parentElement.hidden = passages.length === 0;
  // With room for both, the first source is worth showing at once; a sheet would cover the answer.
  if (refused || phone.matches || !passages.length) return closePassage();
  history.replaceState(null, "", addressOf(passages[0]));
  openAddress({ quietly: true });
}

function sentences({ sentences, citations }) {
  const byNumber = new Map(citations.map((citation) => [citation.number, citation]));
  const paragraph = element("p", { class: "answer-text" });
  for (const sentence of sentences) {
    const known = sentence.citations.filter((number) => byNumber.has(number));
    const links = known.map((number) => citationLink(byNumber.get(number)));
    paragraph.append(element("span", { class: "sentence" }, sentence.text, element("sup", {}, ...links)), " ");
  }
  return paragraph;
}

function citationLink(citation) {
  const label = `Citation ${citation.number}: ${titleOf(citation)}`;
  const attributes = { href: addressOf(citation), "data-citation": citation.number, "aria-label": label };
  return element("a", attributes, String(citation.number));
}

function conflict(numbers) {
  return element("p", { class: "conflict" }, `Your documents disagree: see sources ${numbers.join(" and ")}.`);
}

function refusal({ code, reason }) {
  const unasked = code === "unsafe_request" || code === "out_of_scope";
  const title = unasked ? "This is not answered here" : "Your documents don’t answer this";
  return [element("h2", { class: "refusal-title" }, title),
    element("p", { class: "refusal-reason" }, reason)];
}

function account({ searched, milliseconds, generator, model, flagged, refusal }) {
  if (refusal && !searched.documents && !searched.passages) return "Nothing was searched";
  const where = `${counted(searched.documents, "document")} and ${counted(searched.passages, "passage")}`;
  const paths = [...new Set(flagged.map((flag) => flag.path))];
  const skipped = paths.length ? ` · skipped suspected prompt injections in ${paths.join(", ")}` : "";
  const within = askedWithin ? ", narrowed down as requested," : "";
  return `Searched ${where}${within} in ${Math.round(milliseconds.total).toLocaleString("en")} ms · ${model ?? generator}${skipped}`;
}

function sourceCard(passage, numbered) {
  const card = element("a", { class: "card", href: addressOf(passage), "data-citation": passage.number },
    numbered ? element("span", { class: "card-number" }, String(passage.number)) : null,
    element("span", { class: "card-title" }, titleOf(passage)),
    element("span", { class: "card-place" }, passage.location?.label || ""),
    element("q", { class: "card-quote" }, passage.quote),
    element("span", { class: "facts" },
      element("span", { class: "path" }, passage.path), element("span", {}, `version ${passage.version}`)),
    elsewhere(passage));
  return element("li", {}, card);
}

/** Lists documents with the same file, or with nearly the same passage. */
function elsewhere({ also = [] }) {
  if (!also.length) return null;
  const said = (exact) => also.filter((other) => other.exact === exact).map((other) => other.path).join(", ");
  const parts = [said(true) && `same file: ${said(true)}`, said(false) && `much the same: ${said(false)}`];
  return element("span", { class: "facts path" }, parts.filter(Boolean).join(" · "));
}

/** A plain text file may have no title of its own. */
const titleOf = ({ title, path }) => title || path;

/** Links a card and its number: both are highlighted while either is hovered or focused. */
function lightCitation(event) {
  const number = event.target.closest?.("[data-citation]")?.dataset.citation;
  for (const node of document.querySelectorAll("[data-citation]")) {
    node.classList.toggle("is-lit", node.dataset.citation === number);
  }
}

// ---------------------------------------------------------------------------------------------------------
// Why these passages?

const LEGS = [["lexical", "words"], ["dense", "passage vector"], ["sentence", "best sentence"]];
const oneExplanation = latestOnly();

function forgetWhy() {
  oneExplanation.cancel();
  byId("why").open = false;
  byId("why-body").replaceChildren();
}

function explain() {
  if (!byId("why").open || byId("why-body").childElementCount) return;
  byId("why-body").replaceChildren(element("p", { class: "quiet" }, "Searching once more, with the scores …"));
  const body = { question: understoodAs, limit: 10, mode: "hybrid", filter: askedWithin, explain: true };
  oneExplanation.run((signal) => request("/v1/search", { body, signal }), {
    done: (found) => {
      for (const hit of found.hits) if (!cited.has(addressOf(hit))) cited.set(addressOf(hit), hit);
      byId("why-body").replaceChildren(...explanation(found));
    },
    failed: (problem) => byId("why-body").replaceChildren(element("p", { class: "notice" }, problem.message)),
  });
}

function explanation(found) {
  const account = element("dl", { class: "how" }, ...howFound(found));
  if (!found.hits.length) return [element("p", {}, "No passage shares a word or a meaning with the question."), account];
  const longest = Math.max(...found.hits.map((hit) => hit.score));
  return [element("p", { class: "verdict" }, verdict(found.hits[0])),
    element("p", { class: "quiet" }, "Each bar is a score, made up of what the rankings add to it. Below are the question’s "
      + "words in the passage: how often, and what each adds to BM25."),
    element("ol", { class: "hits" }, ...found.hits.map((hit) => explainedHit(hit, longest))),
    element("h2", { class: "overline" }, "How they were found"), account];
}

function explainedHit(hit, longest) {
  return element("li", {},
    element("div", { class: "hit-head" },
      element("a", { href: addressOf(hit) }, titleOf(hit)),
      element("span", { class: "hit-score" }, hit.score.toFixed(3))),
    element("span", { class: "card-place" }, hit.location?.label || ""),
    stackedBar(hit, longest), element("div", { class: "shares" }, ...LEGS.map(([leg, label]) => share(hit, leg, label))),
    element("p", { class: "terms" }, ...hit.reasons.terms.map(chip)),
    element("p", { class: "hit-quote" }, hit.text), elsewhere(hit), movement(hit));
}

/** Draws a passage's score to the scale of the best one. */
function stackedBar(hit, longest) {
  const said = LEGS.map(([leg, label]) => `${label} ${hit.reasons.shares[leg].toFixed(3)}`).join(", ");
  const frame = { class: "stack", viewBox: "0 0 100 10", preserveAspectRatio: "none", role: "img",
    "aria-label": `Score ${hit.score.toFixed(3)}: ${said}` };
  let from = 0;
  const pieces = LEGS.map(([leg]) => {
    const width = longest > 0 ? (100 * Math.max(0, hit.reasons.shares[leg])) / longest : 0;
    const piece = element("rect", { class: `bar-${leg}`, x: from, width: Math.max(0, width - 0.4), height: 10 });
    from += width;
    return piece;
  });
  return element("svg", frame, element("rect", { class: "bar-ground", width: 100, height: 10 }), ...pieces);
}

function share({ reasons, legs }, leg, label) {
  const rank = legs[leg]?.rank;
  return element("span", { class: "share" }, element("i", { class: `swatch swatch-${leg}`, "aria-hidden": "true" }),
    `${label} `, element("b", {}, reasons.shares[leg].toFixed(3)), rank ? ` ${ordinal(rank)}` : " not found");
}

const chip = ({ term, frequency, score }) =>
  element("span", { class: "chip" }, term, ` ×${frequency} `, element("b", {}, `+${score.toFixed(2)}`));

/** Lists facts about the search: access, index, rarity of the words, and time. */
function howFound({ searched, explanation: how, idf, milliseconds, reranking }) {
  const seen = (count) => `${counted(count.documents, "document")} and ${counted(count.passages, "passage")}`;
  const groups = how.groups.length ? `as ${how.groups.join(", ")}` : "without a group";
  const rare = Object.entries(idf).sort(([, one], [, other]) => other - one);
  const rows = [
    ["You may see", `${seen(searched)} of ${how.tenant}, ${groups}`],
    how.passed && ["Narrowed to", seen(how.passed)],
    ...how.accesses.filter(({ step }) => step === "find").map((access) =>
      [access.leg === "lexical" ? "Words" : "Vectors", served(access)]),
    ["Model", `${how.model}, index version ${how.index_version}`],
    reranking && ["Reranker", `${reranking.name}: ${counted(reranking.scored, "passage")} scored, ${reranking.moved} of these moved`],
    ["Rarity", rare.map(([term, value]) => `${term} ${value.toFixed(2)}`).join(" · ")],
    ["Time", Object.entries(milliseconds).map(([stage, spent]) => `${stage} ${spent.toFixed(1)} ms`).join(" · ")],
  ];
  return rows.filter(Boolean).flatMap(([name, said]) => [element("dt", {}, name), element("dd", {}, said)]);
}

function served({ leg, method, index, rows }) {
  const read = `${rows.toLocaleString("en")} ${leg === "lexical" ? "postings" : "vectors"}`;
  if (method === "exact") return `${read}, each compared with the question`;
  return `${read} by ${method === "HNSW" ? "the HNSW index" : "index"} ${index ?? ""}`.trim();
}

/** Explains in one sentence how fusion changed the first place. */
function verdict({ legs }) {
  const [words, vector] = [legs.lexical?.rank, legs.dense?.rank];
  if (words === 1 && vector === 1) return "Words and vectors agree: both put the first passage first.";
  const place = (rank) => (rank ? `would have put it ${ordinal(rank)}` : "would have missed it");
  if (vector === 1) return `Vectors alone also put the first passage first; words alone ${place(words)}.`;
  if (words === 1) return `Words put the first passage first; vectors alone ${place(vector)}.`;
  return `Only together do they put this passage first: vectors alone ${place(vector)}, words alone ${place(words)}.`;
}

/** Returns the passage's rank without fusion, or without the reranker. */
function movement({ rank, legs, reranked }) {
  const alone = reranked ? reranked.before : legs.dense?.rank;
  const gained = (alone ?? Infinity) - rank;
  const name = reranked ? "before the reranker" : "vectors alone";
  const label = alone ? `${name} ${ordinal(alone)}` : `${name} miss it`;
  const [kind, arrow] = gained > 0 ? ["is-up", "↑"] : gained < 0 ? ["is-down", "↓"] : ["is-level", "="];
  return element("span", { class: `movement ${kind}` }, `${arrow} here ${ordinal(rank)} · ${label}`);
}

// ---------------------------------------------------------------------------------------------------------
// The address of a passage

function addressOf({ document_id, start, end }) {
  return "#" + new URLSearchParams({ document: document_id, start, end });
}

/** Returns the passage that the address names, or null. */
function passageInAddress() {
  const fields = new URLSearchParams(location.hash.slice(1));
  if (!fields.get("document")) return null;
  const [start, end] = ["start", "end"].map((name) => Math.max(0, Number.parseInt(fields.get(name), 10) || 0));
  return { document_id: fields.get("document"), start, end, ...cited.get(location.hash) };
}

/** Follows a link to the open passage: the address does not change, so no event fires. */
function reopen(event) {
  const link = event.target.closest?.('a[href^="#document="]');
  if (link && !event.metaKey && !event.ctrlKey) opener = link;
  if (link?.getAttribute("href") === location.hash) openAddress();
}

function openAddress({ quietly = false } = {}) {
  const passage = passageInAddress();
  if (passage) openPassage(passage, { quietly });
  else putReaderAway();
}

function closePassage() {
  if (passageInAddress()) history.replaceState(null, "", location.pathname + location.search);
  putReaderAway();
}

// ---------------------------------------------------------------------------------------------------------
// The reader

const oneDocument = latestOnly();
let opener = null; // the link that opened the reader: the keyboard goes back to it

async function openPassage(passage, { quietly }) {
  revealReader();
  markCurrent(addressOf(passage));
  if (!quietly && phone.matches) byId("reader-close").focus();
  byId("reader-body").setAttribute("aria-busy", "true");
  await oneDocument.run((signal) => request(`/v1/documents/${encodeURIComponent(passage.document_id)}`, { signal }), {
    done: (stored) => showDocument(stored, passage, quietly),
    failed: (problem) => showMissingDocument(problem, passage),
  });
}

function revealReader() {
  document.body.classList.add("is-reading");
  fitReader();
}

/** On a narrow screen the reader is a dialog: the page behind it is disabled until it closes. */
function fitReader() {
  const sheet = phone.matches && document.body.classList.contains("is-reading");
  page.inert = sheet;
  for (const [name, value] of [["role", "dialog"], ["aria-modal", "true"]]) {
    if (sheet) reader.setAttribute(name, value);
    else reader.removeAttribute(name);
  }
}

function putReaderAway() {
  if (!document.body.classList.contains("is-reading")) return;
  const hadFocus = reader.contains(document.activeElement);
  oneDocument.cancel();
  document.body.classList.remove("is-reading");
  fitReader();
  markCurrent(null);
  if (hadFocus) (opener?.isConnected ? opener : byId("question")).focus();
}

function markCurrent(address) {
  for (const link of document.querySelectorAll('a[href^="#document="]')) {
    if (link.getAttribute("href") === address) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

function showDocument(stored, passage, quietly) {
  const marks = renderText(byId("reader-text"), stored, passage);
  byId("reader-title").textContent = titleOf(stored);
  byId("reader-facts").replaceChildren(...facts(stored));
  byId("reader-location").textContent = passage.location?.label || placeInBlocks(stored, passage.start);
  notify(staleness(stored, passage, marks));
  byId("reader-body").removeAttribute("aria-busy");
  for (const scroller of byId("reader-text").querySelectorAll(".table, pre")) {
    if (scroller.scrollWidth > scroller.clientWidth) scroller.tabIndex = 0; // else keys can't scroll it
  }
  scrollTo(marks[0]);
  if (!quietly) (marks[0] ?? byId("reader-body")).focus({ preventScroll: true });
}

function showMissingDocument(problem, passage) {
  byId("reader-title").textContent = passage.title ?? problem.title;
  for (const id of ["reader-facts", "reader-location", "reader-text"]) byId(id).replaceChildren();
  notify(problem.message);
  byId("reader-body").removeAttribute("aria-busy");
}

function facts({ path, version, ingested_at, readers }) {
  const day = new Date(ingested_at);
  const added = Number.isNaN(day.getTime()) ? "" : day.toLocaleDateString("en-GB", { dateStyle: "medium" });
  const badge = element("span", { class: readers.length ? "badge is-restricted" : "badge" }, readersLabel(readers));
  return [element("span", { class: "path" }, path), element("span", {}, `version ${version}`),
    ...(added ? [element("span", {}, `added ${added}`)] : []), badge];
}

function notify(sentence) {
  byId("reader-notice").textContent = sentence ?? "";
  byId("reader-notice").hidden = !sentence;
}

/** Returns a warning if the text has changed since the link was made. */
function staleness(stored, passage, marks) {
  if (passage.version && passage.version !== stored.version) {
    return `The quote is from version ${passage.version}; this is version ${stored.version}, so it may have moved.`;
  }
  if (passage.end <= passage.start || marks.length) return null;
  return "The passage this link points to is not in the document any more.";
}

function scrollTo(mark) {
  const body = byId("reader-body");
  if (!mark) return body.scrollTo({ top: 0 });
  // Not scrollIntoView: it would move the page behind the reader as well.
  const distance = mark.getBoundingClientRect().top - body.getBoundingClientRect().top;
  body.scrollTo({ top: body.scrollTop + distance - body.clientHeight / 3 });
}

// ---------------------------------------------------------------------------------------------------------
// A document's text as elements
//
// The service counts characters as Python does, in Unicode code points, while a JavaScript string counts
// UTF-16 units: one emoji would shift every offset after it. So the text is cut as an array of code points.

/** Draws the document into `target` and returns the marks that together cover [passage.start, passage.end). */
function renderText(target, { text, blocks }, passage) {
  const pen = markingPen(Array.from(text), passage);
  const drawn = [];
  let pageNumber = null;
  for (const block of blocks.length ? blocks : [{ kind: "code", start: 0, end: pen.length }]) {
    if (block.page && block.page !== pageNumber) {
      pageNumber = block.page;
      drawn.push(element("p", { class: "page-break" }, `Page ${pageNumber}`));
    }
    drawn.push((DRAW[block.kind] ?? DRAW.paragraph)(pen, block));
  }
  target.replaceChildren(...drawn);
  return pen.marks;
}

/** Cuts ranges out of the text and writes them into elements, with a <mark> around what the passage covers. */
function markingPen(points, passage) {
  const marks = [];
  const cut = (start, end) => points.slice(start, end).join("");
  function write(parent, start, end) {
    const within = (offset) => Math.min(Math.max(offset, start), end);
    const [from, to] = [within(passage.start), within(passage.end)];
    const mark = from < to ? element("mark", { tabindex: -1 }, cut(from, to)) : null;
    if (mark) marks.push(mark);
    parent.append(...[cut(start, from), mark, cut(Math.max(from, to), end)].filter(Boolean));
    return parent;
  }
  /** The [start, end) of each line that isn't blank. */
  function lines({ start, end }) {
    return pieces(cut(start, end), /\n/g, start).filter(([from, to]) => cut(from, to).trim());
  }
  return { length: points.length, marks, cut, write, lines };
}

/** The ranges between separators (of ASCII alone), as code point offsets counted from `start`. */
function pieces(text, separator, start) {
  const separators = [...text.matchAll(separator)].map(([found]) => found.length);
  return text.split(separator).map((piece, index) => {
    const end = start + Array.from(piece).length;
    const range = [start, end];
    start = end + (separators[index] ?? 0);
    return range;
  });
}

const CELL_BORDER = /(?:^| )\|(?: |$)/g; // an empty first or last cell leaves no space outside its border

const DRAW = {
  heading(pen, { start, end, level }) {
    const rank = Math.min(Math.max(level || 1, 1), 4);
    return pen.write(element(`h${rank + 2}`, { class: `level-${rank}` }), start, end); // below the page's own h1, h2
  },
  paragraph: (pen, { start, end }) => pen.write(element("p"), start, end),
  code: (pen, { start, end }) => element("pre", {}, pen.write(element("code"), start, end)),
  list: drawList,
  table: drawTable,
};

/** Lines that begin "- " or "1. " are items, deeper indents lists within them; another line continues its item. */
function drawList(pen, block) {
  const root = element("div", { class: "list" });
  const open = []; // the lists being written, outermost first: { indent, list }
  for (const [start, end] of pen.lines(block)) {
    const marker = /^(\s*)(?:[-*•]|(\d+)[.)])\s+/u.exec(pen.cut(start, end));
    const item = open.at(-1)?.list.lastElementChild;
    if (!marker && item) {
      item.append(" ");
      pen.write(item, start, end);
      continue;
    }
    const [whole, { length: indent }, number] = marker ?? ["", "", undefined];
    while (open.length > 1 && open.at(-1).indent > indent) open.pop();
    if (!open.length || open.at(-1).indent < indent) {
      const list = element(number ? "ol" : "ul");
      (item ?? root).append(list);
      open.push({ indent, list });
    }
    open.at(-1).list.append(pen.write(element("li", { value: number ?? null }), start + whole.length, end));
  }
  return root;
}

/** One row a line, cells joined by " | ", the first row the header. */
function drawTable(pen, block) {
  const rows = pen.lines(block).map(([start, end], index) => {
    const cell = () => (index ? element("td") : element("th", { scope: "col" }));
    const cells = pieces(pen.cut(start, end), CELL_BORDER, start).map(([from, to]) => pen.write(cell(), from, to));
    return element("tr", {}, ...cells);
  });
  const table = element("table", {}, element("thead", {}, ...rows.slice(0, 1)), element("tbody", {}, ...rows.slice(1)));
  return element("div", { class: "table" }, table);
}

/** `page 3 · Travel > Meals` for a link that came without a location. */
function placeInBlocks({ text, blocks }, start) {
  const points = Array.from(text);
  const before = blocks.filter((block) => block.start <= start);
  const path = [];
  for (const { level, ...heading } of before.filter((block) => block.kind === "heading" && block.end <= start)) {
    path.length = Math.min(path.length, level - 1);
    path.push(points.slice(heading.start, heading.end).join(""));
  }
  const pageNumber = before.at(-1)?.page;
  return [pageNumber ? `page ${pageNumber}` : "", path.join(" > ")].filter(Boolean).join(" · ");
}

// ---------------------------------------------------------------------------------------------------------
// Events

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = byId("question").value.trim();
  if (question) ask(question);
});
byId("question").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return; // Shift+Enter starts a new line
  event.preventDefault();
  byId("ask").requestSubmit();
});
byId("narrow").addEventListener("input", showNarrowing);
byId("narrow-clear").addEventListener("click", clearNarrowing);
byId("conversation-new").addEventListener("click", () => {
  startConversation();
  startAfresh();
  byId("question").focus();
});
byId("examples").addEventListener("click", (event) => {
  if (!event.target.matches("button")) return;
  ask(event.target.textContent.replace(/\s+/g, " ").trim());
  byId("question").focus(); // the button is about to disappear
});
byId("retry").addEventListener("click", () => (asked ? ask(asked) : start()));
byId("identity").addEventListener("change", changeIdentity);
byId("identity").addEventListener("submit", (event) => event.preventDefault());
byId("why").addEventListener("toggle", explain);
byId("reader-close").addEventListener("click", closePassage);
byId("scrim").addEventListener("click", closePassage);
for (const type of ["mouseover", "focusin"]) document.addEventListener(type, lightCitation);
document.addEventListener("click", reopen);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !event.isComposing) closePassage();
});
window.addEventListener("hashchange", () => openAddress());
phone.addEventListener("change", fitReader);

async function start() {
  try {
    await meetCaller();
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    return showProblem(problem);
  }
  show("empty");
  openAddress();
  if (!phone.matches && !passageInAddress()) byId("question").focus();
}

start();
