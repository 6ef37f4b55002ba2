// Drawings: Plotly is unpacked once, then every figure is drawn, the nearest to the reader's eyes first, in the colours of
// the page.

const page = JSON.parse(document.getElementById('data').textContent);
const printing = window.matchMedia('print');
const dark = window.matchMedia('(prefers-color-scheme: dark)');
const PRINTED_WIDTH = 660;  // CSS pixels between the margins of A4 and of Letter

function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i += 1) bytes[i] = text.charCodeAt(i);  // a tenth of the time of Uint8Array.from
  return bytes;
}

async function unpackPlotly() {
  const packed = bytesOf(document.getElementById('plotly').textContent);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('gzip'));
  const script = document.createElement('script');
  script.textContent = await new Response(stream).text();
  document.head.append(script);  // runs at once: the page's policy knows its hash
}

function template() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const axis = {
    gridcolor: colour('--line'), linecolor: colour('--strong'), zerolinecolor: colour('--line'), automargin: true,
    title: { standoff: 8 }, exponentformat: 'e',
  };
  return { layout: {
    font: { family: style.fontFamily, size: 13, color: colour('--ink') },
    paper_bgcolor: colour('--card'), plot_bgcolor: colour('--card'),
    xaxis: axis, yaxis: axis, colorway: ['#0b7dda', '#c4601d', '#2b8a57', '#9a5bd0'],
    legend: { orientation: 'h', x: 0, y: 1.02, yanchor: 'bottom' },
    annotationdefaults: { font: { color: colour('--ink') } },
    hoverlabel: { bgcolor: colour('--soft'), font: { color: colour('--ink') } },
  } };
}

// A copy: Plotly writes into what it is given.
function themed(view) {
  const { data, layout } = structuredClone(view.plot);
  const touch = window.matchMedia('(pointer: coarse)').matches;
  Object.assign(layout, { template: template(), uirevision: 'kept', dragmode: touch ? false : 'zoom' });
  if (printing.matches) layout.width = Math.max(PRINTED_WIDTH, 0);
  return { data, layout };
}

function shownView(id) {
  const pick = document.getElementById(`pick-${id}`);
  return page.figures[id].views[pick ? Number(pick.value) : 0];
}

async function draw(id) {
  const plot = document.getElementById(`plot-${id}`);
  const view = shownView(id);
  plot.style.minWidth = printing.matches ? '' : `${view.width}px`;
  plot.setAttribute('aria-label', view.summary);
  document.getElementById(`summary-${id}`).textContent = view.summary;
  const { data, layout } = themed(view);
  await Plotly.react(plot, data, layout, { displayModeBar: false, responsive: true });
  plot.style.minHeight = '';  // the place held for it before
  if (!plot.dataset.drawn) plot.on('plotly_afterplot', showWhatScrolls);  // also when Plotly follows the window
  plot.dataset.drawn = 'true';
  showWhatScrolls();
}

// What is wider than its place says so in words, and is a stop for the keyboard; a drawing that fits is none.
function showWhatScrolls() {
  for (const place of document.querySelectorAll('.place, .scroll')) {
    const scrolls = place.scrollWidth > place.clientWidth + 1;
    const hint = place.previousElementSibling;
    if (hint?.matches('.hint')) hint.hidden = !scrolls;
    place.classList.toggle('cut', scrolls);
    if (place.matches('.place')) {
      if (scrolls) place.tabIndex = 0;
      else place.removeAttribute('tabindex');
    }
  }
}

// CSS pixels between a figure and the screen: 0 for one that is seen.
function distance(id) {
  const { top, bottom } = document.getElementById(`place-${id}`).getBoundingClientRect();
  return Math.max(0, top - window.innerHeight, -bottom);
}

// Asked anew before each drawing: the reader scrolls meanwhile.
async function drawAll() {
  const left = new Set(Object.keys(page.figures));
  while (left.size) {
    const nearest = [...left].reduce((a, b) => (distance(b) < distance(a) ? b : a));
    if (distance(nearest) > 0) document.documentElement.dataset.opened = 'true';
    await draw(nearest);
    left.delete(nearest);
    await new Promise((next) => { setTimeout(next); });
  }
  document.documentElement.dataset.opened = 'true';
  document.documentElement.dataset.drawn = 'true';
}

// At once: the browser prints as soon as the listener returns.
function drawNow() {
  if (!window.Plotly) return;
  Object.keys(page.figures).forEach(draw);
  drawCompared();
}

function save(blob, name) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

function fileName(id, ending) {
  return `${document.querySelector('h1').textContent}-${id}.${ending}`.replace(/[^\w.-]+/g, '_');
}

async function savePng(id) {
  const plot = document.getElementById(`plot-${id}`);
  const { width, height } = plot._fullLayout;
  const address = await Plotly.toImage(plot, { format: 'png', width, height, scale: 2 });
  save(new Blob([bytesOf(address.split(',')[1])], { type: 'image/png' }), fileName(id, 'png'));
}

// A text that begins like a formula is one for a spreadsheet, unless a quote stands before it.
function csvCell(value) {
  if (value === null) return '';
  if (typeof value !== 'string') return String(value);
  const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

function saveCsv(id, { columns, rows } = page.figures[id]) {
  const text = [columns, ...rows].map((row) => row.map(csvCell).join(',')).join('\r\n');
  save(new Blob([`${text}\r\n`], { type: 'text/csv' }), fileName(id, 'csv'));
}
