// The map: prototypes and tracks on the plane in which they vary most.

const SHAPES = {
  // Shape tells classes apart where colour does not.
  circle: (x, y, r) => `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`,
  square: (x, y, r) => `M${x - r} ${y - r}h${2 * r}v${2 * r}h${-2 * r}Z`,
  diamond: (x, y, r) => `M${x} ${y - 1.25 * r}l${1.25 * r} ${1.25 * r}l${-1.25 * r} ${1.25 * r}l${-1.25 * r} ${-1.25 * r}Z`,
};

export const colour = (index) => `var(--class-${index % 10})`;
export const swatch = (index) => h('span', { class: `swatch ${index >= 10 ? `striped-${Math.min(2, Math.floor(index / 10))}` : ''}`, '--colour': colour(index), 'aria-hidden': 'true' });

const svg = (tag, attributes, ...children) => {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('--')) element.style.setProperty(name, value);
    else if (value !== null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
};

/** Draw the map; `choose` is called with a prototype, and with whether it should be heard. */
export function drawMap(root, model, wrong, selected, choose) {
  const picture = svg('svg', { viewBox: `0 0 ${model.map.width} ${model.map.height}`, class: 'plane', role: 'listbox', 'aria-label': 'Prototypes on the map' });
  for (const point of model.points) {
    const [x, y] = point.place;
    picture.append(svg('path', { d: SHAPES.circle(x, y, 5), class: `track ${wrong.has(point.id) ? 'wrong' : ''}`, '--colour': colour(point.label), 'aria-hidden': 'true' }));
  }
  const goals = new Map();
  for (const prototype of model.prototypes) {
    const [x, y] = prototype.place;
    const shape = [SHAPES.circle, SHAPES.square, SHAPES.diamond][Math.min(2, Math.floor(prototype.label / 10))];
    const chosen = prototype.id === selected;
    const goal = svg(
      'g',
      { class: 'goal', role: 'option', tabindex: chosen ? '0' : '-1', 'aria-selected': String(chosen), 'aria-label': prototype.name, 'data-prototype': prototype.id },
      svg('path', { d: shape(x, y, 17), class: `prototype ${prototype.touched ? 'touched' : ''}`, '--colour': colour(prototype.label) }),
      svg('text', { x, y: y + 6, 'aria-hidden': 'true' }, prototype.name.slice(prototype.name.lastIndexOf(' ') + 1)),
    );
    goal.addEventListener('click', () => choose(prototype.id, false));
    goal.addEventListener('keydown', (event) => key(event, prototype));
    goals.set(prototype.id, goal);
    picture.append(goal);
  }

  function key(event, prototype) {
    if (event.key === 'Enter' || event.key === ' ') {
      event.preventDefault();
      choose(prototype.id, true);
      return;
    }
    const way = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key];
    if (!way) return;
    event.preventDefault();
    const next = nearest(model.prototypes, prototype, way);
    if (next) {
      choose(next.id, false);
      root.querySelector(`[data-prototype="${next.id}"]`)?.focus();
    }
  }

  root.replaceChildren(picture);
  if (!goals.has(selected)) goals.values().next().value?.setAttribute('tabindex', '0');
}

/** The prototype that lies in a direction, the straighter and the nearer the better. */
function nearest(prototypes, from, [dx, dy]) {
  let best = null;
  let least = Infinity;
  for (const other of prototypes) {
    const x = other.place[0] - from.place[0];
    const y = other.place[1] - from.place[1];
    const along = x * dx + y * dy;
    if (other.id === from.id || along <= 0) continue;
    const cost = along + 2.5 * Math.abs(x * dy - y * dx);
    if (cost < least) [best, least] = [other, cost];
  }
  return best;
}
