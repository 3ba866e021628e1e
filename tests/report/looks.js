// What is wrong with the looks of a page, as a list of sentences.
(() => {
  const found = [];
  const say = (...words) => found.push(words.join(" ").slice(0, 160));
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > width) say("the page is", document.documentElement.scrollWidth, "px wide");
  const seen = (e) => e.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true });
  const meet = (a, b, by) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > by
    && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > by;
  // drawings: no text over text, over marks or beyond the edge
  for (const svg of document.querySelectorAll("svg")) {
    if (!seen(svg)) continue;
    const name = (svg.getAttribute("aria-label") || svg.getAttribute("class") || "").slice(0, 40);
    const frame = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll("text")].filter(seen).map((e) => {
      const m = e.getCTM();
      const turn = Math.abs(Math.round(Math.atan2(m.b, m.a) * 180 / Math.PI));
      return { words: e.textContent, box: e.getBoundingClientRect(), slanted: turn % 90 !== 0, line: e.classList.contains("along") };
    });
    for (const [i, one] of texts.entries()) {
      const b = one.box;
      if (b.left < frame.left - 1 || b.right > frame.right + 1 || b.top < frame.top - 1 || b.bottom > frame.bottom + 1)
        say("cut:", JSON.stringify(one.words), "in", name);
      if (one.slanted) continue;
      for (const other of texts.slice(i + 1))
        if (!other.slanted && meet(b, other.box, 1))
          say("text over text:", JSON.stringify(one.words), JSON.stringify(other.words), "in", name);
    }
    for (const mark of svg.querySelectorAll(".mark")) {
      const box = mark.getBoundingClientRect();
      const inner = { left: box.left + 1, right: box.right - 1, top: box.top + 1, bottom: box.bottom - 1 };
      for (const one of texts) if (!one.slanted && meet(one.box, inner, 1)) say("mark over", JSON.stringify(one.words), "in", name);
    }
  }
  // words: whole, and whole in their boxes
  const walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const parent = node.parentElement;
    if (!parent || parent.closest("svg, script, style, template, pre, code") || !seen(parent)) continue;
    for (const word of node.data.matchAll(/\S+/gu)) {
      if (word[0].length > 12 || /[-–/]/.test(word[0])) continue; // longer ones may break; after a hyphen all may
      const range = document.createRange();
      range.setStart(node, word.index);
      range.setEnd(node, word.index + word[0].length);
      const lines = new Set([...range.getClientRects()].map((r) => Math.round(r.top)));
      if (lines.size > 1) say("broken word:", JSON.stringify(word[0]), "in", parent.tagName, parent.parentElement.className);
    }
  }
  for (const e of document.querySelectorAll("main *")) {
    if (e.closest("svg") || !seen(e)) continue;
    const style = getComputedStyle(e);
    const clipped = style.overflowX === "hidden" || style.overflowX === "clip";
    if (clipped && e.scrollWidth > e.clientWidth + 1) say("cut:", e.tagName, e.textContent.slice(0, 40));
    if (style.overflowX === "visible" && !["inline", "table-row", "contents"].includes(style.display)) {
      const box = e.getBoundingClientRect();
      if (box.right > width + 1 && !e.closest(".scroll, .gallery, .drawing, pre")) say("beyond the edge:", e.tagName, e.textContent.slice(0, 40));
    }
  }
  if (width >= 1280)
    for (const box of document.querySelectorAll(".scroll, .drawing, .gallery"))
      if (box.scrollWidth > box.clientWidth + 1) say(box.className, "needs", box.scrollWidth, "px of", box.clientWidth, "in", box.closest("section").id);
  // contrast of all text, against the nearest ground
  const channels = (colour) => (colour.match(/[\d.]+/g) || []).map(Number);
  const light = (colour) => {
    const [r, g, b] = channels(colour).map((c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      const alpha = channels(colour)[3];
      if (alpha === undefined || alpha > 0.5) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const pairs = new Map();
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || !seen(e) || e.closest("script, style, title, .count")) continue;
    const style = getComputedStyle(e);
    const ink = e.closest("svg") ? style.fill : style.color;
    pairs.set(ink + " on " + ground(e), [ink, ground(e), e]);
  }
  for (const [ink, paper, e] of pairs.values()) {
    const [a, b] = [light(ink), light(paper)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) say("contrast", ratio.toFixed(2), "of", e.tagName, e.className.baseVal ?? e.className, JSON.stringify(e.textContent.trim().slice(0, 30)));
  }
  return [...new Set(found)];
})()
