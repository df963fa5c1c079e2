// One track at a time: its segments, the one chosen, and what makes up the decision.

const page = readJson('page');
const classOf = (m) => page.prototype_labels[m];
const numberOf = (m) => page.prototype_numbers[m];
const nameOf = (m) => `${page.labels[classOf(m)]} ${numberOf(m)}`;
const colour = (index) => `var(--class-${index % 10})`;
const texture = (index) => (index >= 10 ? `striped-${Math.min(2, Math.floor(index / 10))}` : '');
const swatch = (index) => h('span', { class: `swatch ${texture(index)}`, '--colour': colour(index), 'aria-hidden': 'true' });
const SHOWN = 6;

class TrackView {
  constructor(index) {
    this.index = index;
    this.track = readJson(`track-${index}`);
    const { labels, logits } = this.track.explanation;
    this.labels = labels;
    this.target = labels.indexOf(this.track.label);
    const order = logits.map((_, i) => i).sort((a, b) => logits[b] - logits[a] || a - b);
    this.order = order;
    this.against = order.length > 1 ? order[1] : null;
    this.selected = 0;
    this.loudest = Math.max(1, ...this.track.segments.flatMap((segment) => segment.outline));
  }

  // Numbers: nothing but sums and products of what the data holds.

  segmentLogit(s, c) {
    const { segment_similarities, weight, bias } = this.track.explanation;
    return segment_similarities[s].reduce((sum, value, m) => sum + value * weight[c][m], bias[c]);
  }

  segmentValues(s, c) {
    const { segment_similarities, weight } = this.track.explanation;
    return segment_similarities[s].map((value, m) => value * weight[c][m] - this.usual(c, m));
  }

  /** What a prototype gives to a class's logit on average over the training data; 0 where the model does not know. */
  usual(c, m) {
    const { contributions, differences } = this.track.explanation;
    return differences ? contributions[c][m] - differences[c][m] : 0;
  }

  /** What prototypes gave, as far as it is more than usual, and the rest of the logits. */
  given() {
    const { contributions, differences, bias, baseline } = this.track.explanation;
    return differences
      ? { values: differences, rest: baseline, restName: 'what is usual', more: ', beside what is usual' }
      : { values: contributions, rest: bias, restName: 'bias', more: '' };
  }

  /** What a segment would be labelled by itself. */
  segmentLabel(s) {
    const logits = this.labels.map((_, c) => this.segmentLogit(s, c));
    return logits.indexOf(Math.max(...logits));
  }

  contrastValues(a, b) {
    const { values } = this.given();
    return values[a].map((value, m) => value - values[b][m]);
  }

  // Drawing.

  mount(root) {
    player.stop();
    this.timeline = h('ol', { class: 'score', 'aria-label': 'Segments of the track', '--count': this.track.segments.length });
    this.legend = h('ul', { class: 'legend', 'aria-label': 'Classes of the closest prototypes' });
    this.controls = h('div', { class: 'controls' });
    this.segmentPanel = h('section', { class: 'panel', 'aria-label': 'The chosen segment', id: 'segment' });
    this.trackPanel = h('section', { class: 'panel', 'aria-label': 'The whole track', id: 'whole' });
    root.replaceChildren(
      this.verdict(),
      h('section', { 'aria-label': 'Timeline' }, this.timeline, this.legend, h('p', { class: 'hint' }, this.hint())),
      this.controls,
      h('div', { class: 'columns' }, this.segmentPanel, this.trackPanel),
      this.counterfactual(),
      this.classes(),
      this.footer(),
    );
    this.drawTimeline();
    this.drawLegend();
    this.drawControls();
    this.select(0);
  }

