// What an edit would do, before it is done.

import { swatch } from './map.js';

const percent = (value) => `${fixed(100 * value, 1)} %`;
const points = (value) => signed(100 * value, 1);

/** An effect in a sentence, for people who do not know what a bootstrap is; the numbers stand behind. */
export function fareOf(effect) {
  const [before, after] = effect.accuracy;
  const [low, high] = effect.interval_95;
  if (!effect.changed.length) return `No label changes: ${percent(after)} of ${effect.num_tracks} tracks are right, on average over the classes.`;
  return `Accuracy ${percent(before)} → ${percent(after)} (${points(effect.difference)} points; between ${points(low)} and ${points(high)} with 95 % certainty); ${effect.changed.length} of ${effect.num_tracks} tracks change their label.`;
}

/** Recalls that change, tracks that change, and calibration. */
export function effectDetails(effect, labels) {
  const moved = Object.entries(effect.recalls).filter(([, [before, after]]) => before !== after);
  const verdicts = { right: 'right now', wrong: 'wrong now', other: 'wrong as before' };
  return h(
    'div',
    {},
    moved.length
      ? h(
          'table',
          { class: 'classes' },
          h('caption', {}, 'Tracks of each class that are heard as it'),
          h('tbody', {}, moved.map(([label, [before, after]]) => h('tr', {}, h('th', { scope: 'row' }, swatch(Math.max(0, labels.indexOf(label))), label), h('td', { class: 'figure' }, `${percent(before)} → ${percent(after)}`)))),
        )
      : null,
    effect.changed.length
      ? h('details', { open: effect.changed.length <= 12 }, h('summary', {}, `The ${effect.changed.length} tracks that change`), h('ul', { class: 'changes' }, effect.changed.map((change) => h('li', {}, h('bdi', {}, change.name), `: ${change.before} → ${change.after} (${verdicts[change.verdict]})`))))
      : null,
    h('p', { class: 'hint' }, `Calibration error ${fixed(effect.calibration_error[0], 3)} → ${fixed(effect.calibration_error[1], 3)}: how far scores lie from the share that is right.`),
  );
}

/** How accuracy holds as the least missed prototypes go one by one. */
export function curvePicture(curve) {
  const ns = 'http://www.w3.org/2000/svg';
  const low = Math.min(-0.01, ...curve.map((point) => point.interval[0]));
  const high = Math.max(0.01, ...curve.map((point) => point.interval[1]));
  const y = (value) => 15 + ((high - value) / (high - low)) * 150;
  const x = (index) => 60 + (index + 0.5) * (560 / curve.length);
  const picture = document.createElementNS(ns, 'svg');
  const add = (tag, attributes, text) => {
    const element = document.createElementNS(ns, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text !== undefined) element.textContent = text;
    picture.append(element);
  };
  picture.setAttribute('viewBox', '0 0 640 200');
  picture.setAttribute('class', 'curve');
  picture.setAttribute('role', 'img');
  picture.setAttribute('aria-label', 'Change of accuracy with its interval as prototypes are taken out');
  add('line', { x1: 60, x2: 620, y1: y(0), y2: y(0), class: 'zero' });
  add('text', { x: 4, y: y(0) + 4 }, '0');
  add('text', { x: 4, y: y(low) + 4 }, points(low));
  curve.forEach((point, index) => {
    add('line', { x1: x(index), x2: x(index), y1: y(point.interval[0]), y2: y(point.interval[1]), class: `range ${point.falls ? 'falls' : ''}` });
    add('circle', { cx: x(index), cy: y(point.difference), r: 4 });
    add('text', { x: x(index) - 5, y: 192 }, String(index + 1));
  });
  return picture;
}
