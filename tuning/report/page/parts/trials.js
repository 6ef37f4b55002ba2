// The table of trials: searched by words and conditions, narrowed to a strategy or a state; two trials side by side.

const compared = [];  // "strategy seed trial" of the ticked ones, the one that was ticked first in front
const MOST_COMPARED = 2;
const NAMES = ['strategy', 'seed', 'trial'];  // what names a trial: between two of these there is no difference to tell
const HOLDS = {
  '<': (a, b) => a < b, '>': (a, b) => a > b, '<=': (a, b) => a <= b, '>=': (a, b) => a >= b,
  '=': (a, b) => a === b, '!=': (a, b) => a !== b,
};

function trialTable() {
  return document.getElementById('table-trials');
}

function trialColumns() {
  return [...trialTable().tHead.rows[0].cells].map((cell) => cell.textContent.trim());
}

// The column that a condition names: by its whole name, else by its last part (accuracy: "best accuracy"), else by a part.
function columnOf(name, columns) {
  const lower = columns.map((column) => column.toLowerCase());
  const rules = [(c) => c === name, (c) => c.split(/[ .]/).pop() === name, (c) => c.includes(name)];
  for (const rule of rules) {
    const index = lower.findIndex(rule);
    if (index >= 0) return index;
  }
  return -1;
}

function numberOrText(text) {
  const value = Number(text);
  return text === '' || Number.isNaN(value) ? text.toLowerCase() : value;
}

// What a row must meet, and the names in conditions that no column has.
function conditionsOf(text, columns) {
  const [tests, unknown] = [[], []];
  for (const word of text.trim().toLowerCase().split(/\s+/).filter(Boolean)) {
    const parts = /^([^<>=!]+)(<=|>=|!=|=|<|>)(.+)$/.exec(word);
    if (!parts) {
      tests.push((row) => [...row.cells].some((cell) => cell.textContent.toLowerCase().includes(word)));
      continue;
    }
    const [, name, sign, limit] = parts;
    const index = columnOf(name, columns);
    if (index < 0) unknown.push(name);
    tests.push((row) => {
      const value = row.cells[index]?.dataset.value ?? '';
      const [left, right] = [numberOrText(value), numberOrText(limit)];
      return value !== '' && typeof left === typeof right && HOLDS[sign](left, right);
    });
  }
  return { tests, unknown };
}

function filterTrials() {
  if (!trialTable()) return;  // the page of several experiments has none
  const columns = trialColumns();
  const { tests, unknown } = conditionsOf(document.getElementById('find-trials').value, columns);
  for (const name of ['strategy', 'state']) {
    const wanted = document.getElementById(`only-${name}`).value;
    const index = columns.indexOf(name);
    if (wanted) tests.push((row) => row.cells[index].dataset.value === wanted);
  }
  const rows = [...trialTable().tBodies[0].rows];
  rows.forEach((row) => { row.hidden = !tests.every((test) => test(row)); });
  const shown = rows.filter((row) => !row.hidden).length;
  const missing = unknown.map((name) => `; no column is called "${name}"`).join('');
  const told = `${shown.toLocaleString('en')} of ${rows.length.toLocaleString('en')} trials${missing}`;
  const place = document.getElementById('found-trials');
  if (place.textContent !== told) place.textContent = told;
  showWhatScrolls();
}

function cellValue(cell) {
  const { value } = cell.dataset;
  if (value === '') return null;
  return cell.matches('.number') ? Number(value) : value;
}

// For the CSV: as they stand in the table, in its order.
function shownTrials() {
  const rows = [...trialTable().tBodies[0].rows].filter((row) => !row.hidden);
  return { columns: trialColumns(), rows: rows.map((row) => [...row.cells].map(cellValue)) };
}

function chooseTrial(box) {
  const { trial } = box.dataset;
  if (compared.includes(trial)) compared.splice(compared.indexOf(trial), 1);
  if (box.checked) compared.push(trial);
  while (compared.length > MOST_COMPARED) compared.shift();
  compareTrials();
  const left = MOST_COMPARED - compared.length;
  document.getElementById('said').textContent = left > 0
    ? `${compared.length} of ${MOST_COMPARED} trials ticked` : 'Two trials stand side by side below the table';
}

// Ticks the boxes of the chosen trials, and shows them once there are two; also after a live update.
function compareTrials() {
  if (!trialTable()) return;
  const found = new Map();
  document.querySelectorAll('.choose').forEach((box) => {
    box.checked = compared.includes(box.dataset.trial);
    if (box.checked) found.set(box.dataset.trial, box.closest('tr'));
  });
  const rows = compared.map((trial) => found.get(trial)).filter(Boolean);
  const place = document.getElementById('compared');
  place.hidden = rows.length < MOST_COMPARED;
  if (place.hidden) return;
  const columns = trialColumns();
  const heading = ['', 'first', 'second', 'difference'].map((name) => element('th', { scope: 'col' }, name));
  const body = columns.map((name, index) => comparedRow(name, ...rows.map((row) => row.cells[index])));
  document.getElementById('table-compared').replaceChildren(
    element('thead', {}, element('tr', {}, ...heading)), element('tbody', {}, ...body));
  drawCompared();
  showWhatScrolls();
}

// The two values as the table of trials shows them.
function comparedRow(name, ...cells) {
  const [first, second] = cells.map(cellValue);
  const numbers = typeof first === 'number' && typeof second === 'number';
  const difference = NAMES.includes(name) || first === second ? '' : numbers ? shownCell(Number((second - first).toPrecision(4))) : 'differs';
  const shown = (cell) => (cell.matches('th') ? cell.dataset.value : cell.textContent);
  return element('tr', first === second ? {} : { class: 'differs' }, element('th', { scope: 'row' }, name),
    ...[...cells.map(shown), difference].map((text) => element('td', { class: 'short' }, text)));
}

// Plotly reads a little HTML in names.
function plainText(text) {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

function comparedCurves() {
  const reports = page.figures.learning?.rows ?? [];
  return compared.map((trial, index) => {
    const own = reports.filter((row) => `${row[0]} ${row[1]} ${row[2]}` === trial);
    const name = `${index ? 'second' : 'first'}: ${plainText(trial)}`;
    const line = { width: 2.4, dash: index ? 'dash' : 'solid' };
    return { name, x: own.map((row) => row[4]), y: own.map((row) => row[5]), mode: 'lines+markers', line };
  });
}

async function drawCompared() {
  if (!window.Plotly || document.getElementById('compared').hidden) return;
  const metric = page.figures.learning?.columns[5] ?? '';
  const layout = { height: 320, margin: { l: 56, r: 16, t: 24, b: 56 }, showlegend: true,
    xaxis: { title: { text: 'epoch' } }, yaxis: { title: { text: `validation ${plainText(metric)}` } } };
  const plot = document.getElementById('plot-compared');
  plot.setAttribute('aria-label', `Learning curves of the trials ${compared.join(' and ')}`);
  const { data, layout: themedLayout } = themed({ plot: { data: comparedCurves(), layout } });
  await Plotly.react(plot, data, themedLayout, { displayModeBar: false, responsive: true });
}