  verdict() {
    const { name, label, score, scores, duration, segments } = this.track;
    const slash = Math.max(name.lastIndexOf('/'), name.lastIndexOf('\\')) + 1;
    const second = Object.entries(scores).find(([other]) => other !== label);
    const count = this.track.winners.filter((m, s) => !segments[s].silent && classOf(m) === this.target).length;
    const alone = segments.filter((segment, s) => !segment.silent && this.segmentLabel(s) === this.target).length;
    const heard = segments.filter((segment) => !segment.silent).length;
    const silent = segments.length - heard;
    return h(
      'section',
      { class: 'verdict', 'aria-label': 'Verdict' },
      h('h1', {}, h('bdi', {}, name.slice(slash) || name)),
      slash > 0 ? h('p', { class: 'path' }, h('bdi', {}, name)) : null,
      h(
        'p',
        { class: 'lede' },
        swatch(this.target),
        h('strong', { id: 'label' }, label),
        ', score ',
        h('span', { class: 'figure', id: 'score' }, fixed(score)),
        second ? `; then ${second[0]}, ${fixed(second[1])}.` : '.',
        this.track.probability === null ? '' : ` It is right with a probability of ${fixed(this.track.probability)}.`,
        ...this.track.doubts.map((doubt) => ` ${doubt}`),
        ` ${count} of ${heard} segments ${count === 1 ? 'is' : 'are'} closest to a prototype of ${label}.`,
        alone === count ? '' : ` By all prototypes together ${alone} ${alone === 1 ? 'is' : 'are'} ${label}.`,
        silent ? ` ${silent} ${silent === 1 ? 'is' : 'are'} silent: no evidence${this.counted() ? `, though the average counts ${silent === 1 ? 'it' : 'them'}` : ''}.` : '',
      ),
      h('p', { class: 'hint' }, `${clock(duration)} in ${segments.length} segments of ${page.segment_seconds} s.`),
    );
  }

  /** Whether silence votes: in models made before there was a rule for it. */
  counted() {
    const { segments, explanation } = this.track;
    return segments.some((segment, s) => segment.silent && explanation.segment_weights[s] > 0);
  }

  /** What would have to be different for another label, to be heard. */
  counterfactual() {
    const walk = this.track.counterfactual;
    if (!walk) return null;
    const { start, seconds } = this.track.segments[walk.segment];
    const steps = walk.stops.map((stop, k) => {
      const scores = [walk.label, walk.rival].map((name) => `${name} ${fixed(walk.scores[k][name])}`).join(', ');
      const caption = `${Math.round(100 * stop)} %: ${scores}; heard as ${walk.heard_as[k]}`;
      const sound = { id: `sound-counterfactual-${this.index}-${k}` };
      return h('figure', {}, soundButton(`Play the sound at ${Math.round(100 * stop)} % of the way`, walk.pictures[k], sound), h('figcaption', {}, caption));
    });
    return h(
      'section',
      { class: 'panel', 'aria-label': 'What would have to be different', id: 'counterfactual' },
      h('h2', {}, `What would make it ${walk.rival}`),
      h(
        'p',
        {},
        `The segment at ${clock(start)} – ${clock(start + seconds)} as the model decodes it, and on its way to prototype ${walk.prototype}: ` +
          `after ${Math.round(100 * walk.share)} % of that way the label flips. All sounds start from the same noise.`,
      ),
      walk.verified ? null : h('p', { class: 'note' }, `Heard again, the last sound is ${walk.heard_as.at(-1)}: what is heard is not all that decides.`),
      h('div', { class: 'figures walk' }, steps),
    );
  }

  hint() {
    return (
      'Choose a segment: it plays, then the prototype it is closest to. Arrow keys move, Enter plays, Escape stops. ' +
      'Colour and name: the closest prototype; the line below, how similar (0 to 1).'
    );
  }

  drawTimeline() {
    const { segments, winners, explanation } = this.track;
    this.cells = segments.map((segment, s) => {
      const winner = winners[s];
      const similarity = explanation.segment_similarities[s][winner];
      const share = segment.seconds / page.segment_seconds;
      const heard = segment.silent ? 'silent, no evidence' : `closest to ${nameOf(winner)}, similarity ${similarity.toFixed(2)}`;
      const padded = share < 0.999 ? `, ${Math.round(100 * (1 - share))} % of it is padding` : '';
      const button = h(
        'button',
        {
          type: 'button',
          class: `cell ${segment.silent ? 'silent' : ''}`,
          tabindex: '-1',
          '--colour': segment.silent ? null : colour(classOf(winner)),
          '--share': share,
          'aria-label': `Segment ${s + 1}, ${clock(segment.start)} to ${clock(segment.start + segment.seconds)}, ${heard}${padded}`,
          'aria-pressed': 'false',
          onclick: () => this.playSegment(s),
          onkeydown: (event) => this.key(event, s),
        },
        h('span', { class: 'time' }, clock(segment.start)),
        h('span', { class: 'wave' }, this.wave(segment)),
        h('span', { class: 'code' }, segment.silent ? 'silent' : [h('span', {}, page.labels[classOf(winner)]), String(numberOf(winner))]),
        h('span', { class: `meter ${texture(classOf(winner))}`, '--value': segment.silent ? 0 : similarity }),
        h('span', { class: 'margin' }, h('span')),
      );
      return button;
    });
    this.timeline.replaceChildren(...this.cells.map((cell) => h('li', {}, cell)));
  }

