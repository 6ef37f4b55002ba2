// Live: newer content is put in place of what has changed; scroll, sort order, choices and focus stay.

const POLL = 3000;  // milliseconds
const blocks = new Map();  // name -> the HTML that it was made of

function blocksOf(root) {
  return [...root.querySelectorAll('[data-block]')];
}

function rememberBlocks() {
  const text = document.getElementById('content').innerHTML;
  blocksOf(parsed(text)).forEach((block) => blocks.set(block.dataset.block, block.outerHTML));
}

function parsed(text) {
  return new DOMParser().parseFromString(text, 'text/html').body;
}

// The reader's choices and the drawings move over to the new block.
function replaceBlock(old, fresh) {
  for (const plot of old.querySelectorAll('.plot[data-drawn]')) {
    fresh.querySelector(`#${CSS.escape(plot.id)}`)?.replaceWith(plot);
  }
  for (const kept of old.querySelectorAll('select, details, input[type=search]')) {
    const twin = fresh.querySelector(`#${CSS.escape(kept.id)}`);
    if (!twin) continue;
    if (kept.matches('details')) twin.open = kept.open;
    else if (kept.matches('input')) twin.value = kept.value;
    else choose(twin, kept.selectedOptions[0]?.textContent);
  }
  old.replaceWith(fresh);
}

// By its name: with a second strategy there is a first view more, of all strategies.
function choose(select, name) {
  const found = [...select.options].find((option) => option.textContent === name);
  if (found) found.selected = true;
}

async function update({ version, body, figures }) {
  const focused = document.activeElement?.id;
  const caret = document.activeElement?.matches('input[type=search]') ? document.activeElement.selectionStart : null;
  const [x, y] = [window.scrollX, window.scrollY];
  page.version = version;
  page.figures = figures;
  for (const block of blocksOf(parsed(body))) {
    const name = block.dataset.block;
    if (blocks.get(name) === block.outerHTML) continue;
    blocks.set(name, block.outerHTML);
    replaceBlock(document.querySelector(`[data-block="${name}"]`), document.adoptNode(block));
  }
  document.querySelectorAll('figure details[open]').forEach((open) => fillData(open.id.replace('data-', '')));
  sortAgain();
  filterTrials();
  compareTrials();
  await drawAll();
  const again = focused ? document.getElementById(focused) : null;
  again?.focus({ preventScroll: true });
  if (caret !== null) again?.setSelectionRange(caret, caret);
  window.scrollTo({ left: x, top: y, behavior: 'instant' });
}

function tell(text) {
  const told = document.getElementById('live');
  if (told.textContent !== text) told.textContent = text;  // a screen reader says every change
}

async function poll() {
  try {
    const answer = await fetch('content', { headers: { 'If-None-Match': `"${page.version}"` }, cache: 'no-store' });
    if (answer.status === 200) await update(await answer.json());
    else if (answer.status !== 304) throw new Error(await answer.text());
    tell('live');
  } catch (error) {
    tell(`not live any more: ${error.message}`);
  }
  setTimeout(poll, POLL);
}
