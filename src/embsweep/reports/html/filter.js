// Shows the queries of the list whose text and slice contain all words of the input.
const input = document.getElementById("query-filter");
if (input) {
  const rows = [...document.querySelectorAll("#query-list tbody tr")];
  const texts = rows.map((row) =>
    [...row.querySelectorAll("td:not(.n)")].map((cell) => cell.textContent.toLowerCase()).join(" "),
  );
  const count = document.getElementById("query-count");
  input.hidden = false;
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, index) => {
      row.hidden = !words.every((word) => texts[index].includes(word));
      shown += !row.hidden;
    });
    count.textContent = `${shown.toLocaleString("en")} of ${rows.length.toLocaleString("en")} shown`;
  });
}
