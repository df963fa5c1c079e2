// The whole: what is chosen, what the server knows, and edits that are looked at before they are done.

import { curvePicture, effectDetails, fareOf } from './effect.js';
import { drawMap, swatch } from './map.js';
import { drawPrototype } from './prototype.js';
import { act, look, Refusal, send, wait } from './server.js';
import { stop } from './sound.js';
import { drawTrack, drawTracks } from './tracks.js';

const byId = (id) => document.getElementById(id);

export const app = {
  model: null,
  tracks: [],
  prototype: null, // id of the chosen one
  track: null, // id of the open one
  segment: 0,
  collected: [], // moments for a new prototype or class: {track, segment, name}
  editable: () => !app.model.read_only,
  named: (id) => app.model.prototypes.find((prototype) => prototype.id === id)?.name ?? `prototype ${id}`,
  labelOf: (id) => app.model.prototypes.find((prototype) => prototype.id === id)?.label ?? 0,
  choosePrototype,
  openTrack,
  preview,
  guarded,
  drawTrack: () => drawTrack(byId('track'), app),
};

let seen = { revision: -1, tracks: -1 };
let drawn = 0;

// Problems are sentences at the top, until the next thing works.

function complain(error) {
  const place = byId('problem');
  place.hidden = !error;
  place.textContent = error ? error.message : '';
  if (error && !(error instanceof Refusal)) place.textContent = `The app does not answer (${error.message}). Was pecmae explore ended?`;
}

/** Do something and say what went wrong with it; a model that changed meanwhile is looked at again. */
async function guarded(work) {
  try {
    await work();
    complain(null);
  } catch (error) {
    complain(error);
    if (error.answer?.stale) await refresh();
  }
}

// Looking.

async function refresh() {
  const mine = ++drawn;
  const [model, tracks] = await Promise.all([look('model'), look('tracks')]);
  if (mine !== drawn) return;
  app.model = model;
  app.tracks = tracks.rows;
  seen = { revision: model.revision, tracks: tracks.tracks };
  if (!model.prototypes.some((prototype) => prototype.id === app.prototype)) app.prototype = model.prototypes[0]?.id ?? null;
  draw();
}

function draw() {
  const { model } = app;
  document.title = `${model.name} – pecmae explore`;
  byId('title').textContent = model.name;
  byId('about').textContent = `${model.prototypes.length} prototypes of ${model.labels.length} classes. Edits are measured on ${model.about}.`;
  for (const element of document.querySelectorAll('.edits')) element.hidden = model.read_only;
  byId('undo').disabled = model.read_only || !model.history.length;
  byId('redo').disabled = model.read_only || !model.undone.length;
  byId('refit').disabled = byId('prune').disabled = model.read_only;
  byId('refit').hidden = model.read_only || !model.can_refit;
  byId('fare').textContent = model.history.length ? `All edits together: ${fareOf(model.total)}${model.saved ? '' : ' Not exported yet.'}` : `As it was loaded: ${fixed(100 * model.total.accuracy[0], 1)} % of ${model.total.num_tracks} tracks are right, on average over the classes.`;
  byId('history').replaceChildren(...model.history.map((done) => h('li', { class: done.insisted ? 'insisted' : '' }, done.text, done.insisted ? ' (insisted on)' : '')));
  if (!byId('export-name').value) byId('export-name').value = model.export_name;
  byId('export').disabled = model.read_only || !model.history.length;
  byId('export').title = `Into ${model.exports}`;
  drawUnsaved();
  byId('map-hint').textContent = `The two directions in which prototypes and tracks vary most (${fixed(100 * model.map.share, 0)} % of it). Large: prototypes, by number; small: tracks, hollow where they are heard as another class.`;
  byId('legend').replaceChildren(...model.labels.map((label, index) => h('li', {}, swatch(index), label)));
  drawPlane();
  drawPrototype(byId('prototype-body'), app);
  drawTracks(byId('tracks'), byId('filter').value, byId('count'), app);
  if (app.track !== null) drawTrack(byId('track'), app);
}

function drawPlane() {
  const focused = document.activeElement?.dataset?.prototype;
  drawMap(byId('map'), app.model, new Set(app.tracks.filter((row) => row.wrong).map((row) => row.id)), app.prototype, choosePrototype);
  if (focused !== undefined) byId('map').querySelector(`[data-prototype="${focused}"]`)?.focus();
}

