// Tracks: the list, and the one that is open with its timeline, its reasons and its way to another class.

import { colour, swatch } from './map.js';
import { act, look } from './server.js';
import { play, plays, listen, soundOf, stop } from './sound.js';

const KEPT = {
  all: () => true,
  opened: (row) => row.true === null,
  wrong: (row) => row.wrong,
  unsure: (row) => row.unsure,
  changed: (row) => row.changed,
};
// Rows that are drawn at once.
const MOST = 300;

export function drawTracks(root, filter, count, app) {
  const rows = app.tracks.filter(KEPT[filter]);
  count.textContent = `${rows.length} of ${app.tracks.length}${rows.length > MOST ? `, the first ${MOST} shown` : ''}`;
  const focused = document.activeElement?.dataset?.track;
  const buttons = rows.slice(0, MOST).map((row) => {
    const said = row.state === 'reading' ? 'being read…' : row.state === 'failed' ? row.problem : `${row.label} ${fixed(row.score)}`;
    const marks = [row.wrong ? `is ${row.true}` : null, row.unsure ? 'unsure' : null, row.changed ? 'changed' : null].filter(Boolean);
    return h(
      'button',
      { type: 'button', 'data-track': row.id, 'aria-current': String(row.id === app.track), disabled: row.state !== 'ready', onclick: () => app.openTrack(row.id) },
      h('span', { class: 'name' }, h('bdi', {}, row.name)),
      h('span', {}, row.label === null ? null : swatch(app.model.labels.indexOf(row.label)), said),
      marks.length ? h('span', { class: row.wrong ? 'wrong' : 'light' }, marks.join(', ')) : null,
    );
  });
  buttons.forEach((button, index) => {
    button.addEventListener('keydown', (event) => {
      const next = { ArrowDown: index + 1, ArrowUp: index - 1, Home: 0, End: buttons.length - 1 }[event.key];
      if (next === undefined) return;
      event.preventDefault();
      buttons[Math.max(0, Math.min(buttons.length - 1, next))].focus();
    });
  });
  root.replaceChildren(...buttons.map((button) => h('li', {}, button)));
  if (focused !== undefined) buttons.find((button) => button.dataset.track === focused)?.focus();
}

let asked = 0;

export async function drawTrack(root, app) {
  const mine = ++asked;
  const row = app.tracks.find((one) => one.id === app.track);
  if (!row || row.state !== 'ready') {
    root.replaceChildren();
    return;
  }
  await app.guarded(async () => {
    const track = await look(`tracks/${app.track}`);
    if (mine !== asked) return;
    app.segment = Math.min(app.segment, track.segments.length - 1);
    const kept = root.querySelector('.walk-place');
    const same = root.dataset.track === track.id && root.dataset.revision === String(app.model.revision);
    const focused = document.activeElement?.dataset?.segment;
    const walkPlace = same && kept ? kept : h('div', { class: 'walk-place' });
    root.dataset.track = track.id;
    root.dataset.revision = app.model.revision;
    fill(root, title(track, app), strip(track, app), segmentPanel(track, app), walkControls(track, app, walkPlace), walkPlace, reasons(track, app));
    if (focused !== undefined) root.querySelector(`[data-segment="${focused}"]`)?.focus();
  });
}

function title(track, app) {
  const wrong = track.true !== null && track.true !== track.label;
  const [label, score] = track.scores[0];
  const second = track.scores[1];
  return h(
    'div',
    {},
    h('h3', { id: 'track-name' }, h('bdi', {}, track.name)),
    h('p', {}, swatch(app.model.labels.indexOf(label)), h('strong', { id: 'track-label' }, label), `, score ${fixed(score)}`, second ? `; then ${second[0]}, ${fixed(second[1])}` : '', '.', wrong ? ` It is labelled ${track.true}.` : '', ...track.notes.map((note) => ` It ${note}.`)),
  );
}

/** What plays a segment: the file where there is one, and else z decoded. */
function playSegment(track, s, element) {
  const { start, seconds } = track.segments[s];
  if (plays(element)) stop();
  else play({ url: `tracks/${track.id}/sound`, start, end: start + seconds, element });
}

