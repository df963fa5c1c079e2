// One prototype: its sounds, what is near it, what it says, what hangs on it, and what can be done to it.

import { swatch } from './map.js';
import { act, look } from './server.js';
import { listen, soundOf } from './sound.js';

const SEEDS = [0, 1, 2, 3];
let shown = null; // {id, revision} of what stands there

/** Draw the chosen prototype; `heard`: play it as soon as it can be. */
export async function drawPrototype(root, app, heard = false) {
  const prototype = app.model.prototypes.find((one) => one.id === app.prototype);
  if (!prototype) {
    root.replaceChildren(h('p', {}, 'Choose a prototype on the map.'));
    return;
  }
  const { revision } = app.model;
  if (!heard && shown !== null && shown.id === prototype.id && shown.revision === revision) return;
  shown = { id: prototype.id, revision };
  const current = () => shown !== null && shown.id === prototype.id && shown.revision === revision;
  const sounds = h('div', { class: 'sounds' });
  const near = h('div', {});
  fill(
    root,
    h('h3', { id: 'prototype-name' }, swatch(prototype.label), prototype.name, ...flags(prototype, app)),
    sounds,
    h('p', { id: 'prototype-facts' }, facts(prototype, app)),
    near,
    weights(prototype, app),
    app.editable() ? edits(prototype, app) : null,
  );
  await app.guarded(async () => {
    const made = await Promise.all([...SEEDS].reverse().map((seed) => act('sounds', { prototype: prototype.id, seed })));
    if (!current()) return;
    made.reverse();
    sounds.replaceChildren(
      ...SEEDS.map((seed, k) => {
        const place = soundOf(made[k].sound, `${prototype.name}, seed ${seed}`);
        if (heard && k === 0) {
          const start = () => current() && place.querySelector('.sound')?.click();
          if (place.querySelector('.sound')) start();
          else place.addEventListener('made', start);
        }
        return h('figure', {}, place, h('figcaption', {}, `seed ${seed}`));
      }),
    );
    const about = await look(`prototypes/${prototype.id}`);
    if (current()) near.replaceChildren(...surroundings(prototype, about, app));
  });
}

function flags(prototype, app) {
  const found = [];
  if (prototype.dead) found.push('closest to nothing');
  if (prototype.harmful) found.push('more are right without it');
  if (prototype.twins.length) found.push(`twin of ${prototype.twins.map(app.named).join(', ')}`);
  if (prototype.touched) found.push('edited');
  return found.map((text) => h('span', { class: 'flag' }, text));
}

function facts(prototype, app) {
  const { decisions, wins, purity } = prototype;
  return (
    `${decisions} ${decisions === 1 ? 'decision hangs' : 'decisions hang'} on it: so many tracks get another label without it. ` +
    `It is the closest to ${wins} of ${app.model.num_segments} training segments; ${fixed(100 * purity, 0)} % of those nearest to it are ${app.model.labels[prototype.label]}.`
  );
}

const moment = (seconds) => (seconds === null || seconds === undefined ? '' : ` ${clock(seconds)}`);

function surroundings(prototype, about, app) {
  const nearest = about.nearest.map((near) => {
    const name = `${near.track}${moment(near.start)}`;
    return h(
      'li',
      {},
      swatch(near.label),
      h('bdi', {}, name),
      ` (${app.model.labels[near.label]}, similarity ${fixed(near.similarity)})`,
      listen(`${name} as the model decodes it`, { segment: near.segment }),
      app.editable() ? h('button', { type: 'button', class: 'quiet small', onclick: () => app.preview({ kind: 'move', prototype: prototype.id, places: [{ segment: near.segment }] }) }, 'Move it here…') : null,
    );
  });
  const places = about.nearest.map(({ segment }) => ({ segment }));
  return [
    h('h3', {}, 'Nearest segments'),
    h('ol', { class: 'near', id: 'nearest' }, nearest),
    app.editable() && places.length > 1
      ? h('button', { type: 'button', class: 'quiet small', onclick: () => app.preview({ kind: 'move', prototype: prototype.id, places }) }, 'Move it to their middle…')
      : null,
    about.known.length
      ? h('details', {}, h('summary', {}, 'Nearest when it was trained'), h('ol', { class: 'near' }, about.known.map((near) => h('li', {}, h('bdi', {}, `${near.track}${moment(near.offset)}`), ` (${app.model.labels[near.label]})`))))
      : null,
    about.hanging.length
      ? h('details', {}, h('summary', {}, `Tracks that hang on it (${about.hanging.length})`), h('ul', { class: 'near' }, about.hanging.map((track) => h('li', {}, h('button', { type: 'button', class: 'quiet small', onclick: () => app.openTrack(track.id) }, h('bdi', {}, track.name)), ` would be ${app.model.labels[track.without]}`))))
      : null,
  ].filter((part) => part !== null);
}

function weights(prototype, app) {
  const largest = Math.max(...prototype.weights.map(Math.abs), 1e-9);
  const rows = prototype.weights.map((value, c) => {
    const label = app.model.labels[c];
    const input = h('input', { type: 'number', step: 'any', value: Number(value.toPrecision(4)), 'aria-label': `What ${prototype.name} gives to ${label}`, disabled: !app.editable() });
    input.addEventListener('change', () => app.preview({ kind: 'set weight', prototype: prototype.id, label, weight: Number(input.value) }));
    return h('tr', {}, h('th', { scope: 'row' }, swatch(c), label), h('td', { class: 'bar' }, h('span', { class: value < 0 ? 'below' : '', '--value': Math.abs(value) / largest, '--colour': value < 0 ? 'var(--minus)' : 'var(--plus)' })), h('td', { class: 'figure' }, input));
  });
  return h('details', { class: 'weights' }, h('summary', {}, 'What it gives to each class (weights)'), h('table', { class: 'ledger' }, h('tbody', {}, rows)));
}

function choice(id, items, name) {
  return h('select', { id, 'aria-label': name }, items.map(([value, text]) => h('option', { value }, text)));
}

function edits(prototype, app) {
  const others = app.model.prototypes.filter((one) => one.id !== prototype.id);
  const twin = choice('merge-with', others.map((one) => [one.id, one.name]), 'Merge with');
  const label = choice('new-class', app.model.labels.filter((_, c) => c !== prototype.label).map((name) => [name, name]), 'Make it a prototype of');
  const own = app.model.labels[prototype.label];
  const name = h('input', { id: 'new-name', size: 12, placeholder: own, 'aria-label': `A new name for the class ${own}` });
  const button = (id, text, edit) => h('button', { type: 'button', class: 'quiet small', id, onclick: () => app.preview(edit()) }, text);
  return h(
    'div',
    { id: 'edits' },
    h('h3', {}, 'Edit'),
    h('div', { class: 'row' }, button('remove', 'Remove…', () => ({ kind: 'remove', prototype: prototype.id }))),
    h('div', { class: 'row' }, button('merge', 'Merge…', () => ({ kind: 'merge', prototypes: [prototype.id, Number(twin.value)] })), ' with ', twin),
    h('div', { class: 'row' }, button('change-class', 'Give to…', () => ({ kind: 'change class', prototype: prototype.id, label: label.value })), ' ', label),
    h('div', { class: 'row' }, button('rename', `Rename ${own}…`, () => ({ kind: 'rename class', label: own, name: name.value })), name),
  );
}