function drawUnsaved() {
  const { unsaved, read_only } = app.model;
  const place = byId('unsaved');
  place.hidden = unsaved === null || read_only;
  if (place.hidden) return;
  const recover = (discard) => guarded(async () => {
    await act('recover', { revision: app.model.revision, discard });
    await refresh();
  });
  const count = unsaved.edits.length;
  place.replaceChildren(
    `${count} ${count === 1 ? 'edit was' : 'edits were'} not exported on ${new Date(1000 * unsaved.when).toLocaleString()}: ${unsaved.edits.slice(0, 3).join('; ')}${count > 3 ? '; …' : ''}. `,
    h('button', { type: 'button', class: 'quiet small', id: 'recover', onclick: () => recover(false) }, 'Take them up'),
    ' ',
    h('button', { type: 'button', class: 'quiet small', id: 'discard', onclick: () => recover(true) }, 'Throw them away'),
  );
}

// Choosing.

function choosePrototype(id, heard) {
  app.prototype = id;
  drawPlane();
  drawPrototype(byId('prototype-body'), app, heard);
  byId('map').querySelector(`[data-prototype="${id}"]`)?.focus();
}

function openTrack(id, segment = 0) {
  [app.track, app.segment] = [id, segment];
  for (const button of byId('tracks').querySelectorAll('button')) button.setAttribute('aria-current', String(button.dataset.track === id));
  drawTrack(byId('track'), app);
}

// Edits: looked at, then done.

function closePreview() {
  byId('preview').hidden = true;
  byId('preview').replaceChildren();
}

/** Show what an edit would do, with a button that does it. */
function preview(edit) {
  return guarded(async () => {
    const found = await act('preview', { edit, revision: app.model.revision });
    const back = document.activeElement;
    const close = () => {
      closePreview();
      if (back?.isConnected) back.focus();
    };
    const apply = () => guarded(async () => {
      await act('apply', { edit, revision: found.revision, insist: found.refused });
      closePreview();
      await refresh();
      byId('status').textContent = `Done: ${found.text}.`;
      byId('undo').focus();
    });
    const panel = byId('preview');
    panel.classList.toggle('refused', found.refused);
    fill(
      panel,
      h('h2', {}, `${found.text[0].toUpperCase()}${found.text.slice(1)}?`),
      h('p', { id: 'preview-fare' }, fareOf(found.effect)),
      found.refused ? h('p', { class: 'note' }, 'Accuracy falls, and by more than chance explains.') : null,
      effectDetails(found.effect, app.model.labels),
      h(
        'div',
        { class: 'row' },
        h('button', { type: 'button', class: 'quiet', id: 'apply', onclick: apply }, found.refused ? 'Apply all the same' : 'Apply'),
        h('button', { type: 'button', class: 'quiet', id: 'cancel', onclick: close }, 'Cancel'),
      ),
    );
    panel.hidden = false;
    panel.querySelector('#apply').disabled = app.model.read_only;
    panel.scrollIntoView({ block: 'nearest' });
    panel.focus();
  });
}

