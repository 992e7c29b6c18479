'use strict';
// A MiniGPT or a ModernGPT in plain JavaScript: the tokenizer, the forward pass, the choice of a token,
// and what one sees of them.
// The names are those of minigpt/model.py and minigpt/beyond/model.py.

// ---------------------------------------------------------------- the weights

function bytesOf(base64) {
  const letters = atob(base64);
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
  return bytes;
}

// The number that each of the 65,536 patterns of a float16 stands for
function float16Values() {
  const values = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const sign = bits >> 15 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    if (exponent === 0) values[bits] = sign * fraction * 2 ** -24;
    else values[bits] = sign * (1 + fraction / 1024) * 2 ** (exponent - 15); // the page holds no infinities
  }
  return values;
}

// Parameters by name, from base64 in which they follow one another
function unpack(base64, parameters, values) {
  const bytes = bytesOf(base64);
  const weights = {};
  let at = 0;
  for (const [name, length] of parameters) {
    const numbers = new Float32Array(length);
    for (let i = 0; i < length; i++, at += 2) numbers[i] = values[bytes[at] | bytes[at + 1] << 8];
    weights[name] = numbers;
  }
  return weights;
}

// ---------------------------------------------------------------- the tokenizer

const CLEAN = {
  none: text => text,
  ascii: text => text.toLowerCase().replace(/[^\x00-\x7f]/gu, ''),
};

// GPT-2's rule for where a text may be cut before pairs are merged
const PIECES = new RegExp("'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\p{White_Space}\\p{L}\\p{N}]+" +
  '|\\p{White_Space}+(?!\\P{White_Space})|\\p{White_Space}+', 'gu');

// GPT-2 writes each byte as one visible letter
function lettersOfBytes() {
  const letters = [];
  let spare = 256;
  for (let byte = 0; byte < 256; byte++) {
    const visible = byte > 32 && byte < 127 || byte > 160 && byte !== 173;
    letters.push(String.fromCharCode(visible ? byte : spare++));
  }
  return letters;
}

function hexadecimal(number, digits) {
  return number.toString(16).toUpperCase().padStart(digits, '0');
}

class Tokenizer {
  constructor(tables) {
    this.tokens = tables.tokens;   // the text of each id, a letter for each byte
    this.special = new Map(tables.special);
    this.ids = new Map(tables.tokens.map((token, id) => [token, id]));
    this.ranks = new Map(tables.merges.map((pair, rank) => [pair, rank]));
    this.letters = lettersOfBytes();
    this.bytes = new Map(this.letters.map((letter, byte) => [letter, byte]));
    this.merged = new Map();       // pieces seen so far
  }

  // Merge the neighbours that were merged first in training, until no pair is known
  merge(piece) {
    if (this.merged.has(piece)) return this.merged.get(piece);
    const parts = [...piece];
    while (parts.length > 1) {
      let best = -1;
      let lowest = Infinity;
      for (let i = 0; i + 1 < parts.length; i++) {
        const rank = this.ranks.get(`${parts[i]} ${parts[i + 1]}`);
        if (rank < lowest) [best, lowest] = [i, rank];
      }
      if (best < 0) break;
      parts.splice(best, 2, parts[best] + parts[best + 1]);
    }
    const ids = parts.map(part => this.ids.get(part));
    this.merged.set(piece, ids);
    return ids;
  }

  encodePlain(text) {
    const ids = [];
    for (const piece of text.match(PIECES) || []) {
      const bytes = new TextEncoder().encode(piece);
      ids.push(...this.merge(Array.from(bytes, byte => this.letters[byte]).join('')));
    }
    return ids;
  }

  encode(text) {
    let first = null;
    for (const content of this.special.keys()) {
      const place = text.indexOf(content);
      if (place >= 0 && (first === null || place < first.place)) first = {content, place};
    }
    if (first === null) return this.encodePlain(text);
    const after = text.slice(first.place + first.content.length);
    const before = this.encodePlain(text.slice(0, first.place));
    return [...before, this.special.get(first.content), ...this.encode(after)];
  }

