"use strict";
// Tables: sort by a heading, find a class.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, place) => head.querySelector("button").addEventListener("click", () => {
    const descending = head.getAttribute("aria-sort") ? head.getAttribute("aria-sort") === "ascending"
      : head.classList.contains("right");
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const key = (row) => {
      const cell = row.cells[place];
      if (cell.dataset.v === undefined) return cell.textContent.trim();
      return cell.dataset.v === "" ? null : Number(cell.dataset.v);
    };
    const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b
      : String(a).localeCompare(String(b), undefined, { numeric: true }));
    const rows = [...body.rows].map((row, i) => [key(row), i, row]);
    rows.sort((a, b) => {
      if (a[0] === null || b[0] === null) return (a[0] === null) - (b[0] === null) || a[1] - b[1]; // unknown comes last
      return (descending ? -1 : 1) * compare(a[0], b[0]) || a[1] - b[1];
    });
    body.append(...rows.map((row) => row[2]));
  }));
  const box = table.closest("section").querySelector(".search input");
  if (box) box.addEventListener("input", () => {
    const wanted = box.value.trim().toLowerCase();
    let shown = 0;
    for (const row of body.rows) {
      row.hidden = wanted !== "" && !row.cells[0].textContent.toLowerCase().includes(wanted);
      shown += !row.hidden;
    }
    box.parentElement.querySelector("output").value = wanted ? `${shown} of ${body.rows.length}` : "";
  });
}
// Maps that are drawn only when they are asked for: thousands at once would make the page slow.
const held = new Map();
for (const data of document.querySelectorAll("script.held")) {
  const section = data.closest("section");
  const gallery = section.querySelector(".gallery");
  const frame = section.querySelector("template.frame");
  const own = [];
  for (const [key, name, facts, alt, picture] of JSON.parse(data.textContent)) {
    own.push(key);
    held.set(key, () => {
      const figure = document.createElement("figure");
      figure.id = key;
      figure.className = "late";
      const caption = figure.appendChild(document.createElement("figcaption"));
      caption.appendChild(document.createElement("b")).textContent = name;
      caption.appendChild(document.createElement("span")).textContent = facts;
      const svg = figure.appendChild(frame.content.firstElementChild.cloneNode(true));
      svg.setAttribute("aria-label", alt);
      svg.querySelector("image").setAttribute("href", picture);
      gallery.append(figure);
      held.delete(key);
    });
  }
  const more = section.querySelector("[data-more]");
  more.addEventListener("click", () => {
    const waiting = () => own.filter((key) => held.has(key));
    for (const key of waiting().slice(0, 200)) held.get(key)();
    const left = waiting().length;
    if (left) more.textContent = `Show ${Math.min(200, left)} more of ${left} maps`;
    else more.parentElement.remove();
  });
}
function show() {
  const key = decodeURIComponent(location.hash.slice(1));
  if (!held.has(key)) return;
  held.get(key)();
  document.getElementById(key).scrollIntoView({ block: "center" });
  document.getElementById(key).classList.add("asked");
}
addEventListener("hashchange", show);
show();
