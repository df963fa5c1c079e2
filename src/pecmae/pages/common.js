// What both pages share: building elements, numbers, and one player.

const SVG = 'http://www.w3.org/2000/svg';

/** An element with attributes (`on…`: listeners; null: left out) and children; strings become text, never markup. */
function h(tag, attributes = {}, ...children) {
  const element = tag === 'svg' || tag === 'path' ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name.startsWith('--')) element.style.setProperty(name, value);
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** Replace what an element holds; null stands for nothing. */
const fill = (element, ...children) => element.replaceChildren(...children.filter((child) => child !== null));

const readJson = (id) => JSON.parse(document.getElementById(id).textContent);

function clock(seconds) {
  const whole = Math.floor(seconds + 1e-6);
  const rest = String(whole % 60).padStart(2, '0');
  const minutes = Math.floor(whole / 60);
  return minutes < 60 ? `${minutes}:${rest}` : `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, '0')}:${rest}`;
}

const minus = (text) => text.replace('-', '−');
const fixed = (value, digits = 2) => minus(value.toFixed(digits));
const signed = (value, digits) => (value > 0 ? '+' : '') + fixed(value, digits).replace(/^−(0\.?0*)$/, '$1');

/** Decimals that show three significant digits of the largest of some values. */
function digitsFor(values) {
  const largest = Math.max(...values.map(Math.abs), 1e-9);
  return Math.min(6, Math.max(1, 3 - Math.ceil(Math.log10(largest)) + (largest < 1 ? 0 : 1)));
}

/** One sound at a time: a part of a stored one, then perhaps the next. */
const player = {
  audio: document.getElementById('player'),
  urls: new Map(),
  queue: [],
  current: null,

  has: (id) => document.getElementById(id) !== null,

  url(id) {
    if (!this.urls.has(id)) {
      const stored = document.getElementById(id);
      const bytes = Uint8Array.from(atob(stored.textContent), (letter) => letter.charCodeAt(0));
      this.urls.set(id, URL.createObjectURL(new Blob([bytes], { type: stored.dataset.type })));
    }
    return this.urls.get(id);
  },

  /** Play parts {id, start?, end?, element?} one after the other; `element` shows how far it is. */
  play(parts) {
    this.stop();
    this.queue = parts.filter((part) => this.has(part.id));
    this.next();
  },

  next() {
    this.finish();
    const part = this.queue.shift();
    if (!part) return;
    this.current = part;
    const url = this.url(part.id);
    if (this.audio.src !== url) this.audio.src = url;
    // Some browsers forget a moment that is set before they know the sound.
    const seek = () => {
      if (this.current === part) this.audio.currentTime = part.start || 0;
    };
    if (this.audio.readyState >= HTMLMediaElement.HAVE_METADATA) seek();
    else this.audio.addEventListener('loadedmetadata', seek, { once: true });
    part.element?.classList.add('playing');
    part.element?.setAttribute('aria-pressed', 'true');
    this.audio.play().catch((error) => {
      if (error.name !== 'AbortError') document.getElementById('status').textContent = `This browser cannot play it: ${error.message}`;
    });
    requestAnimationFrame(() => this.follow(part));
  },

  follow(part) {
    if (this.current !== part) return;
    const start = part.start || 0;
    const end = part.end ?? (this.audio.duration || Infinity);
    const share = (this.audio.currentTime - start) / (end - start);
    part.element?.style.setProperty('--played', Math.min(1, Math.max(0, share || 0)));
    if (part.end !== undefined && this.audio.currentTime >= part.end && !this.audio.seeking) {
      this.next();
      return;
    }
    requestAnimationFrame(() => this.follow(part));
  },

  finish() {
    const element = this.current?.element;
    element?.classList.remove('playing');
    if (element?.hasAttribute('aria-pressed')) element.setAttribute('aria-pressed', 'false');
    element?.style.removeProperty('--played');
    this.current = null;
    this.audio.pause();
  },

  stop() {
    this.queue = [];
    this.finish();
  },

  /** Whether this element's sound is on. */
  plays(element) {
    return this.current !== null && this.current.element === element;
  },
};
player.audio.addEventListener('ended', () => player.next());
// Where frames are not drawn (a tab in the background), a part still ends.
player.audio.addEventListener('timeupdate', () => {
  if (player.current?.end !== undefined && player.audio.currentTime >= player.current.end && !player.audio.seeking) player.next();
});

/** A spectrogram that is a button: it plays `part`, or stops. */
function soundButton(label, picture, part, share = 1) {
  const button = h(
    'button',
    { type: 'button', class: 'sound', 'aria-label': label, 'aria-pressed': 'false', '--share': share },
    h('img', { src: picture, alt: '' }),
  );
  button.addEventListener('click', () => (player.plays(button) ? player.stop() : player.play([{ ...part, element: button }])));
  return button;
}

document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape') player.stop();
});