  bytesOfToken(id) {
    return Uint8Array.from([...this.tokens[id]].map(letter => this.bytes.get(letter)));
  }

  isSpecial(id) {
    return [...this.special.values()].includes(id);
  }

  decode(ids) {
    const bytes = [];
    for (const id of ids) {
      if (this.isSpecial(id)) bytes.push(...new TextEncoder().encode(this.tokens[id]));
      else bytes.push(...this.bytesOfToken(id));
    }
    return new TextDecoder('utf-8', {ignoreBOM: true}).decode(Uint8Array.from(bytes));
  }

  // A token as one can see it: white space has signs, a part of a letter is written as its bytes
  visible(id) {
    if (this.isSpecial(id)) return this.tokens[id];
    const bytes = this.bytesOfToken(id);
    try {
      const text = new TextDecoder('utf-8', {fatal: true, ignoreBOM: true}).decode(bytes);
      const signs = {' ': '␣', '\n': '↵', '\t': '⇥'};
      return text.replace(/[ \n\t]/g, sign => signs[sign])
        .replace(/[\p{Cc}\p{Cf}\p{Z}]/gu, sign => `U+${hexadecimal(sign.codePointAt(0), 4)}`);
    } catch {
      return Array.from(bytes, byte => hexadecimal(byte, 2)).join(' ');
    }
  }
}

// ---------------------------------------------------------------- the forward pass

// weight holds one row for each number that comes out
function linear(x, weight, bias) {
  const width = x.length;
  const whole = width - width % 4;
  const out = new Float32Array(weight.length / width);
  for (let row = 0; row < out.length; row++) {
    const at = row * width;
    let a = 0, b = 0, c = 0, d = 0;  // four sums at a time are faster than one
    for (let i = 0; i < whole; i += 4) {
      a += weight[at + i] * x[i];
      b += weight[at + i + 1] * x[i + 1];
      c += weight[at + i + 2] * x[i + 2];
      d += weight[at + i + 3] * x[i + 3];
    }
    for (let i = whole; i < width; i++) a += weight[at + i] * x[i];
    out[row] = a + b + c + d + (bias ? bias[row] : 0);
  }
  return out;
}

function layerNorm(x, weight, bias, epsilon) {
  let mean = 0;
  for (const number of x) mean += number / x.length;
  let variance = 0;
  for (const number of x) variance += (number - mean) ** 2 / x.length;
  const scale = 1 / Math.sqrt(variance + epsilon);
  return x.map((number, i) => (number - mean) * scale * weight[i] + bias[i]);
}

// 1 - erf(x) for x >= 0, to seven digits (Numerical Recipes)
const ERFC = [-1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806,
              0.27886807, -1.13520398, 1.48851587, -0.82215223, 0.17087277];
function erfc(x) {
  const t = 1 / (1 + x / 2);
  let sum = 0;
  for (let i = ERFC.length - 1; i >= 0; i--) sum = sum * t + ERFC[i];
  return t * Math.exp(-x * x + sum);
}

const GELU = {
  gelu: x => x < 0 ? x * erfc(-x / Math.SQRT2) / 2 : x * (1 - erfc(x / Math.SQRT2) / 2),
  gelu_new: x => x / 2 * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
};

// A vector of the root mean square 1, times the gain
function rmsNorm(x, weight, epsilon) {
  let square = 0;
  for (const number of x) square += number ** 2 / x.length;
  const scale = 1 / Math.sqrt(square + epsilon);
  return x.map((number, i) => number * scale * weight[i]);
}

const silu = x => x / (1 + Math.exp(-x));

function softmax(scores) {
  let highest = -Infinity;
  for (const score of scores) if (score > highest) highest = score;
  const p = new Float64Array(scores.length);
  let sum = 0;
  for (let i = 0; i < p.length; i++) sum += p[i] = Math.exp(scores[i] - highest);
  for (let i = 0; i < p.length; i++) p[i] /= sum;
  return p;
}

class MiniGPT {
  constructor(shape, weights) {
    this.shape = shape;
    this.weights = weights;
    this.head = weights['lm_head.weight'] || weights['wte.weight'];  // tied: the token embedding
  }

