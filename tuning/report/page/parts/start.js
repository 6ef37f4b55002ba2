// What the reader does, and the first drawing of everything.

document.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (!button) return;
  if (button.closest('thead')) sortBy(button);
  else if (button.dataset.png) savePng(button.dataset.png);
  else if (button.dataset.csv) saveCsv(button.dataset.csv);
  else if (button.id === 'csv-trials') saveCsv('trials', shownTrials());
});
document.addEventListener('input', (event) => {
  if (event.target.id === 'find-trials') filterTrials();
});
document.addEventListener('change', (event) => {
  if (event.target.id.startsWith('pick-')) draw(event.target.id.replace('pick-', ''));
  else if (event.target.id.startsWith('only-')) filterTrials();
  else if (event.target.matches('.choose')) chooseTrial(event.target);
});
document.addEventListener('toggle', (event) => {
  if (event.target.matches('figure details[open]')) fillData(event.target.id.replace('data-', ''));
}, true);
dark.addEventListener('change', drawNow);
printing.addEventListener('change', drawNow);
window.addEventListener('resize', showWhatScrolls);
showWhatScrolls();
filterTrials();  // a browser fills a form in again when a page is loaded again
compareTrials();

if (page.live) {
  rememberBlocks();
  setTimeout(poll, POLL);
}
unpackPlotly().then(drawAll).catch((error) => {
  document.querySelectorAll('.plot').forEach((plot) => {
    plot.removeAttribute('role');
    plot.textContent = `The drawings need a browser of 2023 or later (${error.message}); the numbers are below.`;
  });
});
