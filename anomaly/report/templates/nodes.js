// Making nodes: texts from outside go into a page as text, never as markup. Shared by the report and the pages of `serve`.
const byId = (id) => document.getElementById(id);
const share = (x) => x === null || x === undefined ? "–" : `${+(100 * x).toPrecision(2)} %`;

function make(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}
function draw(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}