  // Room for the keys and values of as many tokens as fit, and for what each token attended to
  newCache() {
    const {n_layer, n_positions, n_embd} = this.shape;
    const blocks = [];
    for (let b = 0; b < n_layer; b++) {
      blocks.push({keys: new Float32Array(n_positions * n_embd),
                   values: new Float32Array(n_positions * n_embd),
                   attention: []});
    }
    return {length: 0, blocks};
  }

  // What one token takes from the tokens before it and from itself
  attend(qkv, memory, t) {
    const {n_embd: C, n_head} = this.shape;
    const D = C / n_head;
    memory.keys.set(qkv.subarray(C, 2 * C), t * C);
    memory.values.set(qkv.subarray(2 * C), t * C);
    const y = new Float32Array(C);
    const seen = [];
    for (let head = 0; head < n_head; head++) {
      const from = head * D;
      const scores = new Float64Array(t + 1);
      for (let s = 0; s <= t; s++) {
        let sum = 0;
        for (let i = 0; i < D; i++) sum += qkv[from + i] * memory.keys[s * C + from + i];
        scores[s] = sum / Math.sqrt(D);
      }
      const p = softmax(scores);
      for (let s = 0; s <= t; s++) {
        for (let i = 0; i < D; i++) y[from + i] += p[s] * memory.values[s * C + from + i];
      }
      seen.push(Float32Array.from(p));
    }
    memory.attention[t] = seen;
    return y;
  }

  // The residual stream of one token after the last LayerNorm
  hidden(id, cache) {
    const {n_embd: C, n_layer, layer_norm_epsilon: epsilon, activation} = this.shape;
    const w = this.weights;
    const t = cache.length;
    const norm = (x, name) => layerNorm(x, w[`${name}.weight`], w[`${name}.bias`], epsilon);
    const layer = (x, name) => linear(x, w[`${name}.weight`], w[`${name}.bias`]);
    const x = new Float32Array(C);
    for (let i = 0; i < C; i++) x[i] = w['wte.weight'][id * C + i] + w['wpe.weight'][t * C + i];
    for (let b = 0; b < n_layer; b++) {
      const qkv = layer(norm(x, `h.${b}.ln_1`), `h.${b}.attn.c_attn`);
      const looked = layer(this.attend(qkv, cache.blocks[b], t), `h.${b}.attn.c_proj`);
      for (let i = 0; i < C; i++) x[i] += looked[i];
      const wide = layer(norm(x, `h.${b}.ln_2`), `h.${b}.mlp.c_fc`).map(GELU[activation]);
      const thought = layer(wide, `h.${b}.mlp.c_proj`);
      for (let i = 0; i < C; i++) x[i] += thought[i];
    }
    cache.length = t + 1;
    return norm(x, 'ln_f');
  }

  logits(x) {
    return linear(x, this.head);
  }
}

class ModernGPT extends MiniGPT {
  constructor(shape, weights) {
    super(shape, weights);
    this.head = weights['lm_head.weight'] || weights['embed_tokens.weight'];
  }

  // Queries or keys of one token: each head normalized, and its pairs of numbers rotated by its position
  turned(x, gain, t) {
    const {n_embd: C, n_head, rope_theta, norm_epsilon} = this.shape;
    const D = C / n_head;
    const out = new Float32Array(C);
    for (let from = 0; from < C; from += D) {
      const head = rmsNorm(x.subarray(from, from + D), gain, norm_epsilon);
      for (let i = 0; i < D / 2; i++) {
        const angle = t * rope_theta ** (-2 * i / D);
        const [first, second] = [head[i], head[i + D / 2]];
        out[from + i] = first * Math.cos(angle) - second * Math.sin(angle);
        out[from + i + D / 2] = second * Math.cos(angle) + first * Math.sin(angle);
      }
    }
    return out;
  }