  wave(segment) {
    const heights = segment.outline.map((value) => Math.max(0.4, 24 * Math.sqrt(value / this.loudest)));
    const path = heights.map((y, x) => `M${x + 0.5} ${(24 - y).toFixed(1)}V${(24 + y).toFixed(1)}`).join('');
    const svg = h('svg', { viewBox: `0 0 ${heights.length} 48`, preserveAspectRatio: 'none', 'aria-hidden': 'true' });
    svg.append(h('path', { d: path }));
    return svg;
  }

  drawLegend() {
    const counts = new Map();
    this.track.winners.forEach((m, s) => {
      if (!this.track.segments[s].silent) counts.set(classOf(m), (counts.get(classOf(m)) || 0) + 1);
    });
    const rows = [...counts].sort((a, b) => b[1] - a[1]);
    this.marginKey = h('li', { class: 'key' });
    this.legend.replaceChildren(
      ...rows.map(([c, n]) => h('li', {}, swatch(c), `${page.labels[c]} `, h('span', { class: 'figure' }, `${n}`))),
      this.marginKey,
    );
  }

  drawControls() {
    const choose = (label, value, id, change) =>
      h(
        'label',
        {},
        `${label} `,
        h(
          'select',
          { id, onchange: (event) => change(Number(event.target.value)) },
          this.order.map((c) => h('option', { value: c, selected: c === value }, this.labels[c])),
        ),
      );
    const set = (target, against) => {
      if (target === against) against = this.order.find((c) => c !== target);
      [this.target, this.against] = [target, against];
      this.drawControls();
      this.drawDecision();
    };
    this.controls.replaceChildren(
      choose('Why', this.target, 'for', (c) => set(c, this.against)),
      ...(this.against === null
        ? []
        : [
            choose('rather than', this.against, 'against', (c) => (c === this.target ? set(this.against, c) : set(this.target, c))),
            h('button', { type: 'button', class: 'quiet', id: 'swap', onclick: () => set(this.against, this.target) }, 'Swap'),
          ]),
    );
  }

  drawDecision() {
    this.drawMargins();
    this.drawSegment();
    this.drawTrack();
  }

  drawMargins() {
    if (this.against === null) return;
    const margins = this.track.segments.map((_, s) => this.segmentLogit(s, this.target) - this.segmentLogit(s, this.against));
    const largest = Math.max(...margins.map(Math.abs), 1e-9);
    const [one, other] = [this.labels[this.target], this.labels[this.against]];
    this.marginKey.replaceChildren('bars:', h('i'), `up, for ${one}`, h('i', { class: 'below' }), `down, for ${other}`);
    this.cells.forEach((cell, s) => {
      const bar = cell.querySelector('.margin');
      bar.classList.toggle('below', margins[s] < 0);
      bar.style.setProperty('--value', Math.abs(margins[s]) / largest);
      bar.title = `${one} − ${other}: ${signed(margins[s], 3)}`;
    });
  }

