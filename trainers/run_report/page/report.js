"use strict";
(() => {
  const cards = [...document.querySelectorAll("details.card")];
  if (!cards.length) return;
  const box = document.getElementById("wanted");
  const matches = document.getElementById("matches");
  const texts = cards.map((card) => card.textContent.toLowerCase());
  const seen = () => cards.filter((card) => !card.hidden);

  const filter = () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    cards.forEach((card, at) => {
      card.hidden = !words.every((word) => texts[at].includes(word));
    });
    matches.textContent = `${seen().length} of ${cards.length}`;
  };

  const move = (by) => {
    const left = seen();
    if (!left.length) return;
    const here = left.findIndex((card) => card.contains(document.activeElement));
    const next = here < 0 ? 0 : Math.min(Math.max(here + by, 0), left.length - 1);
    const summary = left[next].querySelector("summary");
    summary.focus();
    summary.scrollIntoView({ block: "nearest" });
  };

  const keys = { "/": () => box.focus(), j: () => move(1), k: () => move(-1) };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.target === box) {
      if (event.key === "Escape") {
        box.value = "";
        filter();
        box.blur();
      }
      return;
    }
    if (Object.hasOwn(keys, event.key)) {
      event.preventDefault();
      keys[event.key]();
    }
  });
  box.addEventListener("input", filter);
  const open = (wide) => seen().forEach((card) => { card.open = wide; });
  document.getElementById("open-all").addEventListener("click", () => open(true));
  document.getElementById("close-all").addEventListener("click", () => open(false));
  document.getElementById("finder").hidden = false;
  filter();
})();