  // The residual stream of one token after the last norm
  hidden(id, cache) {
    const {n_embd: C, n_layer, norm_epsilon: epsilon} = this.shape;
    const w = this.weights;
    const t = cache.length;
    const norm = (x, name) => rmsNorm(x, w[`${name}.weight`], epsilon);
    const layer = (x, name) => linear(x, w[`${name}.weight`]);
    const x = w['embed_tokens.weight'].slice(id * C, (id + 1) * C);
    for (let b = 0; b < n_layer; b++) {
      const attention = `layers.${b}.self_attn`;
      const normed = norm(x, `layers.${b}.input_layernorm`);
      const qkv = new Float32Array(3 * C);
      qkv.set(this.turned(layer(normed, `${attention}.q_proj`), w[`${attention}.q_norm.weight`], t));
      qkv.set(this.turned(layer(normed, `${attention}.k_proj`), w[`${attention}.k_norm.weight`], t), C);
      qkv.set(layer(normed, `${attention}.v_proj`), 2 * C);
      const looked = layer(this.attend(qkv, cache.blocks[b], t), `${attention}.o_proj`);
      for (let i = 0; i < C; i++) x[i] += looked[i];
      const read = norm(x, `layers.${b}.post_attention_layernorm`);
      const up = layer(read, `layers.${b}.mlp.up_proj`);
      const wide = layer(read, `layers.${b}.mlp.gate_proj`).map((gate, i) => silu(gate) * up[i]);
      const thought = layer(wide, `layers.${b}.mlp.down_proj`);
      for (let i = 0; i < C; i++) x[i] += thought[i];
    }
    cache.length = t + 1;
    return norm(x, 'norm');
  }
}

const MODELS = {MiniGPT, ModernGPT};

// Where the context starts in a text of n tokens: it moves on by half a context whenever it is full
function windowStart(n, n_positions) {
  const half = Math.max(1, Math.floor(n_positions / 2));
  return half * Math.max(0, Math.ceil((n - n_positions) / half));
}

// A text as one model reads it
class Reading {
  constructor(model) {
    this.model = model;
    this.ids = [];
    this.nats = [];    // surprise of each token; the first has none
    this.start = -1;   // of the window in the cache
    this.logits = null;
  }

  // Read a text, from where it differs from the last one
  read(ids) {
    const P = this.model.shape.n_positions;
    let kept = 0;
    while (kept < ids.length - 1 && ids[kept] === this.ids[kept]) kept++;
    if (this.cache && kept >= this.start) this.cache.length = Math.min(this.cache.length, kept - this.start);
    if (!this.cache || windowStart(kept + 1, P) !== this.start || this.cache.length !== kept - this.start) {
      this.start = -1;
    }
    this.ids = [...ids];
    this.nats.length = Math.min(this.nats.length, kept + 1);
    if (!ids.length) {
      this.logits = null;
      return;
    }
    for (let n = kept + 1; n <= ids.length; n++) {
      const start = windowStart(n, P);
      if (start !== this.start) {
        this.start = start;
        this.cache = this.model.newCache();
        for (let i = start; i < n - 1; i++) this.model.hidden(ids[i], this.cache);
      }
      this.logits = this.model.logits(this.model.hidden(ids[n - 1], this.cache));
      if (n < ids.length) this.nats[n] = surprise(this.logits, ids[n]);
    }
  }

  add(id) {
    this.nats[this.ids.length] = surprise(this.logits, id);
    this.read([...this.ids, id]);
  }

  // How much token number t attends to each token of the text; null where it is outside of the window
  attention(block, head, t) {
    if (t < this.start || !this.cache || block >= this.cache.blocks.length) return null;
    const seen = this.cache.blocks[block].attention[t - this.start];
    return seen && head < seen.length ? seen[head] : null;
  }
}

// Nats that a token costs: minus the logarithm of its probability
function surprise(logits, id) {
  let highest = -Infinity;
  for (const logit of logits) if (logit > highest) highest = logit;
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - highest);
  return Math.log(sum) + highest - logits[id];
}

function likeliest(p, n) {
  const best = [];
  for (let id = 0; id < p.length; id++) {
    if (best.length === n && p[id] <= p[best[n - 1]]) continue;
    let place = best.length;
    while (place > 0 && p[best[place - 1]] < p[id]) place--;
    best.splice(place, 0, id);
    if (best.length > n) best.pop();
  }
  return best;
}

