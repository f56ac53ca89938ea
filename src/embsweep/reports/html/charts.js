// Replaces each static picture by Vega's interactive view once it comes into sight. Without eval: `ast` makes Vega
// interpret its expressions.
const narrowest = 300;

async function show(figure) {
  const picture = figure.querySelector(".picture");
  const spec = JSON.parse(figure.querySelector("script").textContent);
  const isLite = spec.$schema.includes("vega-lite");
  const room = Math.max(narrowest, Math.floor(picture.clientWidth));
  if (isLite && typeof spec.width === "number") spec.width = "container";
  const own = (spec.signals || []).find((signal) => signal.name === "width");
  if (!isLite && own) own.value = Math.max(own.bind_min || 0, figure.dataset.width || 0, room);
  else if (!isLite && typeof spec.width === "number") spec.width = Math.max(figure.dataset.width || 0, room);
  const view = document.createElement("div");
  view.className = "view";
  picture.append(view);
  try {
    await vegaEmbed(view, spec, {
      mode: isLite ? "vega-lite" : "vega",
      renderer: "svg",
      ast: true,
      actions: false,
      defaultStyle: false,
    });
    picture.querySelector(":scope > svg").remove();
    figure.dataset.state = "interactive";
  } catch (error) {
    view.remove();
    figure.dataset.state = "static";
    console.error(error);
  }
}

const observer = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      observer.unobserve(entry.target);
      show(entry.target);
    }
  },
  { rootMargin: "200px" },
);
for (const figure of document.querySelectorAll("figure.chart")) observer.observe(figure);
