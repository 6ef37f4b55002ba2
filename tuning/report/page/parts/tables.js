// Tables: sorted by a button in each heading; the numbers behind a figure are put into one when they are asked for.

const sorted = new Map();  // table id -> {column, direction}: survives a live update
const MOST_ROWS = 1000;  // of a figure's table in the page; its CSV has all

function compareCells(a, b) {
  const [left, right] = [a.dataset.value, b.dataset.value];
  if (left === '' || right === '') return (left === '') - (right === '');  // what is missing stands last
  const [x, y] = [Number(left), Number(right)];
  return Number.isNaN(x) || Number.isNaN(y) ? left.localeCompare(right, 'en', { numeric: true }) : x - y;
}

function sortTable(table, column, direction) {
  const sign = direction === 'descending' ? -1 : 1;
  const rows = [...table.tBodies[0].rows];
  const missing = (row) => row.cells[column].dataset.value === '';
  rows.sort((a, b) => (missing(a) || missing(b) ? 1 : sign) * compareCells(a.cells[column], b.cells[column]));
  table.tBodies[0].append(...rows);
  [...table.tHead.rows[0].cells].forEach((cell, index) => {
    if (index === column) cell.setAttribute('aria-sort', direction);
    else cell.removeAttribute('aria-sort');
  });
  sorted.set(table.id, { column, direction });
}

function sortBy(button) {
  const cell = button.closest('th');
  const direction = cell.getAttribute('aria-sort') === 'ascending' ? 'descending' : 'ascending';
  const table = cell.closest('table');
  sortTable(table, cell.cellIndex, direction);
  document.getElementById('said').textContent = `${table.caption.textContent}: by ${button.textContent}, ${direction}`;
}

function sortAgain() {
  for (const [id, { column, direction }] of sorted) {
    const table = document.getElementById(id);
    if (table) sortTable(table, column, direction);
  }
}

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
  made.append(...children);
  return made;
}

function shownCell(value) {
  if (value === null) return '–';
  if (typeof value !== 'number') return value;
  if (Number.isInteger(value)) return value.toLocaleString('en');
  const short = Number(value.toPrecision(6));
  return Math.abs(short) < 1e-4 ? Number(value.toPrecision(4)).toExponential() : String(short);
}

function dataCell(value) {
  const kind = typeof value === 'number' ? { class: 'number' } : {};
  return element('td', { 'data-value': value ?? '', ...kind }, shownCell(value));
}

function fillData(id) {
  const { title, columns, rows } = page.figures[id];
  const place = document.getElementById(`data-${id}`);
  place.querySelectorAll('.scroll, .hint').forEach((old) => old.remove());
  const name = `table-data-${id}`;
  const cut = rows.length > MOST_ROWS ? `; the first ${MOST_ROWS} rows, the CSV has all` : '';
  const caption = element('caption', { id: `${name}-caption` },
    element('span', {}, `The numbers behind: ${title}${cut}`));
  const heading = (column, index) =>
    element('th', { scope: 'col' }, element('button', { type: 'button', id: `${name}-sort-${index}` }, column));
  const body = rows.slice(0, MOST_ROWS).map((row) => element('tr', {}, ...row.map(dataCell)));
  const table = element('table', { id: name, class: 'sortable' }, caption,
    element('thead', {}, element('tr', {}, ...columns.map(heading))), element('tbody', {}, ...body));
  place.append(element('p', { class: 'hint' }, 'Wider than its place: scroll it sideways →'), element('div',
    { class: 'scroll', tabindex: '0', role: 'region', 'aria-labelledby': `${name}-caption` }, table));
  showWhatScrolls();
}