// The logit that the topK likeliest tokens reach; sorting all of them would take longer than the model
function lowestKept(logits, topK) {
  if (topK >= logits.length) return -Infinity;
  if (topK <= 1000) return logits[likeliest(logits, topK)[topK - 1]];
  return logits.slice().sort()[logits.length - topK];
}

// The probabilities that a token is drawn with
function drawn(logits, temperature, topK) {
  const p = new Float64Array(logits.length);
  const highest = likeliest(logits, 1)[0];
  if (temperature === 0) {
    p[highest] = 1;
    return p;
  }
  const lowest = lowestKept(logits, topK);
  let sum = 0;
  for (let id = 0; id < p.length; id++) {
    if (logits[id] >= lowest) sum += p[id] = Math.exp((logits[id] - logits[highest]) / temperature);
  }
  for (let id = 0; id < p.length; id++) p[id] /= sum;
  return p;
}

function draw(p, random) {
  let left = random();
  let last = 0;
  for (let id = 0; id < p.length; id++) {
    if (p[id] === 0) continue;
    left -= p[id];
    last = id;
    if (left < 0) break;
  }
  return last;
}

// Random numbers that a seed repeats (mulberry32)
function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = state + 0x6D2B79F5 >>> 0;
    let t = state;
    t = Math.imul(t ^ t >>> 15, t | 1);
    t ^= t + Math.imul(t ^ t >>> 7, t | 61);
    return ((t ^ t >>> 14) >>> 0) / 4294967296;
  };
}

// ---------------------------------------------------------------- what one sees

const BARS = 10;           // likeliest tokens that are shown
const MOST_TOKENS = 500;   // that are drawn in one go
const byId = id => document.getElementById(id);
const percent = share => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;

// An element with a class and a text
function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

class Panel {
  constructor(number, entry, tokenizer, model) {
    this.root = byId(`model-${number}`);
    this.number = number;
    this.clean = CLEAN[entry.clean];
    this.tokenizer = tokenizer;
    this.reading = new Reading(model);
    this.prompt = [];      // ids
    this.chosen = null;    // token whose attention is shown; null: the last
    this.part = name => this.root.querySelector(`.${name}`);
    this.rows = [];
    for (let i = 0; i < BARS; i++) this.rows.push(this.newRow());
    this.list = this.part('tokens');
    this.list.addEventListener('keydown', event => this.move(event));
    this.list.addEventListener('click', event => this.point(event));
  }

  // A row of the table of likely tokens: made once, so that a button keeps the focus
  newRow() {
    const row = element('tr');
    const button = element('button', 'take');
    button.type = 'button';
    const name = element('span');
    button.append(element('span', 'hidden', 'take '), name);
    button.addEventListener('click', () => take(this, Number(button.dataset.id)));
    const token = element('th');
    token.scope = 'row';
    token.append(button);
    const bar = element('td', 'bar');
    const before = element('span', 'before');
    const now = element('span', 'now');
    bar.append(before, now);
    const cells = [element('td', 'number'), element('td', 'number')];
    row.append(token, ...cells, bar);
    this.part('bars').append(row);
    return {row, button, name, before, now, cells};
  }

  start(text) {
    this.prompt = this.tokenizer.encode(this.clean(text));
    this.random = generator(settings.seed);
    this.chosen = null;
    this.reading.read(this.prompt);
  }

  step() {
    const p = drawn(this.reading.logits, settings.temperature, settings.topK);
    const id = draw(p, this.random);
    this.add(id);
    return {id, p: p[id]};
  }

  add(id) {
    this.reading.add(id);
    this.chosen = null;
  }

  back() {
    if (this.reading.ids.length <= this.prompt.length) return;
    this.reading.read(this.reading.ids.slice(0, -1));
    this.chosen = null;
  }

  ended() {
    return this.tokenizer.isSpecial(this.reading.ids[this.reading.ids.length - 1]);
  }

  chosenToken() {
    const last = this.reading.ids.length - 1;
    return this.chosen === null ? last : Math.min(this.chosen, last);
  }