function strip(track, app) {
  const list = h('ol', { class: 'strip', 'aria-label': 'Segments' });
  track.segments.forEach((segment, s) => {
    const button = h(
      'button',
      { type: 'button', tabindex: s === app.segment ? '0' : '-1', 'data-segment': s, 'aria-pressed': String(s === app.segment), '--colour': colour(app.model.labels.indexOf(segment.label)), 'aria-label': `Segment ${s + 1} at ${clock(segment.start)}: ${segment.silent ? 'silent' : `heard as ${segment.label}, closest to ${app.named(segment.prototype)}`}` },
      clock(segment.start),
      segment.outline ? wave(segment.outline) : null,
      segment.silent ? 'silent' : app.named(segment.prototype),
    );
    const choose = (index) => {
      app.segment = index;
      app.drawTrack();
      const next = list.querySelector(`[data-segment="${index}"]`);
      next?.focus();
    };
    button.addEventListener('click', () => choose(s));
    button.addEventListener('keydown', (event) => {
      const next = { ArrowRight: s + 1, ArrowLeft: s - 1, Home: 0, End: track.segments.length - 1 }[event.key];
      if (next === undefined || next < 0 || next >= track.segments.length) return;
      event.preventDefault();
      choose(next);
    });
    list.append(h('li', {}, button));
  });
  return list;
}

function wave(outline) {
  const highest = Math.max(1, ...outline);
  const path = outline.map((value, x) => `M${x + 0.5} ${(12 - (12 * value) / highest).toFixed(1)}V${(12 + (12 * value) / highest).toFixed(1)}`).join('');
  const picture = h('svg', { viewBox: `0 0 ${outline.length} 24`, preserveAspectRatio: 'none', 'aria-hidden': 'true' });
  picture.append(h('path', { d: path }));
  return picture;
}

function segmentPanel(track, app) {
  const s = app.segment;
  const segment = track.segments[s];
  const here = { track: track.id, segment: s };
  const buttons = [];
  if (track.sound === 'ready' && segment.seconds !== null) {
    const button = h('button', { type: 'button', class: 'quiet small', id: 'play-segment', 'aria-pressed': 'false' }, 'Play this moment');
    button.addEventListener('click', () => playSegment(track, s, button));
    buttons.push(button);
  } else if (track.sound === 'waiting') {
    buttons.push(h('span', { class: 'light' }, 'sound being prepared…'));
  }
  buttons.push(h('span', {}, 'as the model decodes it', listen('this moment as the model decodes it', here)));
  buttons.push(h('button', { type: 'button', class: 'quiet small', onclick: () => app.choosePrototype(segment.prototype, true) }, `Play ${app.named(segment.prototype)}`));
  return h('div', {}, h('div', { class: 'row' }, buttons), app.editable() ? momentEdits(track, here, app) : null);
}

function momentEdits(track, here, app) {
  const label = h('select', { id: 'add-to', 'aria-label': 'Add a prototype to' }, app.model.labels.map((name) => h('option', { value: name, selected: name === track.label }, name)));
  const several = app.collected.length > 0;
  const places = () => (several ? app.collected.map(({ track: id, segment }) => ({ track: id, segment })) : [here]);
  const name = h('input', { id: 'class-name', size: 12, 'aria-label': 'Name of a new class', placeholder: 'new class' });
  const what = several ? `the ${app.collected.length} collected` : 'this moment';
  const button = (id, text, edit) => h('button', { type: 'button', class: 'quiet small', id, onclick: () => app.preview(edit()) }, text);
  const collect = () => {
    if (!app.collected.some((one) => one.track === here.track && one.segment === here.segment)) app.collected.push(here);
    app.drawTrack();
  };
  const clear = () => {
    app.collected = [];
    app.drawTrack();
  };
  return h(
    'div',
    { class: 'row' },
    h('button', { type: 'button', class: 'quiet small', id: 'collect', onclick: collect }, 'Collect this moment'),
    several ? h('button', { type: 'button', class: 'quiet small', onclick: clear }, `Forget the ${app.collected.length} collected`) : null,
    h('span', {}, `From ${what}:`),
    button('add', 'Add a prototype…', () => ({ kind: 'add', label: label.value, places: places() })),
    label,
    button('move-here', `Move ${app.named(app.prototype)} here…`, () => ({ kind: 'move', prototype: app.prototype, places: places() })),
    button('add-class', 'Make a class…', () => ({ kind: 'add class', label: name.value, places: places() })),
    name,
  );
}

