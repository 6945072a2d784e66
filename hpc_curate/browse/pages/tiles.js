// Tiles of playing videos. What comes from data reaches the page as text and attributes only, never as markup.

const PLAYS = 0.4; // of a tile that must be visible for it to play
// Tiles that begin to load at once. A browser has six connections, what it cannot play is made while it waits for it,
// and the page itself needs some.
const AT_ONCE = 4;

const waiting = [];
let loading = 0;

function next() {
  while (loading < AT_ONCE && waiting.length) {
    const begin = waiting.shift();
    if (begin()) loading += 1;
  }
}

// When it is its turn, `begin(done)` starts something that calls `done` when it has come or failed.
function inTurn(frame, begin) {
  waiting.push(() => {
    if (!frame.isConnected) return false;
    let open = true;
    begin(() => {
      if (!open) return;
      open = false;
      loading -= 1;
      next();
    });
    return true;
  });
  queueMicrotask(next);
}

function make(kind, name, parent, text) {
  const made = document.createElement(kind);
  made.className = name;
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

// The seconds that are meant: of the source's own; what was made for browsers holds nothing else.
function span(video, one) {
  const made = video.currentSrc.includes("/playable/");
  return made ? [0, Infinity] : [one.start ?? 0, one.end ?? Infinity];
}

function player(one, frame, seen) {
  const video = make("video", "look-video", frame);
  video.muted = true;
  video.playsInline = true;
  video.preload = "metadata";
  video.controls = one.controls;
  video.setAttribute("aria-label", one.title);
  const back = () => { video.currentTime = span(video, one)[0]; };
  const again = () => { back(); video.play().catch(() => {}); };
  video.addEventListener("loadedmetadata", back);
  video.addEventListener("ended", again);
  video.addEventListener("timeupdate", () => {
    const [start, end] = span(video, one);
    if (video.currentTime >= end || video.currentTime < start - 0.5) again();
  });
  inTurn(frame, (done) => {
    video.poster = one.poster;
    for (const [address, type] of one.sources) {
      const source = make("source", "", video);
      source.src = address;
      source.type = type;
    }
    video.addEventListener("loadeddata", done);
    video.addEventListener("emptied", done); // it was taken out of the page
    const made = video.lastChild;
    const failed = () => { frame.dataset.silent = "yes"; done(); };
    if (made) made.addEventListener("error", failed);
    else failed();
    // What is damaged begins well and fails later, when a browser looks at no other source by itself.
    video.addEventListener("error", () => {
      if (video.childElementCount < 2) {
        failed();
        return;
      }
      video.replaceChildren(made);
      video.load();
      seen.unobserve(video); // which plays it again, if it is in sight
      seen.observe(video);
    });
    seen.observe(video);
  });
}

function tile(one, grid, seen, tell) {
  const figure = make("figure", "look-tile", grid);
  figure.dataset.id = one.id;
  const frame = make("div", "look-frame", figure);
  player(one, frame, seen);
  const sorry = make("div", "look-sorry", frame, one.absent ?? "no browser plays this");
  if (!one.absent) {
    const download = make("a", "", sorry, "download");
    download.href = one.download;
    download.setAttribute("download", "");
  }
  if (one.verdicts) {
    const marks = make("div", "look-marks", frame);
    for (const [verdict, sign] of [["accept", "✓"], ["reject", "✕"]]) {
      const button = make("button", `look-${verdict}`, marks, sign);
      button.title = verdict;
      button.addEventListener("click", () => tell("judged", { id: one.id, verdict, at: Date.now() }));
    }
  }
  const label = make("figcaption", "look-label", figure);
  const title = make(one.opens ? "button" : "span", "look-title", label, one.title);
  title.title = one.title;
  if (one.opens) title.addEventListener("click", () => tell("opened", one.id));
  make("span", "look-note", label);
  refresh(figure, one);
}

function refresh(figure, one) {
  figure.dataset.state = one.state ?? "";
  figure.dataset.verdict = one.verdict ?? "";
  figure.querySelector(".look-note").textContent = one.note ?? "";
}

const watching = new WeakMap();

export default function ({ data, parentElement, setTriggerValue }) {
  const grid = parentElement.querySelector(".look-tiles");
  grid.dataset.columns = data.columns;
  const shown = data.tiles.map((one) => one.id).join(" ");
  if (grid.dataset.shown === shown) {
    // Another run of the page's script: what plays goes on.
    data.tiles.forEach((one, at) => refresh(grid.children[at], one));
    return;
  }
  watching.get(grid)?.disconnect();
  const seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) target.play().catch(() => {});
      else target.pause();
    }
  }, { threshold: PLAYS });
  watching.set(grid, seen);
  // A video that is only taken out of the page keeps its connection, of which a browser has six.
  for (const old of grid.querySelectorAll("video")) {
    old.replaceChildren();
    old.load();
    old.dispatchEvent(new Event("emptied"));
  }
  grid.replaceChildren();
  grid.dataset.shown = shown;
  for (const one of data.tiles) tile(one, grid, seen, setTriggerValue);
}