  // Arrow keys go from token to token
  move(event) {
    const last = this.reading.ids.length - 1;
    const now = this.chosenToken();
    const places = {ArrowLeft: now - 1, ArrowUp: now - 1, ArrowRight: now + 1, ArrowDown: now + 1,
                    Home: 0, End: last};
    if (!(event.key in places) || last < 0) return;
    event.preventDefault();
    this.chosen = Math.max(0, Math.min(last, places[event.key]));
    this.showTokens();
    const option = this.list.children[this.chosen];
    option.scrollIntoView({block: 'nearest'});
  }

  point(event) {
    const option = event.target.closest('[role=option]');
    if (!option) return;
    this.chosen = [...this.list.children].indexOf(option);
    this.showTokens();
  }

  show() {
    this.showTokens();
    this.showBars();
    const {ids} = this.reading;
    this.part('prompt').textContent = this.tokenizer.decode(ids.slice(0, this.prompt.length));
    this.part('new').textContent = this.tokenizer.decode(ids.slice(this.prompt.length));
    if (this.chosen !== null) return;
    for (const box of [this.list, this.part('written')]) box.scrollTop = box.scrollHeight;  // the newest
  }

  showTokens() {
    const {ids, nats, start} = this.reading;
    const chosen = this.chosenToken();
    const byAttention = settings.colour === 'attention';
    const weights = byAttention ? this.reading.attention(settings.block, settings.head, chosen) : null;
    const full = weights ? Math.max(0.1, ...weights) : 1;  // the weight that has the full colour
    const options = ids.map((id, i) => {
      const option = element('li', i < this.prompt.length ? 'token' : 'token new');
      option.id = `token-${this.number}-${i}`;
      option.setAttribute('role', 'option');
      option.setAttribute('aria-selected', i === chosen);
      const text = this.tokenizer.visible(id);
      let share = 0;
      let number = '–';
      let spoken = byAttention ? 'no attention' : 'nothing before it';
      let unit = '';
      if (byAttention && weights && i >= start && i - start < weights.length) {
        share = weights[i - start] / full;
        number = percent(weights[i - start]);
        spoken = 'attention';
      } else if (!byAttention && nats[i] !== undefined && i > 0) {
        share = Math.min(1, nats[i] / 10);
        number = nats[i].toFixed(1);
        spoken = 'surprise';
        unit = ' nats';
      }
      option.style.setProperty('--share', share.toFixed(3));
      if (i < start) option.classList.add('outside');
      const origin = i < this.prompt.length ? 'prompt' : 'drawn';
      option.append(element('span', 'text', text), element('span', 'hidden', `, ${origin}, ${spoken} `),
        element('span', 'value', number), element('span', 'hidden', unit));
      return option;
    });
    this.list.replaceChildren(...options);
    this.list.classList.toggle('by-attention', byAttention);
    if (ids.length) this.list.setAttribute('aria-activedescendant', `token-${this.number}-${chosen}`);
    else this.list.removeAttribute('aria-activedescendant');
    this.part('note').textContent = this.note(byAttention, weights, chosen);
  }

  note(byAttention, weights, chosen) {
    const {ids, nats, start, model} = this.reading;
    if (!ids.length) return 'No token yet: type at least one character that this model knows.';
    const {n_layer, n_head, n_positions} = model.shape;
    const outside = start ? ` The first ${start} tokens are no longer in the context of ${n_positions}.` : '';
    if (byAttention) {
      if (settings.block >= n_layer) return `This model has only ${n_layer} block${n_layer > 1 ? 's' : ''}.`;
      if (settings.head >= n_head) return `This model has only ${n_head} heads.`;
      if (!weights) return `The outlined token is outside of the context.${outside}`;
      const text = this.tokenizer.visible(ids[chosen]);
      return `How much the outlined token, ${text}, takes from itself and from each token to its left, ` +
        `in block ${settings.block + 1}, head ${settings.head + 1}.${outside}`;
    }
    const known = nats.slice(1, ids.length);
    if (!known.length) return 'Surprise needs a second token: the first has nothing before it.';
    const mean = known.reduce((sum, number) => sum + number, 0) / known.length;
    return `${ids.length} tokens; mean surprise ${mean.toFixed(2)} nats, ` +
      `perplexity ${Math.exp(mean).toFixed(1)}.${outside}`;
  }