  key(event, s) {
    const columns = Math.max(1, this.cells.filter((cell) => cell.offsetTop === this.cells[0].offsetTop).length);
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, Home: -s, End: this.cells.length - 1 - s };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const next = Math.min(this.cells.length - 1, Math.max(0, s + steps[event.key]));
    this.select(next);
    this.cells[next].focus();
  }

  select(s) {
    this.cells[this.selected].setAttribute('tabindex', '-1');
    this.cells[this.selected].removeAttribute('aria-current');
    this.selected = s;
    this.cells[s].setAttribute('tabindex', '0');
    this.cells[s].setAttribute('aria-current', 'true');
    this.drawDecision();
  }

  playSegment(s) {
    const again = player.plays(this.cells[s]);
    if (s !== this.selected) this.select(s);
    if (again) {
      player.stop();
      return;
    }
    const prototype = this.segmentPanel.querySelector('[data-role="prototype"] .sound');
    const parts = [this.part(s, this.cells[s])];
    if (!this.track.segments[s].silent) parts.push({ id: `sound-prototype-${this.track.winners[s]}`, element: prototype });
    player.play(parts);
  }

  part(s, element) {
    const { start, seconds } = this.track.segments[s];
    return { id: `sound-track-${this.index}`, start, end: start + seconds, element };
  }

  drawSegment() {
    const s = this.selected;
    const segment = this.track.segments[s];
    const winner = this.track.winners[s];
    const similarity = this.track.explanation.segment_similarities[s][winner];
    const share = segment.seconds / page.segment_seconds;
    const span = `${clock(segment.start)} – ${clock(segment.start + segment.seconds)}`;
    const figures = [this.figure('segment', 'This segment', soundButton(`Play the segment ${span}`, segment.picture, this.part(s), share))];
    if (!segment.silent) figures.push(this.prototypeFigure(winner));
    fill(
      this.segmentPanel,
      h('h2', {}, `Segment ${s + 1} `, h('span', { class: 'light' }, span)),
      segment.silent
        ? h('p', { class: 'note' }, 'Silent: there is nothing to go by. The numbers below are what the model makes of it all the same.')
        : h(
            'p',
            {},
            'Closest to ',
            swatch(classOf(winner)),
            h('strong', {}, nameOf(winner)),
            ', similarity ',
            h('span', { class: 'figure', id: 'similarity' }, fixed(similarity, 3)),
            '.',
          ),
      segment.silent ? null : this.outvoted(s),
      this.lead(s),
      share < 0.999 ? h('p', { class: 'note' }, `Only ${segment.seconds.toFixed(1)} s of it are sound; the rest is padding, which the model does not attend to.`) : null,
      h('div', { class: 'figures' }, figures),
      segment.silent ? null : this.nearest(winner),
      this.ledger({
        title: `What this segment gives to ${this.labels[this.target]}${this.given().more}`,
        values: this.segmentValues(s, this.target),
        bias: this.given().rest[this.target],
        biasName: this.given().restName,
        total: this.segmentLogit(s, this.target),
        sum: `logit of ${this.labels[this.target]} here`,
        classes: [this.target],
      }),
    );
  }

  /** That the closest prototype does not decide alone: what a segment is by all of them, where that is another class. */
  outvoted(s) {
    const label = this.segmentLabel(s);
    if (label === classOf(this.track.winners[s])) return null;
    const values = this.segmentValues(s, label);
    const most = Math.max(...values);
    return h(
      'p',
      { id: 'outvoted' },
      'By all prototypes together it is ',
      swatch(label),
      h('strong', {}, this.labels[label]),
      ...(most > 0 ? [', to which most comes from ', ...this.ledgerName(values.indexOf(most), true), `: ${signed(most, 3)}.`] : ['.']),
    );
  }

  /** Which of the two classes in question is ahead in a segment. */
  lead(s) {
    if (this.against === null) return null;
    const margin = this.segmentLogit(s, this.target) - this.segmentLogit(s, this.against);
    const [one, other] = (margin < 0 ? [this.against, this.target] : [this.target, this.against]).map((c) => this.labels[c]);
    return h('p', { class: 'hint', id: 'lead' }, `Here the logit of ${one} exceeds that of ${other} by ${Math.abs(margin).toFixed(3)}.`);
  }

  figure(role, caption, content) {
    return h('figure', { 'data-role': role }, content, h('figcaption', {}, caption));
  }

  prototypeFigure(m) {
    const id = `sound-prototype-${m}`;
    const absent = page.recorded ? 'No recording of it is at hand.' : 'Not sonified in this report; ask for more with --sounds.';
    if (!page.pictures[m]) {
      return this.figure('prototype', `Prototype ${nameOf(m)}`, h('p', { class: 'absent' }, absent));
    }
    return this.figure('prototype', page.recorded ? `Nearest to prototype ${nameOf(m)}` : `Prototype ${nameOf(m)}, as sound`, soundButton(`Play prototype ${nameOf(m)}`, page.pictures[m], { id }));
  }

  nearest(m) {
    if (page.nearest === null) return h('p', { class: 'hint' }, 'The model does not store which training segments are nearest to its prototypes.');
    const [first] = page.nearest[m] || [];
    if (!first) return null;
    const where = h('bdi', {}, first.track);
    return h('p', { class: 'hint' }, 'Nearest training segment of this prototype: ', where, ` at ${clock(first.offset)} (${page.labels[first.label]}), distance ${first.distance.toFixed(3)}.`);
  }

  drawTrack() {
    const { explanation } = this.track;
    const [target, against] = [this.target, this.against];
    const { values: given, rest, restName, more } = this.given();
    const parts = [
      h('h2', {}, 'Whole track ', h('span', { class: 'light' }, 'average of all segments')),
      this.ledger({
        id: 'decision',
        title: `What makes up ${this.labels[target]}${more}`,
        values: given[target],
        bias: rest[target],
        biasName: restName,
        total: explanation.logits[target],
        sum: `logit of ${this.labels[target]}`,
        classes: [target],
        sounds: true,
      }),
    ];
    if (against !== null) {
      const values = this.contrastValues(target, against);
      parts.push(
        this.ledger({
          id: 'contrast',
          title: `${this.labels[target]} against ${this.labels[against]}`,
          values,
          bias: rest[target] - rest[against],
          biasName: restName,
          total: explanation.logits[target] - explanation.logits[against],
          sum: 'difference of the logits',
          classes: [target, against],
          both: true,
          sounds: true,
        }),
        h('p', { class: 'hint' }, this.speaksFor(values)),
        h('p', { class: 'hint', id: 'plainness' }, this.plainness()),
      );
    }
    if (this.track.temperature) parts.push(h('p', { class: 'hint', id: 'temperature' }, this.spread()));
    this.trackPanel.replaceChildren(...parts);
  }

  /** Why logits that lie close together are scores that lie far apart. */
  spread() {
    const { temperature } = this.track;
    const factor = Math.exp(0.1 / temperature);
    return (
      `Scores are the softmax of the logits divided by ${temperature}, the temperature the model was trained with: ` +
      `a lead of 0.1 makes one score ${factor >= 10 ? Math.round(factor) : factor.toFixed(1)} times the other.`
    );
  }

  /** How plain the reasons for the label are: which prototype is closest, how many decide, and how much is taken back. */
  plainness() {
    const { label, explanation } = this.track;
    const { agreement, compactness, cancellation } = explanation.reasons;
    const closest = agreement ? `a prototype of ${label} too` : 'a prototype of another class';
    const prototypes = `${compactness} prototype${compactness === 1 ? '' : 's'}`;
    return (
      `The most similar prototype of the whole track is ${closest}. ${prototypes} make 90 % of what speaks for ${label} ` +
      `against ${explanation.runner_up}; what speaks for ${explanation.runner_up} takes ${Math.round(100 * cancellation)} % of it back.`
    );
  }

  speaksFor(values) {
    const other = this.labels[this.against];
    const lowest = values.map((value, m) => [value, m]).filter(([value]) => value < 0).sort((a, b) => a[0] - b[0]).slice(0, 3);
    const margins = this.track.segments.map((_, s) => [this.segmentLogit(s, this.against) - this.segmentLogit(s, this.target), s]);
    const moments = margins.filter(([value]) => value > 0).sort((a, b) => b[0] - a[0]);
    const prototypes = lowest.length ? `prototypes ${lowest.map(([, m]) => nameOf(m)).join(', ')}` : 'no prototype';
    const when = moments.length
      ? `${moments.length} of ${margins.length} segments, most of all the one at ${clock(this.track.segments[moments[0][1]].start)}`
      : 'no segment';
    return `What speaks for ${other} instead: ${prototypes}; and ${when}.`;
  }

  /**
   * Rows that add up to the number below them: some prototypes, the others by class, and the bias.
   *
   * `classes` are the classes whose other prototypes get a row of their own; `both` shows as many for as against.
   */
  ledger({ id = null, title, values, bias, biasName = 'bias', total, sum, classes, both = false, sounds = false }) {
    const digits = digitsFor([total, ...values]);
    const unit = 10 ** digits;
    const round = (value) => Math.round(value * unit);
    const shown = this.largest(values, both).filter((m) => round(values[m]) !== 0);
    const rows = shown.map((m) => ({ name: this.ledgerName(m, sounds), value: round(values[m]), raw: values[m], colour: colour(classOf(m)) }));
    const others = values.map((_, m) => m).filter((m) => !shown.includes(m));
    const group = (name, members, paint) => {
      const raw = members.reduce((whole, m) => whole + values[m], 0);
      if (members.length) rows.push({ name: `${members.length} ${name}`, value: round(raw), raw, kind: 'rest', colour: paint });
    };
    for (const c of classes) group(`other ${this.labels[c]}`, others.filter((m) => classOf(m) === c), colour(c));
    group('of other classes', others.filter((m) => !classes.includes(classOf(m))), null);
    rows.push({ name: biasName, value: round(bias), raw: bias, kind: 'rest' });
    // Rounding leaves a unit or two of the last digit: the row that notices it least takes them, so that the column adds up as it is read.
    const largest = rows.reduce((best, row) => (Math.abs(row.value) > Math.abs(best.value) ? row : best));
    largest.value += round(total) - rows.reduce((whole, row) => whole + row.value, 0);
    const scale = Math.max(...rows.map((row) => Math.abs(row.value)), 1);
    const draw = ({ name, value, raw, kind = '', colour: paint = null }) =>
      h(
        'tr',
        { class: kind },
        h('th', { scope: 'row' }, name),
        h('td', { class: 'bar', 'aria-hidden': 'true' }, h('span', { class: value < 0 ? 'below' : '', '--value': Math.abs(value) / scale, '--colour': paint })),
        h('td', { class: 'figure', 'data-value': raw }, kind === 'sum' ? fixed(value / unit, digits) : signed(value / unit, digits)),
      );
    return h(
      'table',
      { class: 'ledger', id },
      h('caption', {}, title),
      h('tbody', {}, rows.map(draw), draw({ name: sum, value: round(total), raw: total, kind: 'sum' })),
    );
  }

  /** The prototypes with the largest values by size; with `both`, half of them for and half against. */
  largest(values, both) {
    const order = values.map((_, m) => m).sort((a, b) => Math.abs(values[b]) - Math.abs(values[a]) || a - b);
    if (!both) return order.slice(0, SHOWN);
    const half = (wanted) => order.filter((m) => wanted(values[m])).slice(0, SHOWN / 2);
    return [...half((value) => value > 0), ...half((value) => value < 0)];
  }

  ledgerName(m, sounds) {
    const name = [swatch(classOf(m)), nameOf(m)];
    const id = `sound-prototype-${m}`;
    if (!sounds || !page.pictures[m]) return name;
    const button = h('button', { type: 'button', class: 'listen', 'aria-pressed': 'false', 'aria-label': `Play prototype ${nameOf(m)}` });
    button.addEventListener('click', () => (player.plays(button) ? player.stop() : player.play([{ id, element: button }])));
    return [...name, button];
  }

  classes() {
    const { explanation, scores, winners, segments } = this.track;
    const wins = this.labels.map((_, c) => winners.filter((m, s) => !segments[s].silent && classOf(m) === c).length);
    const digits = digitsFor(explanation.logits);
    return h(
      'section',
      { 'aria-label': 'All classes', class: 'panel' },
      h(
        'table',
        { class: 'classes', id: 'classes' },
        h('caption', {}, 'All classes'),
        h('thead', {}, h('tr', {}, ['class', 'score', 'logit', 'segments'].map((name) => h('th', { scope: 'col' }, name)))),
        h(
          'tbody',
          {},
          this.order.map((c) =>
            h(
              'tr',
              {},
              h('th', { scope: 'row' }, swatch(c), this.labels[c]),
              h('td', { class: 'figure', 'data-value': scores[this.labels[c]] }, fixed(scores[this.labels[c]], 3)),
              h('td', { class: 'figure', 'data-value': explanation.logits[c] }, fixed(explanation.logits[c], digits)),
              h('td', { class: 'figure' }, String(wins[c])),
            ),
          ),
        ),
      ),
    );
  }

  footer() {
    const save = () => {
      const text = document.getElementById(`track-${this.index}`).textContent;
      const link = h('a', { href: URL.createObjectURL(new Blob([text], { type: 'application/json' })), download: 'explanation.json' });
      link.click();
    };
    return h(
      'footer',
      {},
      h(
        'p',
        {},
        'A contribution is a similarity times the weight of the linear layer; contributions and bias sum to the logit. ' +
          'Numbers are rounded so that each column adds up. ' +
          (page.recorded
            ? 'What is played for a prototype is the training segment nearest to it: this model has no decoder.'
            : 'A sonified prototype is what the decoder makes of it, not a recording.'),
      ),
      h('button', { type: 'button', class: 'quiet', onclick: save }, 'Save the numbers as JSON'),
    );
  }
}

const buttons = [...document.querySelectorAll('[data-track]')];
function show(index) {
  buttons.forEach((button) => button.setAttribute('aria-pressed', String(Number(button.dataset.track) === index)));
  new TrackView(index).mount(document.getElementById('view'));
}
buttons.forEach((button) => button.addEventListener('click', () => show(Number(button.dataset.track))));
if (document.getElementById('track-0')) show(0);