function prune() {
  return guarded(async () => {
    const { plan, curve } = await act('pruning', {});
    const first = curve.findIndex((point) => point.falls);
    const most = first < 0 ? curve.length : first;
    const count = h('input', { type: 'number', id: 'take-out', min: 1, max: curve.length, value: Math.max(1, most) });
    const refit = h('input', { type: 'checkbox', id: 'take-out-refit' });
    const panel = byId('preview');
    panel.classList.remove('refused');
    fill(
      panel,
      h('h2', {}, 'Which prototypes can go?'),
      plan
        ? h('div', {}, h('ul', {}, plan.steps.map((step) => h('li', {}, `${step.text} (${step.reason})`))), h('p', {}, fareOf(plan.effect)), h('button', { type: 'button', class: 'quiet', onclick: () => preview({ kind: 'prune' }) }, 'Preview these'))
        : h('p', {}, 'No twins, none that no audio is closest to, and none that does harm.'),
      curve.length
        ? h(
            'div',
            {},
            h('h3', {}, 'The least missed, one by one'),
            curvePicture(curve),
            h('p', { id: 'curve-says' }, first < 0 ? 'The interval never says no.' : `${most} can go before the interval says no: with ${first + 1}, accuracy falls by more than chance explains.`),
            h('div', { class: 'row' }, h('label', {}, 'Take out the ', count, ' least missed'), app.model.can_refit ? h('label', {}, refit, ' and refit the weights') : null, h('button', { type: 'button', class: 'quiet', id: 'preview-take-out', onclick: () => preview({ kind: 'take out', count: Number(count.value), refit: refit.checked }) }, 'Preview')),
            h('details', {}, h('summary', {}, 'In which order'), h('ol', {}, curve.map((point) => h('li', {}, `${point.text}: ${signed(100 * point.difference, 1)} points (${signed(100 * point.interval[0], 1)} to ${signed(100 * point.interval[1], 1)})`)))),
          )
        : h('p', {}, 'Each class has its last prototype.'),
      h('div', { class: 'row' }, h('button', { type: 'button', class: 'quiet', id: 'cancel', onclick: () => (closePreview(), byId('prune').focus()) }, 'Close')),
    );
    panel.hidden = false;
    panel.focus();
  });
}

const step = (way) => guarded(async () => {
  await act(way, { revision: app.model.revision });
  closePreview();
  await refresh();
});

const exportModel = () => guarded(async () => {
  const { directory } = await act('export', { name: byId('export-name').value, revision: app.model.revision });
  await refresh();
  byId('fare').textContent += ` Exported to ${directory}.`;
  byId('status').textContent = `Exported to ${directory}.`;
});

async function addFiles(files) {
  for (const file of files) {
    await guarded(async () => {
      const { id } = await send(file);
      app.track ??= id;
      app.tracks = (await look('tracks')).rows;
      drawTracks(byId('tracks'), byId('filter').value, byId('count'), app);
    });
  }
}

// Listening to the page.

byId('undo').addEventListener('click', () => step('undo'));
byId('redo').addEventListener('click', () => step('redo'));
byId('refit').addEventListener('click', () => preview({ kind: 'refit' }));
byId('prune').addEventListener('click', prune);
byId('export').addEventListener('click', exportModel);
byId('filter').addEventListener('change', (event) => drawTracks(byId('tracks'), event.target.value, byId('count'), app));
byId('files').addEventListener('change', (event) => addFiles([...event.target.files]));

document.addEventListener('keydown', (event) => {
  const typing = event.target.matches('input:not([type="checkbox"]):not([type="range"]), select');
  if (event.key === 'Escape') {
    stop();
    if (!byId('preview').hidden) byId('cancel').click();
  } else if (typing || event.ctrlKey || event.metaKey || event.altKey) {
    return;
  } else if (event.key.toLowerCase() === 'z') {
    const button = byId(event.shiftKey ? 'redo' : 'undo');
    if (!button.disabled) button.click();
  } else if (event.key === '/') {
    event.preventDefault();
    byId('tracks').querySelector('button')?.focus();
  }
});

for (const kind of ['dragenter', 'dragover']) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    if (app.model && app.editable()) document.body.classList.add('over');
  });
}
document.addEventListener('dragleave', (event) => event.relatedTarget === null && document.body.classList.remove('over'));
document.addEventListener('drop', (event) => {
  event.preventDefault();
  document.body.classList.remove('over');
  if (app.editable()) addFiles([...event.dataTransfer.files]);
});

/** Look again whenever another tab, or a file that was read, changed something. */
async function follow() {
  for (;;) {
    try {
      const now = await look('state');
      if (now.revision !== seen.revision) await refresh();
      else if (now.tracks !== seen.tracks) {
        const found = await look('tracks');
        app.tracks = found.rows;
        seen.tracks = found.tracks;
        drawTracks(byId('tracks'), byId('filter').value, byId('count'), app);
        if (app.track !== null) drawTrack(byId('track'), app);
      }
      if (byId('problem').textContent.startsWith('The app does not answer')) complain(null);
    } catch (error) {
      complain(error);
    }
    await wait(document.hidden ? 3000 : 700);
  }
}

guarded(refresh).then(follow);