  showBars() {
    const {logits} = this.reading;
    this.part('next').hidden = !logits;
    if (!logits) return;
    const plain = softmax(logits);
    const now = drawn(logits, settings.temperature, settings.topK);
    const shown = likeliest(plain, BARS);
    let rest = 1;
    let left = 0;
    for (const share of now) if (share > 0) left++;
    const longest = Math.max(...shown.map(id => Math.max(plain[id], now[id])));
    this.rows.forEach((parts, i) => {
      const id = shown[i];
      parts.row.hidden = id === undefined;
      if (id === undefined) return;
      rest -= now[id];
      parts.button.dataset.id = id;
      parts.name.textContent = this.tokenizer.visible(id);
      parts.cells[0].textContent = percent(plain[id]);
      parts.cells[1].textContent = percent(now[id]);
      parts.before.style.width = `${100 * plain[id] / longest}%`;
      parts.now.style.width = `${100 * now[id] / longest}%`;
      parts.row.classList.toggle('out', now[id] === 0);
    });
    const many = left === 1 ? 'One token' : `${left.toLocaleString('en')} tokens`;
    this.part('rest').textContent =
      `${many} can be drawn; those below the list have ${percent(Math.max(0, rest))} together.`;
  }
}

// ---------------------------------------------------------------- the controls

const data = JSON.parse(byId('page-data').textContent);
const settings = {temperature: data.temperature, topK: data.top_k, seed: 0,
                  colour: 'surprise', block: 0, head: 0};
const topKs = [1, 2, 3, 5, 10, 20, 40, 100, 200, 500, 1000, 2000, 5000, 10000, Infinity];
let panels = [];
let timer = null;   // of the next token, while the models go on
let run = null;     // since "Go on": tokens, seconds, rounds, and the panels whose text has not ended

function say(text) {
  byId('said').textContent = text;
}

function showAll() {
  panels.forEach(panel => panel.show());
  const ready = panels.length > 0 && panels.every(panel => panel.reading.logits);
  const added = panels.some(panel => panel.reading.ids.length > panel.prompt.length);
  byId('step').disabled = byId('go').disabled = !ready;
  byId('back').disabled = byId('again').disabled = !added;
}

// How fast the models compute while they write; the pace and the drawing of the page do not count
function tokensPerSecond() {
  return Math.round(run.tokens / Math.max(run.seconds, 1e-4)).toLocaleString('en');
}

function start() {
  pause();
  panels.forEach(panel => panel.start(byId('prompt').value));
  showAll();
}

// One token from each model
function step() {
  const words = panels.map(panel => {
    const {id, p} = panel.step();
    return `${panel.tokenizer.visible(id)} (${percent(p)})`;
  });
  showAll();
  return words.join(' and ');
}

function take(panel, id) {
  pause();
  panel.add(id);
  showAll();
  say(`Taken: ${panel.tokenizer.visible(id)}`);
}

function pause() {
  if (timer === null) return;
  clearTimeout(timer);
  timer = null;
  byId('go').textContent = 'Go on';
  byId('speed').textContent = '';
  const rate = run.tokens ? `${tokensPerSecond()} tokens per second in this browser. ` : '';
  const texts = panels.map(panel => panel.tokenizer.decode(panel.reading.ids.slice(panel.prompt.length)));
  say(`Paused after ${run.tokens} tokens. ${rate}`);
  byId('read-out').textContent = texts.join('. Second model: ');
}

// Draw on until each text ends, at the chosen pace
function goOn() {
  const pace = Number(byId('pace').value);  // tokens per second; 0: as fast as it can
  const rounds = pace ? 1 : 8;
  for (let i = 0; i < rounds && timer !== null; i++) {
    const before = performance.now();
    for (const panel of run.going) panel.step();
    run.seconds += (performance.now() - before) / 1000;
    run.tokens += run.going.length;
    run.rounds++;
    run.going = run.going.filter(panel => !panel.ended());
    if (run.rounds >= MOST_TOKENS || !run.going.length) pause();
  }
  showAll();
  if (timer === null) return;
  byId('speed').textContent = `${tokensPerSecond()} tokens/s`;
  timer = setTimeout(goOn, pace ? 1000 / pace : 0);
}