// The way to another class.

function walkControls(track, app, place) {
  const others = track.scores.map(([name]) => name).filter((name) => name !== track.segments[app.segment].label);
  const rival = h('select', { id: 'rival', 'aria-label': 'Walk towards' }, others.map((name) => h('option', { value: name }, name)));
  const go = () => app.guarded(async () => {
    const walk = await act('walk', { track: track.id, segment: app.segment, rival: rival.value, seed: 0 });
    drawWalk(place, walk, app);
  });
  return h('div', { class: 'row' }, 'What would make this moment ', rival, h('button', { type: 'button', class: 'quiet small', id: 'walk', onclick: go }, 'Walk there'));
}

function drawWalk(place, walk, app) {
  const flip = walk.shares.indexOf(walk.flips);
  const slider = h('input', { type: 'range', id: 'walk-slider', min: 0, max: walk.shares.length - 1, value: 0, list: 'walk-steps', 'aria-label': `From ${walk.label} to ${app.named(walk.prototype)}` });
  const sound = h('div', { class: 'sounds' });
  const says = h('p', { id: 'walk-says', 'aria-live': 'polite' });
  const show = () => {
    const k = Number(slider.value);
    const scores = [walk.label, walk.rival].map((name) => `${name} ${fixed(walk.scores[k][name])}`).join(', ');
    says.textContent = `${Math.round(100 * walk.shares[k])} % of the way: ${scores}${k === flip ? `. Here the label flips to ${walk.rival}.` : k > flip ? `. Beyond the flip at ${Math.round(100 * walk.flips)} %.` : '.'}`;
    slider.setAttribute('aria-valuetext', says.textContent);
    sound.replaceChildren(soundOf(walk.sounds[k], `step ${k + 1} of the way`));
  };
  slider.addEventListener('input', show);
  fill(
    place,
    h('h3', {}, `On the way to ${app.named(walk.prototype)}`),
    h('p', { class: 'hint' }, `All steps are decoded from the same noise. The label flips after ${Math.round(100 * walk.flips)} % of the way.`),
    slider,
    h('datalist', { id: 'walk-steps' }, h('option', { value: flip, label: 'flip' })),
    says,
    sound,
  );
  show();
}

function reasons(track, app) {
  const { label, rival, prototypes, others, bias, total } = track.reasons;
  const largest = Math.max(...prototypes.map((row) => Math.abs(row.part)), Math.abs(others), Math.abs(bias), 1e-9);
  const digits = digitsFor([total, ...prototypes.map((row) => row.part)]);
  const line = (head, value, of, kind = '') =>
    h('tr', { class: kind }, h('th', { scope: 'row' }, head), h('td', { class: 'bar' }, h('span', { class: value < 0 ? 'below' : '', '--value': Math.abs(value) / largest, '--colour': of === null ? 'var(--soft)' : colour(of) })), h('td', { class: 'figure' }, signed(value, digits)));
  const button = (id) => h('button', { type: 'button', class: 'quiet small', onclick: () => app.choosePrototype(id, false) }, app.named(id));
  return h(
    'table',
    { class: 'ledger', id: 'reasons' },
    h('caption', {}, `What speaks for ${label} against ${rival}`),
    h('tbody', {}, prototypes.map((row) => line(button(row.prototype), row.part, app.labelOf(row.prototype))), line('all others', others, null, 'rest'), line('bias', bias, null, 'rest'), line(`lead of ${label}`, total, null, 'sum')),
  );
}
