// On a phone a wide picture keeps its size and scrolls in a box of its own, so that its labels can be read. Others are shrunk.
for (const picture of document.querySelectorAll(".md-typeset img")) {
  const box = document.createElement("span");
  box.className = "picture";
  picture.replaceWith(box);
  box.append(picture);
  addEventListener("load", () => box.classList.toggle("wide", picture.naturalWidth > 700));
}

// A keyboard can scroll a table or a picture that is wider than the page. The theme wraps tables when it starts.
addEventListener("load", () => {
  for (const box of document.querySelectorAll(".md-typeset__scrollwrap, .picture")) if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
});

// A board sorts by the column whose heading is clicked, and shows the rows with the chosen values. Without a script it is a plain table.
const numberIn = (text) => parseFloat((text.match(/-?\d+(\.\d+)?/) || [""])[0]);
const compared = (first, second, column) => {
  const [one, other] = [first, second].map((row) => row.cells[column].textContent.trim());
  if (!one || !other) return one ? -1 : other ? 1 : 0; // what was not measured comes last
  const [number, against] = [one, other].map(numberIn);
  return isNaN(number) || isNaN(against) ? one.localeCompare(other) : number - against;
};
for (const board of document.querySelectorAll(".board")) {
  const [headings, body] = [board.querySelectorAll("thead th"), board.querySelector("tbody")];
  const rows = [...body.rows], filters = [];
  headings.forEach((heading, column) => {
    const name = heading.textContent.trim();
    const button = document.createElement("button");
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const down = heading.getAttribute("aria-sort") === "ascending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const sorted = [...rows].sort((first, second) => compared(first, second, column));
      const empty = sorted.filter((row) => !row.cells[column].textContent.trim());
      const measured = sorted.slice(0, sorted.length - empty.length);
      body.append(...(down ? measured.reverse() : measured), ...empty);
    });
    if (!(board.dataset.filters || "").split(" ").includes(name)) return;
    const choice = document.createElement("select");
    choice.setAttribute("aria-label", `Show rows by ${name}`);
    choice.append(new Option("all", ""), ...[...new Set(rows.map((row) => row.cells[column].textContent.trim()))].map((value) => new Option(value)));
    choice.addEventListener("change", () => rows.forEach((row) => {
      row.hidden = filters.some(([select, at]) => select.value && row.cells[at].textContent.trim() !== select.value);
    }));
    filters.push([choice, column]);
    heading.append(choice);
  });
}
