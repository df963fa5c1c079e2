// Sounds of the prototypes; everything else on the page stands without a script.

document.querySelectorAll('.stage').forEach((stage) => {
  const { prototype, seed, name, picture } = stage.dataset;
  stage.append(soundButton(`Play ${name}`, picture, { id: `sound-${prototype}-${seed}` }));
});

document.querySelectorAll('.seeds button').forEach((button) => {
  button.addEventListener('click', () => (player.plays(button) ? player.stop() : player.play([{ id: button.dataset.sound, element: button }])));
});

document.getElementById('save').addEventListener('click', () => {
  const text = document.getElementById('page').textContent;
  h('a', { href: URL.createObjectURL(new Blob([text], { type: 'application/json' })), download: 'gallery.json' }).click();
});
