// Sounds: asked for, waited for without holding anything up, and one played at a time.

import { act, look, wait } from './server.js';

const audio = document.getElementById('player');
const making = document.getElementById('making');
const waiting = new Map(); // key → functions to call with its state
const ready = new Set();
let total = 0;
let current = null; // {url, start, end, element}
let polling = false;

/** Whether this element's sound is on. */
export const plays = (element) => current !== null && current.element === element;

export function stop() {
  const element = current?.element;
  current = null;
  audio.pause();
  element?.classList.remove('playing');
  element?.setAttribute('aria-pressed', 'false');
  element?.style.removeProperty('--played');
}

/** Play a file from `start` to `end`; `element` shows that it is on. */
export function play({ url, start = 0, end, element }) {
  stop();
  const part = { url, start, end, element };
  current = part;
  const full = new URL(url, document.baseURI).href;
  if (audio.src !== full) audio.src = full;
  const seek = () => {
    if (current === part) audio.currentTime = start;
  };
  if (audio.readyState >= HTMLMediaElement.HAVE_METADATA) seek();
  else audio.addEventListener('loadedmetadata', seek, { once: true });
  element?.classList.add('playing');
  element?.setAttribute('aria-pressed', 'true');
  audio.play().catch((error) => {
    if (error.name !== 'AbortError') document.getElementById('status').textContent = `This browser cannot play it: ${error.message}`;
  });
}

audio.addEventListener('timeupdate', () => {
  if (current === null) return;
  const end = current.end ?? audio.duration;
  current.element?.style.setProperty('--played', Math.min(1, Math.max(0, (audio.currentTime - current.start) / (end - current.start) || 0)));
  if (current.end !== undefined && audio.currentTime >= current.end && !audio.seeking) stop();
});
audio.addEventListener('ended', () => current !== null && audio.ended && stop());

async function poll() {
  if (polling) return;
  polling = true;
  while (waiting.size) {
    try {
      const keys = [...waiting.keys()];
      const found = await look(`sounds?keys=${keys.slice(0, 50).join(',')}`);
      for (const [key, state] of Object.entries(found.states)) {
        if (state === 'waiting') continue;
        if (state === 'ready') ready.add(key);
        for (const tell of waiting.get(key) || []) tell(state, found.problems[key]);
        waiting.delete(key);
      }
      making.hidden = !waiting.size;
      making.max = Math.max(1, total);
      making.value = total - waiting.size;
    } catch {
      // The server is gone or busy; the page says so elsewhere.
    }
    await wait(150);
  }
  total = 0;
  making.hidden = true;
  polling = false;
}

/** Call `tell` with "ready" or "failed" (and why) once a sound is made. */
export function whenMade(key, tell) {
  if (ready.has(key)) {
    tell('ready');
    return;
  }
  if (!waiting.has(key)) {
    waiting.set(key, []);
    total += 1;
  }
  waiting.get(key).push(tell);
  poll();
}

/** A spectrogram that plays, of a key of a sound; until it is made it says so. */
export function soundOf(key, name) {
  const place = h('div', {}, h('span', { class: 'waiting' }, 'being made…'));
  whenMade(key, (state, problem) => {
    if (state === 'failed') {
      place.replaceChildren(h('p', { class: 'note' }, `This sound could not be made: ${problem}`));
      return;
    }
    const button = h('button', { type: 'button', class: 'sound', 'aria-label': `Play ${name}`, 'aria-pressed': 'false' }, h('img', { src: `sounds/${key}/picture`, alt: '' }));
    button.addEventListener('click', () => (plays(button) ? stop() : play({ url: `sounds/${key}`, element: button })));
    place.replaceChildren(button);
    place.dispatchEvent(new Event('made'));
  });
  return place;
}

/** A small button that has something made and plays it when it is there. */
export function listen(name, wanted) {
  const button = h('button', { type: 'button', class: 'listen', 'aria-label': `Play ${name}`, 'aria-pressed': 'false' });
  button.addEventListener('click', async () => {
    if (plays(button)) {
      stop();
      return;
    }
    button.setAttribute('aria-busy', 'true');
    const { sound } = await act('sounds', wanted);
    whenMade(sound, (state) => {
      button.removeAttribute('aria-busy');
      if (state === 'ready') play({ url: `sounds/${sound}`, element: button });
    });
  });
  return button;
}