function go() {
  if (timer !== null) {
    pause();
    return;
  }
  run = {tokens: 0, seconds: 0, rounds: 0, going: [...panels]};
  byId('go').textContent = 'Pause';
  byId('read-out').textContent = '';
  say('The models write …');
  timer = setTimeout(goOn, 0);
}

function readSettings() {
  const place = Number(byId('top-k').value);
  settings.temperature = Number(byId('temperature').value);
  settings.topK = topKs[place];
  settings.seed = Number(byId('seed').value) || 0;
  settings.colour = byId('by-attention').checked ? 'attention' : 'surprise';
  settings.block = Number(byId('block').value);
  settings.head = Number(byId('head').value);
  const warm = settings.temperature === 0 ? '0: always the likeliest' : settings.temperature.toFixed(2);
  const kept = settings.topK === Infinity ? 'all' : settings.topK.toLocaleString('en');
  byId('temperature-value').textContent = warm;
  byId('top-k-value').textContent = kept;
  byId('temperature').setAttribute('aria-valuetext', warm);
  byId('top-k').setAttribute('aria-valuetext', kept);
  byId('which-head').hidden = settings.colour !== 'attention';
}

function fill(select, count, word) {
  for (let i = 0; i < count; i++) {
    const option = element('option', '', `${word} ${i + 1}`);
    option.value = i;
    select.append(option);
  }
}

function connect() {
  const largest = Math.max(...panels.map(panel => panel.reading.model.shape.vocab_size));
  while (topKs[topKs.length - 2] >= largest) topKs.splice(-2, 1);
  byId('top-k').max = topKs.length - 1;
  const place = topKs.indexOf(data.top_k);
  byId('top-k').value = place < 0 ? topKs.length - 1 : place;
  byId('temperature').value = data.temperature;
  fill(byId('block'), Math.max(...panels.map(panel => panel.reading.model.shape.n_layer)), 'block');
  fill(byId('head'), Math.max(...panels.map(panel => panel.reading.model.shape.n_head)), 'head');
  for (const id of ['temperature', 'top-k', 'block', 'head', 'by-surprise', 'by-attention']) {
    byId(id).addEventListener('input', () => {
      readSettings();
      showAll();
    });
  }
  let waiting;
  byId('prompt').addEventListener('input', () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      start();
      say('');
    }, 150);
  });
  byId('examples').addEventListener('change', event => {
    if (!event.target.value) return;
    byId('prompt').value = event.target.value;
    start();
    say('');
  });
  byId('seed').addEventListener('input', () => {
    readSettings();
    start();
  });
  byId('step').addEventListener('click', () => {
    pause();
    say(`Drawn: ${step()}`);
  });
  byId('go').addEventListener('click', go);
  byId('back').addEventListener('click', () => {
    pause();
    panels.forEach(panel => panel.back());
    showAll();
    say('One token back.');
  });
  byId('again').addEventListener('click', () => {
    start();
    say('Back to the prompt.');
  });
}

function openPage() {
  const values = float16Values();
  const tokenizers = data.tokenizers.map(tables => new Tokenizer(tables));
  panels = data.models.map((entry, number) => {
    const packed = byId(`weights-${number}`);
    const model = new MODELS[entry.kind](entry.shape, unpack(packed.textContent, entry.parameters, values));
    packed.remove();  // the text is not needed any more
    return new Panel(number, entry, tokenizers[entry.tokenizer], model);
  });
  connect();
  readSettings();
  start();
  say('Ready.');
}

// In a report the page stands in a frame, which is made as high as the page is
function fitFrame() {
  const frame = window.frameElement;
  if (!frame || frame.dataset.fit === undefined) return;
  const fit = () => { frame.style.height = `${document.documentElement.offsetHeight + 2}px`; };
  new ResizeObserver(fit).observe(document.documentElement);
}

try {
  openPage();
  fitFrame();
} catch (error) {
  say(`This browser cannot run the page: ${error.message}`);
}
